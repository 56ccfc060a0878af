"""Suites: one TOML file per suite, with its data sets, its backbone and the values of the protocol."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.cell import ELSEWHERE, Value
from bench.errors import UserError, brief, did_you_mean
from bench.files import read_bytes
from bench.plugins import METHODS, SUITES
from bench.toml import read_toml


@dataclass(frozen=True)
class Transfer:
    """Tune on one data set and score on others. Without targets: on all other data sets of the suite."""

    source: str
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """See bench/suites/*.toml.

    methods: for each method, the parameter values that replace its defaults in this suite ([methods.craft]).
    Below it, `datasets` holds values for single data sets, which replace those in turn
    ([methods.craft.datasets.dtd]).
    tuned_on: the data sets on whose validation images these values were chosen. A table shows the average
    over the other data sets separately.
    methods_of: another suite. Its values for all data sets also apply here, to each method without a table.
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
    precision: str = "float32"  # of the model's arithmetic; with float64, all processors give equal numbers
    cross: Transfer | None = None  # protocol "cross-dataset"
    ood: Transfer | None = None  # protocol "ood"
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    methods_of: str = ""
    tuned_on: tuple[str, ...] = ()
    notes: str = ""
    hash: str = ""  # sha256 of the file, and of the file of `methods_of`

    def __post_init__(self) -> None:
        if min(self.shots, self.batch_size, self.budget) < 1:
            raise ValueError("shots, batch_size and budget must be at least 1")
        if not self.datasets or not self.seeds:
            raise ValueError("datasets and seeds must not be empty")
        for name, values in (("datasets", self.datasets), ("seeds", self.seeds)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} holds an entry twice")
        for method, table in self.methods.items():
            for name, values in self._own(method, table).items():
                if name not in self.datasets:
                    raise ValueError(f"[methods.{method}.datasets.{name}]: {name!r} is not in `datasets`")
                if not isinstance(values, dict):
                    raise ValueError(f"[methods.{method}.datasets] {name} is no table of values")
        if unknown := set(self.tuned_on) - set(self.datasets):
            raise ValueError(f"tuned_on: {min(unknown)!r} is not in `datasets`")
        if not (self.backbone.strip() and self.encoder.strip()):
            raise ValueError("backbone and encoder must not be empty")
        if min(self.seeds) < 0:
            raise ValueError(f"seeds holds {min(self.seeds)}; a seed is 0 or more")
        if self.ood is not None and not self.ood.targets:
            raise ValueError("[ood] lacks the key 'targets': add it with the names of the shifted data sets")

    def _own(self, method: str, table: dict[str, Any]) -> dict[str, Any]:
        own = table.get("datasets", {})
        if not isinstance(own, dict):
            raise ValueError(f"[methods.{method}] datasets is no table of data sets")
        return own

    def values(self, method: str, dataset: str) -> tuple[dict[str, Value], dict[str, Value]]:
        """A method's parameter values: for all data sets, and for this data set, which replace the former."""
        table = dict(self.methods.get(method, {}))
        own: dict[str, Value] = table.pop("datasets", {}).get(dataset, {})
        return table, own

    def source(self, protocol: str) -> str | None:
        """The one data set on which a protocol tunes; None if it tunes on every data set."""
        transfer = self._transfer(protocol)
        return transfer.source if transfer else None

    def targets(self, protocol: str) -> tuple[str, ...]:
        """The data sets on which a protocol scores besides its source; empty if it has no source."""
        transfer = self._transfer(protocol)
        if transfer is None or transfer.targets:
            return transfer.targets if transfer else ()
        return tuple(name for name in self.datasets if name != transfer.source)

    def tests(self, protocol: str, dataset: str) -> tuple[str, ...]:
        """The data sets on which a prompt is scored, its own first; empty if it is scored on its own only."""
        others = self.targets(protocol)
        return (dataset, *(name for name in others if name != dataset)) if others else ()

    def _transfer(self, protocol: str) -> Transfer | None:
        if protocol not in ELSEWHERE:
            return None
        transfer = self.cross if protocol == "cross-dataset" else self.ood
        if transfer is None:
            table = "cross" if protocol == "cross-dataset" else "ood"
            raise UserError(f"suite {self.name!r} does not define {protocol!r}: add a [{table}] table to it.")
        return transfer


def load_suite(name: str) -> Suite:
    """A suite, given by its name or by the path of a .toml file. Raises UserError."""
    suite = _read(name)
    if not suite.methods_of:
        return suite
    other = _read(suite.methods_of)
    if other.methods_of:
        raise UserError(
            f"suite {suite.name!r}: methods_of is {other.name!r}, but that suite has methods_of = "
            f"{other.methods_of!r}: name a suite without methods_of."
        )
    theirs = {
        method: {key: value for key, value in table.items() if key != "datasets"}
        for method, table in other.methods.items()
    }
    both = hashlib.sha256(f"{suite.hash} {other.hash}".encode()).hexdigest()
    return replace(suite, methods={**theirs, **suite.methods}, hash=both)


def _read(name: str) -> Suite:
    """The suite of one file, without the values of another one."""
    own = Path(name)
    if not name.endswith(".toml"):
        own = SUITES.file(name)
    elif not own.is_file():
        raise UserError(f"no suite file {brief(name)}: check the path.")
    suite = read_toml(own, Suite, name=own.stem, hash="")
    known = METHODS.found()
    for method in suite.methods:
        if method not in known:
            raise UserError(f"{own}: [methods.{method}] names no method. {did_you_mean(method, known)}")
    return replace(suite, hash=hashlib.sha256(read_bytes(own)).hexdigest())
