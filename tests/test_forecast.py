"""The forecast of a plan: from records of such cells, and from nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
from cells import mini_cells
from toy_runs import record

from bench.forecast import forecast
from bench.record import Made
from bench.store import Store


def write(root: Path, *methods: str, seconds: float = 100.0, precision: str = "", **what: object) -> None:
    """Finished records of these methods' cells with 1,000 queries. precision: by default the cells'."""
    for one in mini_cells(*methods, budgets=[1000], **what):
        of = precision or one.precision
        made = Made(seconds=seconds, hardware="A processor", peak_memory_mib=512.0, precision=of)
        Store(root).write(replace(record(one.cell), run=made))


def test_hours_follow_from_the_cost_of_a_query(tmp_path: Path) -> None:
    write(tmp_path, "zip", datasets=["mini-digits"])
    plan = mini_cells("zip", datasets=["mini-digits"], seeds=[2, 3], budgets=[36_000])
    found = forecast(plan, tmp_path)
    assert found.hours == pytest.approx(2 * 36_000 * 0.1 / 3600)
    assert (found.cells, found.memory, found.measured, found.unknown) == (2, 512.0, 1, ())
    assert found.disk == 2 * next(tmp_path.rglob("*.json")).stat().st_size
    (line,) = found.lines(2, 2)
    assert "predicted for 2 of 2 cells: 2 h of one worker, 1 h with 2; 0.5 GiB" in line
    assert "from 1 records made on A processor" in line


def test_the_nearest_records_count(tmp_path: Path) -> None:
    write(tmp_path, "zip", datasets=["mini-digits"], seconds=100.0)
    write(tmp_path, "zip", datasets=["mini-colors"], seconds=300.0)
    here, new = mini_cells("zip", datasets=["mini-digits", "mini-shapes"], seeds=[2], budgets=[1000])
    assert forecast([here], tmp_path).hours * 3600 == pytest.approx(100.0)
    assert forecast([new], tmp_path).hours * 3600 == pytest.approx(200.0)


def test_records_of_another_precision_say_nothing(tmp_path: Path) -> None:
    write(tmp_path, "zip", datasets=["mini-digits"], precision="float32")
    (one,) = mini_cells("zip", datasets=["mini-digits"], seeds=[2])
    assert one.precision == "float64"
    assert forecast([one], tmp_path).unknown == ("zip",)


def test_what_was_not_measured_is_unknown(tmp_path: Path) -> None:
    write(tmp_path, "zip", datasets=["mini-digits"])
    (tmp_path / "bad.json").write_text("{")
    found = forecast(mini_cells("zip", "spsa", datasets=["mini-digits"], seeds=[2]), tmp_path)
    assert found.cells == 1 and found.unknown == ("spsa",)
    assert list(found.lines(2, None))[1] == "not predicted, because no such cell was measured yet: spsa"
    nothing = forecast(mini_cells("spsa", datasets=["mini-digits"]), tmp_path / "none")
    assert (nothing.cells, nothing.hours, len(list(nothing.lines(1, 1)))) == (0, 0.0, 1)
