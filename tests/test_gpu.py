"""Cells a GPU: decided by what the first cell of each method needed, as its record says."""

from pathlib import Path

import pytest

from bench import gpu
from bench.cell import Cell
from bench.plan import make_cells
from bench.store import SCHEMA, Store
from bench.suites import load_suite

SUITE = load_suite("mini")
SETS = ("mini-digits", "mini-letters")  # 10 and 26 classes
CELLS = make_cells(SUITE, ["zip", "bar"], datasets=SETS, seeds=[1, 2])


def finish(store: Store, cells: list[Cell], needs: dict[str, float], status: str = "ok") -> None:
    for cell in cells:
        run = {gpu.PEAK: needs[cell.method]} if cell.method in needs else {}
        store.write({"schema": SCHEMA, "status": status, "cell": cell.as_dict(), "run": run})


@pytest.mark.parametrize(
    ("peaks", "cells"),
    [
        ([4000.0], 6),  # 40,000 MiB / (1.3 x 4,000 + 600)
        ([4000.0, 12000.0], 2),
        ([100.0], gpu.MOST),
        ([39_000.0], 1),
        ([90_000.0], 1),  # a record from a larger GPU
        ([], 1),
    ],
)
def test_the_neediest_decides(peaks: list[float], cells: int) -> None:
    assert gpu.share(peaks, 40_000.0) == 1 / cells


def test_the_first_cell_of_each_method_is_measured_on_the_largest_data_set(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rounds = gpu.rounds_by_memory(CELLS, CELLS, store, 40_000.0)
    probes, share = next(rounds)
    assert share == 1
    assert [(cell.method, cell.dataset) for cell in probes] == [("zip", SETS[1]), ("bar", SETS[1])]
    finish(store, probes, {"zip": 1000.0, "bar": 9000.0})
    rest, share = next(rounds)
    assert share == 1 / 3
    assert sorted(cell.path for cell in [*probes, *rest]) == sorted(cell.path for cell in CELLS)
    assert next(rounds, None) is None


def test_what_was_measured_before_is_not_measured_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store, CELLS[:1], {"zip": 1000.0})
    rounds = list(gpu.rounds_by_memory(CELLS[1:], CELLS, store, 40_000.0))
    assert [cell.method for cell in rounds[0][0]] == ["bar"]
    finish(store, CELLS, {"zip": 1000.0, "bar": 9000.0})
    assert [share for _, share in gpu.rounds_by_memory(CELLS, CELLS, store, 40_000.0)] == [1 / 3]


def test_damaged_and_cpu_records_measure_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store, CELLS, {})
    store.path(CELLS[0]).write_text("{")
    assert gpu.measured(CELLS, store) == {}
