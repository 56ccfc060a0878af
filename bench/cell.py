"""A cell: one method on one data set with one seed and one budget. Everything a run depends on is in it."""

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
ELSEWHERE = ("cross-dataset", "ood")  # protocols that score on other data sets than the one they tune on
SCORES = ("test", "val")
REFERENCE = "manual"  # the zero-shot method: it costs no query, and all others are read against it

Value = bool | int | float | str | tuple[int | float, ...]  # of a parameter

# What each random stream depends on besides its purpose. All methods of one (data set, seed, shots) see the
# same images in the same order; a method's own stream leaves out the budget, so that a run of 500 queries is
# the beginning of the run of 5,000, and the overrides, so that the rows of an ablation share their noise.
_DATA = ("dataset", "seed", "shots", "protocol")
_STREAMS: dict[str, tuple[str, ...]] = {
    "batches": (*_DATA, "batch_size"),
    "augment": (*_DATA, "batch_size"),
    "method": (*_DATA, "method", "backbone", "batch_size"),
}


@dataclass(frozen=True)
class Cell:
    """The coordinates of one run. Frozen and hashable; `path` names it by what it contains."""

    suite: str
    protocol: str
    method: str
    dataset: str
    backbone: str
    seed: int
    shots: int
    budget: int  # queries
    batch_size: int  # images a query carries at most
    augment: bool = False  # random crops and flips of the training images
    score: str = "test"  # the split the checkpoints are scored on; "val" to choose step sizes
    answers: str = DEFAULT  # how much of its logits the box answers with: see bench/answered.py
    pixels_8bit: bool = False  # pixel prompts are rounded to bytes, as an API takes them
    overrides: tuple[tuple[str, Value], ...] = ()  # sorted (name, value): parameters unlike the suite's

    @property
    def variant(self) -> str:
        """What sets this cell's method apart from the method as published, e.g. 'clip=none, rank=1'."""
        return ", ".join(f"{name}={show(value)}" for name, value in self.overrides)

    @property
    def row(self) -> str:
        """The row of a table that this cell belongs to, e.g. 'zip (rank=1)'."""
        return f"{self.method} ({self.variant})" if self.overrides else self.method

    @property
    def wire(self) -> str:
        """What is unusual about the box's answers and inputs, e.g. 'answers probs:2, 8-bit pixels', or ''."""
        said = [] if self.answers == DEFAULT else [f"answers {self.answers}"]
        return ", ".join(said + ["8-bit pixels"] * self.pixels_8bit)

    @property
    def path(self) -> PurePosixPath:
        """The record's place below a results folder, e.g. mini/few-shot/mini-digits/zip/....json."""
        row = f"{self.method}[{self.variant}]" if self.overrides else self.method
        leaf = f"{self.backbone}-shots{self.shots}-batch{self.batch_size}-budget{self.budget}-seed{self.seed}"
        flags = "-augment" if self.augment else ""
        flags += "" if self.answers == DEFAULT else f"-{self.answers.replace(':', '')}"
        flags += "-8bit" if self.pixels_8bit else ""
        flags += "" if self.score == "test" else f"-{self.score}"
        parts = (self.suite, self.protocol, self.dataset, row, f"{leaf}{flags}.json")
        return PurePosixPath(*map(_file_name, parts))

    def seed_for(self, purpose: str) -> int:
        """A 63-bit seed for one purpose: 'batches', 'augment' or 'method' (or 'method/anything')."""
        fields = {name: getattr(self, name) for name in _STREAMS[purpose.split("/")[0]]}
        digest = hashlib.sha256(json.dumps([purpose, fields], sort_keys=True).encode()).digest()
        return int.from_bytes(digest[:8], "little") >> 1

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the record; `Record.from_json` reads it back."""
        return asdict(self) | {"overrides": dict(self.overrides)}


# What is the same for all rows of one table: the cell without its method's own coordinates.
FIELDS = tuple(field.name for field in fields(Cell) if field.name != "overrides")


def show(value: Value) -> str:
    """A parameter's value as people write it: 0.01, none, 64x32."""
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
    """All cells, a data set at a time so that workers keep what they loaded.

    `variants` maps a method to its list of override sets (a method that is not in it runs as it is);
    `common` holds the fields that all cells share.
    """
    rows = [(method, overrides) for method in methods for overrides in variants.get(method, [()])]
    for dataset, seed, budget, (method, overrides) in product(datasets, seeds, budgets, rows):
        where: dict[str, Any] = {"method": method, "dataset": dataset, "seed": seed, "budget": budget}
        yield Cell(**where, overrides=tuple(sorted(overrides)), **common)


def _file_name(part: str) -> str:
    """`part` as a file name on every system: letters, digits and a few marks, the rest as '_'.

    Two parts that differ only in what was replaced, or in capitals, which some systems do not tell apart, are
    told apart by a few digits of their sha256.
    """
    plain = part.replace(", ", ",")
    name = re.sub(r"[^\w.,=\[\]+-]+", "_", plain).strip(".") or "_"
    if "[" in name and name.lower() != plain:
        name += f"-{hashlib.sha256(part.encode()).hexdigest()[:8]}"
    return name
