"""The record: what a cell leaves, one JSON file for each. Its shape is written here and nowhere else."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from bench.access import REFERENCES
from bench.answered import FORMS, parse
from bench.cell import PROTOCOLS, Cell, Value
from bench.errors import UserError

SCHEMA = 1  # of a record; a reader that meets another one says so
WIDTH = 100  # columns; what fits is written on one line


@dataclass(frozen=True)
class Point:
    """A checkpoint of the trace: what a budget of `queries` buys."""

    queries: int  # the checkpoint
    spent: int  # queries paid by then, at most `queries`
    image_queries: int  # images sent by then, one for each time
    train_loss: float | None  # mean cross-entropy of the candidates since the last checkpoint
    accuracy: dict[str, float]  # % correct, by test set


@dataclass(frozen=True)
class Confusion:
    """How many images of one class were taken for another."""

    label: int
    answered: int
    images: int


@dataclass(frozen=True)
class Outcome:
    """What the deployed prompt answered on one test set (bench/outcome.py works it out)."""

    correct: str  # base64 of a bit for each image, in order, the first is the highest of its byte
    right: tuple[int, ...]  # images answered correctly, by class
    images: tuple[int, ...]  # of each class
    confusions: tuple[Confusion, ...]  # the most frequent ones, in order
    calibration_error: float | None = None  # %, expected, 15 bins; None where no probabilities are answered
    log_loss: float | None = None  # mean


@dataclass(frozen=True)
class Deployed:
    """The deployed prompt as data: enough, with the cell, to build it again."""

    state: str | None = None  # base64 of little-endian float32 numbers
    template: str | None = None  # words


@dataclass(frozen=True)
class Hashes:
    """sha256 of what a cell's numbers come from; "" where a record does not say."""

    method: str = ""  # the method's file, with those it builds on
    card: str = ""  # the data sets' cards
    split: str = ""  # class names, images and labels
    weights: str = ""  # the backbone's state dict
    suite: str = ""  # the suite's file
    code: str = ""  # of the harness, as far as it decides numbers (bench/code.py)


@dataclass(frozen=True)
class Made:
    """When, where and with what a record was made: everything that may differ between two equal runs."""

    started: str = ""  # ISO 8601, UTC
    seconds: float | None = None  # of the cell, loading included
    device: str = ""
    precision: str = ""
    hardware: str = ""  # the processor's or the GPU's name
    pid: int | None = None
    peak_memory_mib: float | None = None  # of the process, cells before this one included
    peak_gpu_memory_mib: float | None = None  # what PyTorch reserved in the process's life up to then
    versions: dict[str, str] = field(default_factory=dict)  # package -> version


@dataclass(frozen=True)
class Record:
    """A cell's outcome. A failed one has its cell and an error; the rest may be empty.

    Row and variant come from the cell alone, so that a failed cell and a finished one share their row.
    """

    cell: Cell
    status: Literal["ok", "failed"]
    error: str | None = None  # a traceback, or one line
    title: str = ""  # the method's name in the tables
    access: tuple[str, ...] = ()
    white_box: bool = False  # sees gradients: a reference, never ranked
    schedule: str = ""  # "budget": its steps depend on the whole budget; "free": they do not; "": not said
    n_params: int = 0  # tuned numbers
    params: dict[str, Value] = field(default_factory=dict)  # in force
    queries: int = 0
    image_queries: int = 0
    accuracy: dict[str, float] = field(default_factory=dict)  # % correct at the end, by test set
    n_test: dict[str, int] = field(default_factory=dict)  # images, by test set
    trace: tuple[Point, ...] = ()
    prompt: Deployed = field(default_factory=Deployed)
    deploy_queries: int = 1  # what the deployed prompt costs for each batch; 0: it is answered locally
    outcomes: dict[str, Outcome] = field(default_factory=dict)  # of the deployed prompt, by test set
    hashes: Hashes = field(default_factory=Hashes)
    run: Made = field(default_factory=Made)
    targets: tuple[str, ...] = ()  # data sets it was scored on, where those are not its own test set

    @property
    def ok(self) -> bool:
        """Whether the cell is done: a failed one is tried again."""
        return self.status == "ok"

    @property
    def reference(self) -> bool:
        """Whether it had more than predictions, gradients or features: a row shown apart, never ranked."""
        return self.white_box or bool(REFERENCES & set(self.access))

    @property
    def label(self) -> str:
        """The row's name in tables, e.g. 'ZIP (rank=1)'."""
        return named(self.title or self.cell.method, self.cell.variant)

    @property
    def reason(self) -> str:
        """Why the cell failed, on one line: the error, and the place in the method's own file."""
        lines = (self.error or "").strip().splitlines() or ["no message"]
        name = re.escape(f"{self.cell.method}.py")
        places = [found for line in lines if (found := re.search(rf'[/"]({name})", line (\d+)', line))]
        where = f" ({places[-1][1]}:{places[-1][2]})" if places else ""
        return re.sub(r"^bench(\.\w+)+\.(?=[A-Z]\w*:)", "", lines[-1]) + where

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` is its inverse."""
        data = asdict(self) | {"schema": SCHEMA, "cell": self.cell.as_dict(), "variant": self.cell.variant}
        data["run"] = {name: value for name, value in data["run"].items() if value is not None}
        return data

    @staticmethod
    def from_json(data: Any) -> "Record":
        """The record that `to_json` described. Raises Malformed, saying which field is wrong and how."""
        if not isinstance(data, dict):
            raise Malformed("not a record: the file holds no JSON object")
        if data.get("schema") != SCHEMA:
            raise Malformed(f"schema is {data.get('schema')!r}, this version reads schema {SCHEMA}")
        if not isinstance(data.get("cell"), dict):
            raise Malformed("field 'cell' is missing")
        lacking = _required(data) - data.keys()
        if lacking:
            raise Malformed("; ".join(f"field '{name}' is missing" for name in sorted(lacking)))
        try:
            record = msgspec.convert(data | {"cell": _pairs(data["cell"])}, Record)
        except msgspec.ValidationError as error:
            raise Malformed(_in_words(str(error))) from error
        record._check()
        return record

    def _check(self) -> None:
        if self.cell.protocol not in PROTOCOLS:
            known = ", ".join(PROTOCOLS)
            raise Malformed(f"cell.protocol is {self.cell.protocol!r}, expected one of {known}")
        if not _is_level(self.cell.answers):
            raise Malformed(f"cell.answers is {self.cell.answers!r}, expected {FORMS}")
        if self.status == "failed" and not self.error:
            raise Malformed("a failed record names no error")
        if self.ok and not self.accuracy:
            raise Malformed("accuracy names no test set")
        if self.ok and not self.trace:
            raise Malformed("the trace is empty; it needs at least the untuned prompt at query 0")


@dataclass(frozen=True)
class Expected:
    """What a current record of a cell agrees with; what is empty is not known, and not compared."""

    params: Mapping[str, Value] = field(default_factory=dict)
    hashes: Hashes = field(default_factory=Hashes)
    precision: str = ""

    def differences(self, record: Record) -> list[str]:
        """Why a record is stale: the dotted names that disagree, e.g. ["hashes.method", "params.rank"]."""
        pairs = {
            f"hashes.{name}": (value, getattr(record.hashes, name))
            for name, value in vars(self.hashes).items()
        }
        pairs["run.precision"] = (self.precision, record.run.precision)
        found = [name for name, (wanted, given) in pairs.items() if wanted and wanted != given]
        return found + [
            f"params.{name}" for name in self.params if record.params.get(name) != self.params[name]
        ]


class Malformed(UserError):
    """What a file holds is no record."""


# Fields that a finished record may lack: the first records do.
LATER = {"error", "schedule", "targets", "deploy_queries", "outcomes"}


def _required(data: dict[str, Any]) -> set[str]:
    if data.get("status") == "ok":
        return {one.name for one in fields(Record)} - LATER
    return {"status"}


def _is_level(answers: str) -> bool:
    """Whether it is a level of answers, written in the one way that a cell has it."""
    try:
        return str(parse(answers)) == answers
    except UserError:
        return False


def _pairs(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell's overrides as the sorted pairs that `Cell` holds."""
    overrides = cell.get("overrides")
    return cell | {"overrides": sorted(overrides.items())} if isinstance(overrides, dict) else cell


def _in_words(message: str) -> str:
    """msgspec's 'Expected `int`, got `str` - at `$.cell.seed`' in a reader's words."""
    what, _, place = message.partition(" - at ")
    path = place.strip("`").removeprefix("$").removeprefix(".")
    if missing := re.search("missing required field `(.+)`", what):
        return f"field '{'.'.join(filter(None, (path, missing[1])))}' is missing"
    return f"field '{path}': {what[:1].lower()}{what[1:].replace('`', '')}"


def failure(cell: Cell, error: str) -> Record:
    """The record of a cell that left nothing but an error; what no file can hold of it is escaped."""
    return Record(cell, "failed", error.encode(errors="backslashreplace").decode())


def as_read(record: Record) -> Record:
    """The record as a reader of its file gets it; where that is impossible, a failed one that says why."""
    try:
        return Record.from_json(msgspec.json.decode(dump(record).encode()))
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        why = f"the record cannot be written and read again: {' '.join(str(error).split())}"
        failed = failure(record.cell, f"{record.error}\n{why}" if record.error else why)
        return replace(failed, queries=record.queries, image_queries=record.image_queries, run=record.run)


def named(name: str, variant: str) -> str:
    """'ZIP (rank=1)'."""
    return f"{name} ({variant})" if variant else name


def read(path: Path) -> Record:
    """The record in a file. Raises Malformed, FileNotFoundError, or UserError when it cannot be read."""
    try:
        return Record.from_json(msgspec.json.decode(path.read_bytes()))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}") from error
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise Malformed(str(error)) from error


def dump(record: Record) -> str:
    """`record` as JSON text: sorted keys, what fits on one line on one line, so that changes read well.

    Raises ValueError for NaN and infinity.
    """
    return _layout(json.loads(json.dumps(record.to_json(), allow_nan=False)), "") + "\n"


def _layout(value: Any, pad: str) -> str:
    line = json.dumps(value, sort_keys=True, ensure_ascii=False)
    if not isinstance(value, dict | list) or len(pad) + len(line) <= WIDTH:
        return line
    inner = pad + "  "
    if isinstance(value, dict):
        items = [f"{json.dumps(key)}: {_layout(value[key], inner)}" for key in sorted(value)]
    else:
        items = [_layout(item, inner) for item in value]
    body = ",\n".join(inner + item for item in items)
    return f"{{\n{body}\n{pad}}}" if isinstance(value, dict) else f"[\n{body}\n{pad}]"
