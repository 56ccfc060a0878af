"""Suites: a named list of data sets with a backbone and protocol values, one TOML file for each."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.cell import ELSEWHERE, Value
from bench.errors import UserError
from bench.plugins import SUITES
from bench.toml import read_toml


@dataclass(frozen=True)
class Transfer:
    """Tune on one data set, score on others. No targets: all the suite's other data sets."""

    source: str
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """See bench/suites/*.toml.

    `methods`: by method, parameter values that replace its defaults here; in it, under `datasets`, those of
    one data set, which replace these again: [methods.craft] and [methods.craft.datasets.dtd].
    `methods_of`: another suite; its values for all data sets hold for every method that has no table here.
    """

    name: str
    title: str
    backbone: str
    encoder: str  # BlackVIP's frozen image encoder
    shots: int
    batch_size: int
    seeds: tuple[int, ...]
    budget: int  # queries
    augment: bool  # random crops and flips while tuning
    datasets: tuple[str, ...]
    precision: str = "float32"  # of the model's arithmetic; float64: the same numbers on every processor
    cross: Transfer | None = None  # protocol "cross-dataset"
    ood: Transfer | None = None  # protocol "ood"
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    methods_of: str = ""
    notes: str = ""
    hash: str = ""  # sha256 of the file, and of that of `methods_of`

    def __post_init__(self) -> None:
        if min(self.shots, self.batch_size, self.budget) < 1:
            raise ValueError("shots, batch_size and budget must be at least 1")
        if not self.datasets or not self.seeds:
            raise ValueError("datasets and seeds must not be empty")
        for name, values in (("datasets", self.datasets), ("seeds", self.seeds)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} holds an entry twice")
        for method, table in self.methods.items():
            for name in table.get("datasets", {}):
                if name not in self.datasets:
                    raise ValueError(f"[methods.{method}.datasets.{name}] names no data set of the suite")
        if self.ood is not None and not self.ood.targets:
            raise ValueError("ood: the key 'targets' is missing: name the shifted data sets")

    def values(self, method: str, dataset: str) -> tuple[dict[str, Value], dict[str, Value]]:
        """Parameter values of a method: for all data sets, and for this one, which replace them."""
        table = dict(self.methods.get(method, {}))
        own: dict[str, Value] = table.pop("datasets", {}).get(dataset, {})
        return table, own

    def source(self, protocol: str) -> str | None:
        """The one data set a protocol tunes on; None where every data set is tuned on its own."""
        transfer = self._transfer(protocol)
        return transfer.source if transfer else None

    def targets(self, protocol: str) -> tuple[str, ...]:
        """The data sets that a protocol scores on besides its source; none where each is scored at home."""
        transfer = self._transfer(protocol)
        if transfer is None or transfer.targets:
            return transfer.targets if transfer else ()
        return tuple(name for name in self.datasets if name != transfer.source)

    def tests(self, protocol: str, dataset: str) -> tuple[str, ...]:
        """The data sets a prompt is scored on, its own first; none: on its own test set alone."""
        others = self.targets(protocol)
        return (dataset, *(name for name in others if name != dataset)) if others else ()

    def _transfer(self, protocol: str) -> Transfer | None:
        if protocol not in ELSEWHERE:
            return None
        transfer = self.cross if protocol == "cross-dataset" else self.ood
        if transfer is None:
            table = "cross" if protocol == "cross-dataset" else "ood"
            raise UserError(f"suite {self.name!r} does not define {protocol!r}: give it a [{table}] table.")
        return transfer


def load_suite(name: str) -> Suite:
    """A suite by name, or your own by the path of its .toml file. Raises UserError."""
    suite = _read(name)
    if not suite.methods_of:
        return suite
    other = _read(suite.methods_of)
    if other.methods_of:
        raise UserError(
            f"suite {suite.name!r}: methods_of is {other.name!r}, which itself takes its values from "
            f"{other.methods_of!r}: name a suite without methods_of."
        )
    theirs = {
        method: {key: value for key, value in table.items() if key != "datasets"}
        for method, table in other.methods.items()
    }
    both = hashlib.sha256(f"{suite.hash} {other.hash}".encode()).hexdigest()
    return replace(suite, methods={**theirs, **suite.methods}, hash=both)


def _read(name: str) -> Suite:
    """What one file says."""
    own = Path(name)
    if not name.endswith(".toml"):
        own = SUITES.file(name)
    elif not own.is_file():
        raise UserError(f"no suite file {name!r}: check the path.")
    return replace(
        read_toml(own, Suite, name=own.stem, hash=""), hash=hashlib.sha256(own.read_bytes()).hexdigest()
    )
