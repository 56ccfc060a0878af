"""The first queries of each method, to the byte and on every processor: an unintended change is seen here.

`pytest tests/test_traces.py --renew` writes the file again. The commit message says why the numbers changed.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cells import SCRIPT, mini_cells

from bench.lab import Lab
from bench.plugins import METHODS
from bench.runner import run_cell

GOLDEN = Path(__file__).parent / "golden" / "traces.json"
BUDGET = 120  # queries: a few steps
# These methods score a whole population on whole passes, or 257 prompts on a batch, before their first step.
LATE = {"bbt": 450, "craft": 450, "cbbt": 600, "cbbt_adapter": 300}


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab(SCRIPT)


def trace(name: str, lab: Lab) -> dict[str, Any]:
    """The checkpoints and a checksum of the deployed state."""
    (cell,) = mini_cells(name, datasets=["mini-digits"], budgets=[LATE.get(name, BUDGET)])
    record = run_cell(cell, SCRIPT, lab)
    assert record.ok, record.error
    return {
        "spent": record.queries,
        "queries": [point.queries for point in record.trace],
        "accuracy": [point.accuracy["test"] for point in record.trace],
        "train_loss": [point.train_loss for point in record.trace],
        "state": hashlib.sha256((record.prompt.state or "").encode()).hexdigest(),
    }


@pytest.mark.parametrize("name", sorted(METHODS.files()))
def test_a_methods_first_steps_have_not_changed(name: str, lab: Lab, request: pytest.FixtureRequest) -> None:
    found = trace(name, lab)
    kept = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if request.config.getoption("--renew"):
        lines = [
            f"{json.dumps(key)}: {json.dumps(value)}" for key, value in sorted({**kept, name: found}.items())
        ]
        GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        return
    assert name in kept, "a new method? pytest tests/test_traces.py --renew adds its trace"
    assert found == kept[name]


def test_the_file_holds_no_method_that_was_removed() -> None:
    assert set(json.loads(GOLDEN.read_text())) <= set(METHODS.files())


# A data set of the mini suite on which the method gains, chosen from the records of the leaderboard.
MOVES = {"blackvip": "mini-colors", "bar": "mini-shapes", "vp": "mini-shapes"}


# A thousand queries are three steps of CBBT's 257.
SHORTER = {"cbbt": ["cbbt.q=16"], "cbbt_adapter": ["cbbt_adapter.q=16", "cbbt_adapter.lr=0.02"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(METHODS.files()) - {"manual", "ensemble"}))
def test_a_method_beats_its_untuned_prompt(name: str, lab: Lab) -> None:
    """It gains more than 8 points with each of three seeds, within 1,000 queries."""
    dataset = MOVES.get(name, "mini-backgrounds")
    cells = mini_cells(
        name, datasets=[dataset], seeds=[1, 2, 3], budgets=[1000], overrides=SHORTER.get(name, ())
    )
    for cell in cells:
        record = run_cell(cell, SCRIPT, lab)
        assert record.ok, record.error
        before, after = (record.trace[i].accuracy["test"] for i in (0, -1))
        assert after > before + 8, (cell.cell.seed, before, after)
