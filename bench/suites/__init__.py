"""Suites: a named list of data sets with a backbone and protocol settings, one TOML file each."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import UserError, did_you_mean
from bench.toml import read_toml


@dataclass(frozen=True)
class Cross:
    """Cross-dataset: tune on `source`, score on `targets` (empty: all the suite's other data sets)."""

    source: str
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ood:
    """Out-of-distribution: tune on `source`, score on `targets`."""

    source: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Suite:
    """See bench/suites/*.toml.

    `methods`: by method, parameter values that replace its defaults here; in it, under `datasets`, those of
    one data set, which replace these again: [methods.craft] and [methods.craft.datasets.dtd].
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
    cross: Cross | None = None
    ood: Ood | None = None
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: str = ""

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

    def source(self, protocol: str) -> str | None:
        """The one data set a protocol tunes on; None where every data set is tuned on its own."""
        settings = self._settings(protocol)
        return settings.source if settings else None

    def targets(self, protocol: str) -> tuple[str, ...]:
        """What `load_task` takes as targets under this protocol."""
        settings = self._settings(protocol)
        if settings is None or settings.targets:
            return settings.targets if settings else ()
        return tuple(name for name in self.datasets if name != settings.source)

    def tests(self, protocol: str, dataset: str) -> tuple[str, ...]:
        """The data sets a prompt is scored on, its own first; none: on its own test set alone."""
        others = self.targets(protocol)
        return (dataset, *(name for name in others if name != dataset)) if others else ()

    def _settings(self, protocol: str) -> Cross | Ood | None:
        if protocol not in ("cross-dataset", "ood"):
            return None
        settings = self.cross if protocol == "cross-dataset" else self.ood
        if settings is None:
            table = "cross" if protocol == "cross-dataset" else "ood"
            raise UserError(f"suite {self.name!r} does not define {protocol!r}: give it a [{table}] table.")
        return settings


def suite_files() -> dict[str, Path]:
    """The suites by name: the shipped ones, and over them those of the folder that BENCH_SUITES names."""
    folders = [Path(__file__).parent, *map(Path, filter(None, [os.environ.get("BENCH_SUITES")]))]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}


def load_suite(name: str) -> Suite:
    """A shipped suite by name, or your own by the path of its .toml file. Raises UserError."""
    files = suite_files()
    if name in files:
        path = files[name]
    elif name.endswith(".toml") and Path(name).is_file():
        path = Path(name)
    elif name.endswith(".toml"):
        raise UserError(f"no suite file {name!r}: check the path.")
    else:
        raise UserError(
            f"no suite {name!r}: there is no bench/suites/{name}.toml. {did_you_mean(name, files)}"
        )
    return read_toml(path, Suite, name=path.stem)
