"""The record of a cell: one JSON file per cell. This file alone defines its shape."""

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
from bench.errors import UserError, brief
from bench.files import read_bytes, reason, shown

SCHEMA = 1  # the version of the record's shape; a record of another version is refused
WIDTH = 100  # columns; an entry that fits is written on one line


@dataclass(frozen=True)
class Point:
    """A checkpoint of the trace: the result of a budget of `queries`."""

    queries: int  # the checkpoint
    spent: int  # queries paid until then, at most `queries`
    image_queries: int  # images sent until then; an image counts each time it is sent
    train_loss: float | None  # mean cross-entropy of the candidates since the last checkpoint
    accuracy: dict[str, float]  # % correct, by test set


@dataclass(frozen=True)
class Confusion:
    """The number of images of class `label` that were answered with class `answered`."""

    label: int
    answered: int
    images: int


@dataclass(frozen=True)
class Outcome:
    """What the deployed prompt answered on one test set (bench/outcome.py computes it)."""

    correct: str  # base64 of one bit per image, in order; the first image has the highest bit of its byte
    right: tuple[int, ...]  # images answered correctly, by class
    images: tuple[int, ...]  # of each class
    confusions: tuple[Confusion, ...]  # the most frequent ones, in order
    calibration_error: float | None = None  # expected, %, 15 bins; None if the answers are no probabilities
    log_loss: float | None = None  # mean; None if the answers are no probabilities


@dataclass(frozen=True)
class Deployed:
    """The deployed prompt as data. With the cell, it is enough to build the prompt again."""

    state: str | None = None  # base64 of little-endian float32 numbers
    template: str | None = None  # words with one {} for the class name


@dataclass(frozen=True)
class Hashes:
    """The sha256 of everything that a cell's numbers come from; "" if a record does not state it."""

    method: str = ""  # the method's file, and the files that it imports
    card: str = ""  # the data sets' cards
    split: str = ""  # class names, images and labels
    weights: str = ""  # the backbone's state dict
    suite: str = ""  # the suite's file
    code: str = ""  # the harness's code that decides numbers (bench/code.py)


@dataclass(frozen=True)
class Wired:
    """What a cell cost whose model is behind an address, beside its queries; a retry is no query."""

    requests: int = 0  # sent, tries included
    retries: int = 0
    images: int = 0  # billed
    hits: int = 0  # answers that were paid for before
    checked: int = 0  # of these, asked for again
    drifted: int = 0  # of these, answered otherwise
    waited: float = 0.0  # seconds between tries
    dollars: float = 0.0  # at the declared price
    prompt_tokens: int = 0  # as the server counts them, else an upper bound
    completion_tokens: int = 0


@dataclass(frozen=True)
class Made:
    """When, where and with what a record was made: everything that may differ between two equal runs."""

    started: str = ""  # ISO 8601, UTC
    seconds: float | None = None  # duration of the cell, including loading
    device: str = ""
    precision: str = ""
    hardware: str = ""  # the name of the processor or the GPU
    pid: int | None = None
    peak_memory_mib: float | None = None  # of the process since its start, including earlier cells
    peak_gpu_memory_mib: float | None = None  # reserved by PyTorch since the start of the process
    versions: dict[str, str] = field(default_factory=dict)  # package -> version
    wire: Wired | None = None  # where the model is behind an address
    flipped: float | None = None  # % of the last predictions that scoring in float16 changes, if it was used


@dataclass(frozen=True)
class ChatLog:
    """A method's calls of a language model, in sum. The transcript beside the record holds every call."""

    file: str  # the name of the transcript
    sha256: str  # of the transcript
    calls: int  # number of answered calls
    refused: str  # the budget that ended the calls; "" if none did
    prompt_tokens: int
    completion_tokens: int
    uncounted: int  # calls whose answer does not state its tokens
    dollars: float | None  # with the user's prices; None without prices
    prices: tuple[str, ...]  # dates of these prices
    models: tuple[str, ...]  # names of the models, from the server
    fingerprints: tuple[str, ...]  # of the server's configuration, from the server
    used: int  # proposals that come from an answer
    fallbacks: int  # proposals that were made without an answer
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """The result of a cell. The record of a failed cell has the cell and an error; the rest may be empty.

    The row and the variant come from the cell alone, so failed and finished cells share their row.
    """

    cell: Cell
    status: Literal["ok", "failed"]
    error: str | None = None  # a traceback, or one line
    title: str = ""  # the method's name in the tables
    access: tuple[str, ...] = ()
    white_box: bool = False  # the method sees gradients: a reference, never ranked
    schedule: str = ""  # "budget": the steps depend on the whole budget; "free": they do not; "": not stated
    n_params: int = 0  # number of tuned parameters
    params: dict[str, Value] = field(default_factory=dict)  # the values in force
    queries: int = 0
    image_queries: int = 0
    accuracy: dict[str, float] = field(default_factory=dict)  # % correct at the end, by test set
    n_test: dict[str, int] = field(default_factory=dict)  # images, by test set
    n_train: int = 0  # images; 0: not stated. Fewer than shots x classes if a class has fewer than `shots`
    trace: tuple[Point, ...] = ()
    prompt: Deployed = field(default_factory=Deployed)
    deploy_queries: int = 1  # queries per batch of the deployed prompt; 0: the answers are computed locally
    outcomes: dict[str, Outcome] = field(default_factory=dict)  # of the deployed prompt, by test set
    hashes: Hashes = field(default_factory=Hashes)
    run: Made = field(default_factory=Made)
    targets: tuple[str, ...] = ()  # data sets on which it was scored, if not on its own test set
    chat: ChatLog | None = None  # of a method that asks a language model
    # The text of the transcript, until it is written beside the record. It is not a part of the record.
    transcript: str = field(default="", compare=False, repr=False)

    @property
    def ok(self) -> bool:
        """Whether the cell is finished; a failed cell is run again."""
        return self.status == "ok"

    @property
    def reference(self) -> bool:
        """Whether the method had gradients or features. Such a row is shown separately and never ranked."""
        return self.white_box or bool(REFERENCES & set(self.access))

    @property
    def n_classes(self) -> int:
        """The number of classes on which the method tuned; 0 if the outcomes do not say it."""
        names = {"few-shot": "test", "base-to-new": "base"}
        own = self.outcomes.get(names.get(self.cell.protocol, self.cell.dataset))
        return 0 if own is None else len(own.images)

    @property
    def label(self) -> str:
        """The name of the row in tables, e.g. 'ZIP (rank=1)'."""
        return named(self.title or self.cell.method, self.cell.variant)

    @property
    def reason(self) -> str:
        """Why the cell failed, in one line: the error, and its place in the method's own file."""
        lines = (self.error or "").strip().splitlines() or ["no message"]
        name = re.escape(f"{self.cell.method}.py")
        places = [found for line in lines if (found := re.search(rf'[/"]({name})", line (\d+)', line))]
        where = f" ({places[-1][1]}:{places[-1][2]})" if places else ""
        line = re.sub(r"^bench(\.\w+)+\.(?=[A-Z]\w*:)", "", lines[-1])
        return shown(BOX.sub("self.box", line)) + where

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` is its inverse."""
        data = asdict(self) | {"schema": SCHEMA, "cell": self.cell.as_dict(), "variant": self.cell.variant}
        data["run"] = {name: value for name, value in data["run"].items() if value is not None}
        del data["transcript"]
        if self.chat is None:
            del data["chat"]
        return data

    @staticmethod
    def from_json(data: Any) -> "Record":
        """The record from the data of `to_json`. Raises Malformed, which names the wrong field."""
        if not isinstance(data, dict):
            raise Malformed("not a record: the file does not hold a JSON object")
        if data.get("schema") != SCHEMA:
            raise Malformed(f"schema is {data.get('schema')!r}, but this version reads schema {SCHEMA}")
        if not isinstance(data.get("cell"), dict):
            raise Malformed("field 'cell' is missing")
        lacking = _required(data) - data.keys()
        if lacking:
            raise Malformed("; ".join(f"field '{name}' is missing" for name in sorted(lacking)))
        _check_values(data)
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
        if min(self.cell.shots, self.cell.budget, self.cell.batch_size) < 1:
            raise Malformed("cell.shots, cell.budget and cell.batch_size must be at least 1")
        counts = (self.n_params, self.n_train, self.queries, self.image_queries, self.deploy_queries)
        if min(self.cell.seed, *counts) < 0:
            raise Malformed("a seed or a count is negative")
        if self.status == "failed" and not (self.error or "").strip():
            raise Malformed("status is 'failed', but field 'error' is empty")
        if self.chat is not None and (not self.chat.file or Path(self.chat.file).name != self.chat.file):
            raise Malformed(
                f"chat.file is {brief(self.chat.file)}, and not the name of a file beside the record"
            )
        if self.ok:
            self._check_scores()

    def _check_scores(self) -> None:
        """What every table and picture takes for granted. Raises Malformed."""
        if not self.accuracy:
            raise Malformed("accuracy names no test set")
        wanted = TESTS.get(self.cell.protocol)
        if wanted is not None and set(self.accuracy) != wanted:
            raise Malformed(f"accuracy must name the test sets {' and '.join(sorted(wanted))}")
        if not self.trace:
            raise Malformed("the trace is empty, but must hold at least the untuned prompt at query 0")
        if len({point.queries for point in self.trace}) < len(self.trace):
            raise Malformed("the trace has a checkpoint twice")
        for point in self.trace:
            if set(point.accuracy) != set(self.accuracy):
                at = point.queries
                raise Malformed(f"checkpoint {at} has scores of other test sets than the result")
            if min(point.queries, point.spent, point.image_queries) < 0:
                raise Malformed("a checkpoint's count is negative")
        for scores in (self.accuracy, *(point.accuracy for point in self.trace)):
            for name, score in scores.items():
                if not 0 <= score <= 100:
                    raise Malformed(f"accuracy on {name} is {score}, but must be between 0 and 100 %")


@dataclass(frozen=True)
class Expected:
    """What a current record of a cell must agree with. Empty values are unknown and are not compared."""

    params: Mapping[str, Value] = field(default_factory=dict)
    hashes: Hashes = field(default_factory=Hashes)
    precision: str = ""

    def differences(self, record: Record) -> list[str]:
        """Why a record is stale: the dotted names that differ, e.g. ["hashes.method", "params.rank"]."""
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
    """The content of a file is not a valid record."""


# The test sets of a protocol; the others score on data sets, by name.
TESTS = {"few-shot": {"test"}, "base-to-new": {"base", "new"}}
BOX = re.compile(
    r"'Wall' object|(wall\.<locals>\.)?\bWall\b(?=\.)"
)  # Python's names for a method's black box
LARGEST = 2**63  # whole numbers stay below it, in tables and elsewhere
HUGE = 1e100  # other numbers stay below it, so that means and squares are finite
# Fields whose text may hold anything that Unicode has; reports escape it.
FREE = ("error", "template", "refused", "models", "fingerprints", "warnings")

# Fields that a finished record may lack, as the first records do.
LATER = {"error", "schedule", "targets", "n_train", "deploy_queries", "outcomes", "chat", "transcript"}


def _required(data: dict[str, Any]) -> set[str]:
    if data.get("status") == "ok":
        return {one.name for one in fields(Record)} - LATER
    return {"status"}


def _is_level(answers: str) -> bool:
    """Whether the text is a level of answers, in the form in which a cell holds it."""
    try:
        return str(parse(answers)) == answers
    except UserError:
        return False


def _check_values(value: Any, path: str = "") -> None:
    """Raise Malformed for what the fields' types let pass and no table can hold, wherever it stands."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_values(key, path)
            _check_values(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_values(item, path)
    elif isinstance(value, str) and not value.isprintable():
        free = path.rpartition(".")[2] in FREE
        if not free or any("\ud800" <= one <= "\udfff" for one in value):
            raise Malformed(f"field '{shown(path)}': {brief(value)} holds what cannot be printed")
    elif isinstance(value, int | float) and not abs(value) < (LARGEST if isinstance(value, int) else HUGE):
        raise Malformed(f"field '{shown(path)}': {brief(value)} is too large")


def _pairs(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell's overrides as the sorted pairs that `Cell` holds."""
    overrides = cell.get("overrides")
    return cell | {"overrides": sorted(overrides.items())} if isinstance(overrides, dict) else cell


def _in_words(message: str) -> str:
    """msgspec's 'Expected `int`, got `str` - at `$.cell.seed`' in plain words, with the field first."""
    what, _, place = message.partition(" - at ")
    path = place.strip("`").removeprefix("$").removeprefix(".")
    if missing := re.search("missing required field `(.+)`", what):
        return f"field '{'.'.join(filter(None, (path, missing[1])))}' is missing"
    return f"field '{path}': {what[:1].lower()}{what[1:].replace('`', '')}"


def failure(cell: Cell, error: str) -> Record:
    """The record of a cell that has nothing but an error. Characters that no file can hold are escaped."""
    return Record(cell, "failed", error.encode(errors="backslashreplace").decode().strip() or "no message")


def as_read(record: Record) -> Record:
    """The record as a reader of its file gets it; if that is impossible, a failed record that says why."""
    try:
        read_again = Record.from_json(msgspec.json.decode(dump(record).encode()))
        return replace(read_again, transcript=record.transcript)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        why = f"the record cannot be written and read again: {' '.join(str(error).split())}"
        failed = failure(record.cell, f"{record.error}\n{why}" if record.error else why)
        kept = {
            name: getattr(record, name) for name in ("queries", "image_queries", "run", "chat", "transcript")
        }
        return replace(failed, **kept)


def lasting(record: Record) -> dict[str, str]:
    """The entries of a record as JSON, without those that may differ between two equal runs."""
    entries = record.to_json()
    return {key: json.dumps(value, sort_keys=True) for key, value in entries.items() if key != "run"}


def named(name: str, variant: str) -> str:
    """A name with its variant, e.g. 'ZIP (rank=1)'."""
    return f"{name} ({variant})" if variant else name


def read(path: Path) -> Record:
    """The record in a file. Raises Malformed, Absent (a FileNotFoundError), or UserError."""
    data = read_bytes(path)
    try:
        return Record.from_json(msgspec.json.decode(data))
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise Malformed(reason(error)) from error


def dump(record: Record) -> str:
    """`record` as JSON text with sorted keys. An entry that fits on one line gets one line, for small diffs.

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
