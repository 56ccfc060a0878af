"""What each method does in its first queries, against a small file: a change that was not meant shows here.

`pytest tests/test_traces.py --renew` writes the file anew; say in the commit why the numbers moved.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cells import mini_cells

from bench.lab import Lab, Settings
from bench.plugins import METHODS
from bench.run import rebuild, run_cell

GOLDEN = Path(__file__).parent / "golden" / "traces.json"
# Queries: the first steps only. Processors add up in another order, and every step makes the difference
# larger: after 120 queries the states of two makes are percents apart.
BUDGET = 20
LATE = {"bbt": 450, "craft": 450, "bptvlm": 120, "cmaes": 120, "random_search": 120}  # whole passes a step


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab(Settings())


def trace(name: str, lab: Lab) -> dict[str, Any]:
    """Checkpoints, and the deployed state as two numbers."""
    budget = LATE.get(name, BUDGET)
    (cell,) = mini_cells(name, datasets=["mini-digits"], budgets=[budget])
    record = run_cell(cell, Settings(), lab)
    assert record.ok, record.error
    state = rebuild(record, lab)[0].state
    state = torch.zeros(0) if state is None else state.double()
    return {
        "spent": record.queries,
        "queries": [point.queries for point in record.trace],
        "accuracy": [round(point.accuracy["test"], 2) for point in record.trace],
        "state_sum": round(float(state.sum()), 4),
        "state_norm": round(float(state.norm()), 4),
    }


@pytest.mark.parametrize("name", sorted(METHODS.files()))
def test_a_method_walks_as_before(name: str, lab: Lab, request: pytest.FixtureRequest) -> None:
    found = trace(name, lab)
    kept = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if request.config.getoption("--renew"):
        lines = [
            f"{json.dumps(key)}: {json.dumps(value)}" for key, value in sorted({**kept, name: found}.items())
        ]
        GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        return
    assert name in kept, "a new method? pytest tests/test_traces.py --renew adds its trace"
    expected = kept[name]
    assert (found["spent"], found["queries"]) == (expected["spent"], expected["queries"])
    # other processors add up in another order: a few of 1,047 images, a thousandth of the state
    assert found["accuracy"] == pytest.approx(expected["accuracy"], abs=0.5)
    for number in ("state_sum", "state_norm"):
        assert found[number] == pytest.approx(expected[number], rel=1e-3, abs=1e-3 * expected["state_norm"])


def test_the_file_holds_no_method_that_has_gone() -> None:
    assert set(json.loads(GOLDEN.read_text())) <= set(METHODS.files())


# A data set of the mini suite that a method can move, chosen from the records of the leaderboard.
MOVES = {"blackvip": "mini-colors", "bar": "mini-shapes", "vp": "mini-shapes"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(METHODS.files()) - {"manual"}))
def test_a_method_beats_its_untuned_prompt(name: str, lab: Lab) -> None:
    """By 8 points with each of three seeds, within 1,000 queries."""
    dataset = MOVES.get(name, "mini-backgrounds")
    cells = mini_cells(name, datasets=[dataset], seeds=[1, 2, 3], budgets=[1000])
    for cell in cells:
        record = run_cell(cell, Settings(), lab)
        assert record.ok, record.error
        before, after = (record.trace[i].accuracy["test"] for i in (0, -1))
        assert after > before + 8, (cell.cell.seed, before, after)
