"""A cell: one method on one data set with one seed and one budget. It holds all that a run depends on."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import PurePosixPath
from typing import Any

from bench.answered import DEFAULT

PROTOCOLS = ("few-shot", "base-to-new", "cross-dataset", "ood")
ELSEWHERE = ("cross-dataset", "ood")  # protocols that tune on one data set and score on others, too
SCORES = ("test", "val")
REFERENCE = "manual"  # the zero-shot method: it costs no query, and all others are compared with it

LONGEST = 120  # letters of a name, before the digits that tell it apart: file systems take 255 bytes
DIGITS = 8  # of a sha256 in a file's name
_DIGEST = re.compile(rf"-[0-9a-f]{{{DIGITS}}}$")

Value = bool | int | float | str | tuple[int | float, ...]  # the types of a parameter's value

# What each random stream depends on besides its purpose. All methods of one (data set, seed, shots) see the
# same images in the same order. A method's own stream does not depend on the budget, so a run of 500 queries
# is the beginning of the run of 5,000. It does not depend on the overrides, so the rows of an ablation share
# their noise.
_DATA = ("dataset", "seed", "shots", "protocol")
_STREAMS: dict[str, tuple[str, ...]] = {
    "batches": (*_DATA, "batch_size"),
    "augment": (*_DATA, "batch_size"),
    "method": (*_DATA, "method", "backbone", "batch_size"),
}


@dataclass(frozen=True)
class Cell:
    """The coordinates of one run. It is frozen and hashable; `path` is made of its fields."""

    suite: str
    protocol: str
    method: str
    dataset: str
    backbone: str
    seed: int
    shots: int
    budget: int  # queries
    batch_size: int  # the most images of a query
    augment: bool = False  # random crops and flips of the training images
    score: str = "test"  # the split on which the checkpoints are scored; "val" to choose step sizes
    answers: str = DEFAULT  # how much of its logits the box returns: see bench/answered.py
    pixels_8bit: bool = False  # pixel prompts are rounded to bytes, as an API takes them
    endpoint: str = ""  # dialect and address of a model that is not in this process: see bench/remote.py
    overrides: tuple[tuple[str, Value], ...] = ()  # sorted (name, value) pairs that differ from the suite's

    @property
    def variant(self) -> str:
        """The parameters that differ from the suite's values, e.g. 'clip=none, rank=1'."""
        return ", ".join(f"{name}={show(value)}" for name, value in self.overrides)

    @property
    def row(self) -> str:
        """The row of a table that this cell belongs to, e.g. 'zip (rank=1)'."""
        return f"{self.method} ({self.variant})" if self.overrides else self.method

    @property
    def wire(self) -> str:
        """How the box's answers and inputs differ from the default, e.g. 'answers probs:2, 8-bit pixels'."""
        said = [] if self.answers == DEFAULT else [f"answers {self.answers}"]
        return ", ".join(said + ["8-bit pixels"] * self.pixels_8bit)

    @property
    def path(self) -> PurePosixPath:
        """The path of the record below a results folder, e.g. mini/few-shot/mini-digits/zip/....json."""
        row = f"{self.method}[{self.variant}]" if self.overrides else self.method
        leaf = f"-shots{self.shots}-batch{self.batch_size}-budget{self.budget}-seed{self.seed}"
        flags = "-augment" if self.augment else ""
        flags += "" if self.answers == DEFAULT else f"-{self.answers.replace(':', '')}"
        flags += "-8bit" if self.pixels_8bit else ""
        flags += f"-{_short(self.endpoint)}" if self.endpoint else ""
        flags += "" if self.score == "test" else f"-{self.score}"
        names = map(file_name, (self.suite, self.protocol, self.dataset, row))
        return PurePosixPath(*names, f"{file_name(self.backbone)}{leaf}{flags}.json")

    def seed_for(self, purpose: str) -> int:
        """A 63-bit seed for one purpose: 'batches', 'augment' or 'method' (or 'method/anything')."""
        fields = {name: getattr(self, name) for name in _STREAMS[purpose.split("/")[0]]}
        digest = hashlib.sha256(json.dumps([purpose, fields], sort_keys=True).encode()).digest()
        return int.from_bytes(digest[:8], "little") >> 1

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the record, which `Record.from_json` reads again."""
        return asdict(self) | {"overrides": dict(self.overrides)}


# The names of a cell's fields, without the overrides.
FIELDS = tuple(field.name for field in fields(Cell) if field.name != "overrides")


def show(value: Value) -> str:
    """A parameter's value as text, in the form of the command line: 0.01, none, 64x32."""
    if isinstance(value, tuple):
        return "x".join(map(show, value))
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def grid(
    methods: Iterable[str],
    datasets: Iterable[str],
    seeds: Iterable[int],
    budgets: Iterable[int],
    variants: dict[str, list[tuple[tuple[str, Value], ...]]],
    **common: Any,
) -> Iterator[Cell]:
    """All cells, one data set after the other, so that workers can use what they have loaded again.

    variants: method -> its list of override sets; a method that is not in it has no overrides. common: the
    fields that all cells share.
    """
    rows = [(method, overrides) for method in methods for overrides in variants.get(method, [()])]
    for dataset, seed, budget, (method, overrides) in product(datasets, seeds, budgets, rows):
        where: dict[str, Any] = {"method": method, "dataset": dataset, "seed": seed, "budget": budget}
        yield Cell(**where, overrides=tuple(sorted(overrides)), **common)


def _short(endpoint: str) -> str:
    """'hf+http://host/path' -> 'hf-1a2b3c4d': its dialect, and a few digits of its sha256."""
    return f"{endpoint.partition('+')[0]}-{hashlib.sha256(endpoint.encode()).hexdigest()[:DIGITS]}"


def file_name(part: str) -> str:
    """`part` as a file name for every system: letters, digits and a few marks of ASCII; the rest as '_'.

    Different parts have different names, also where a system does not tell capitals apart: a part that is not
    its own name gets some digits of its sha256, and so does one that looks as if it had them.
    """
    plain = part.replace(", ", ",")
    name = re.sub(r"[^A-Za-z0-9_.,=\[\]+-]+", "_", plain).strip(".")[:LONGEST]
    spaced = re.sub(r",(?! )", ", ", name)  # back to `part`, if that was written as `variant` writes it
    if name and part == spaced and name == name.lower() and not _DIGEST.search(name):
        return name
    return f"{name or '_'}-{hashlib.sha256(part.encode(errors='surrogatepass')).hexdigest()[:DIGITS]}"
