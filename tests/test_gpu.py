"""How many cells share a GPU: the memory in the record of each method's first cell decides it."""

from dataclasses import replace
from pathlib import Path

import pytest
from cells import mini_cells

from bench.cell import Cell
from bench.record import Made, failure
from bench.schedule import gpu
from bench.store import Store

SETS = ("mini-digits", "mini-letters")  # 10 and 26 classes
WORK = mini_cells("zip", "bar", datasets=SETS, seeds=[1, 2])
CELLS = [one.cell for one in WORK]


def finish(store: Store, cells: list[Cell], needs: dict[str, float]) -> None:
    for cell in cells:
        made = Made(peak_gpu_memory_mib=needs.get(cell.method))
        store.write(replace(failure(cell, "made up"), run=made))


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
def test_the_method_that_needs_most_memory_decides(peaks: list[float], cells: int) -> None:
    assert gpu.share(peaks, 40_000.0) == 1 / cells


def test_the_first_cell_of_each_method_is_measured_on_the_largest_data_set(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rounds = gpu.rounds_by_memory(WORK, WORK, store, 40_000.0)
    probes, share = next(rounds)
    assert share == 1
    assert [(one.cell.method, one.cell.dataset) for one in probes] == [("zip", SETS[1]), ("bar", SETS[1])]
    finish(store, [one.cell for one in probes], {"zip": 1000.0, "bar": 9000.0})
    rest, share = next(rounds)
    assert share == 1 / 3
    assert sorted(one.cell.path for one in [*probes, *rest]) == sorted(cell.path for cell in CELLS)
    assert next(rounds, None) is None


def test_what_was_measured_before_is_not_measured_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store, CELLS[:1], {"zip": 1000.0})
    rounds = list(gpu.rounds_by_memory(WORK[1:], WORK, store, 40_000.0))
    assert [one.cell.method for one in rounds[0][0]] == ["bar"]
    finish(store, CELLS, {"zip": 1000.0, "bar": 9000.0})
    assert [share for _, share in gpu.rounds_by_memory(WORK, WORK, store, 40_000.0)] == [1 / 3]


def test_damaged_and_cpu_records_measure_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store, CELLS, {})
    store.path(CELLS[0]).write_text("{")
    assert gpu.measured(CELLS, store) == {}
