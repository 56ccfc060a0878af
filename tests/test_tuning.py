"""benchmarks/tune_mini.py: which trials it makes, and what it reads out of their records."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import fabricate

from bench.plan import make_cells
from bench.plugins import METHODS
from bench.resolve import resolve
from bench.store import Store
from bench.suite import load_suite


def test_every_grid_is_five_values_that_the_method_takes(tuning: ModuleType) -> None:
    suite = load_suite("mini")
    for method, (name, values) in tuning.GRIDS.items():
        assert method in METHODS.files()
        assert len(set(values)) == 5
        asked = [f"{method}.{name}={','.join(values)}"]
        cells = make_cells(suite, [method], datasets=tuning.DATASETS, score="val", overrides=asked)
        assert len(resolve(cells, suite)) == 5 * len(tuning.DATASETS)


def test_scores_are_those_of_validation_images(tuning: ModuleType, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for score, accuracy in (("val", 61.0), ("test", 99.0)):
        for dataset in ("toy-colors", "toy-digits"):
            made = fabricate.record("zip", dataset, params={"a": 0.1}, accuracy={"test": accuracy})
            store.write(replace(made, cell=replace(made.cell, score=score)))
    assert tuning.scores(tmp_path) == {("zip", "a", 0.1): [61.0, 61.0]}
