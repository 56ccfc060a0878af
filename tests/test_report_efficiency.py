"""Query efficiency on curves small enough to work out by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricate import grid, record, write

from bench.errors import UserError
from bench.report import efficiency
from bench.report.frame import load, points, select
from bench.report.summary import efficiency_table, ranks_table, standing, verdict


def curve(
    row: str, values: dict[int, float], dataset: str = "d", seed: int = 1, white: bool = False
) -> pd.DataFrame:
    base = {"row": row, "label": row.upper(), "method": row, "variant": "", "white_box": white}
    base |= {"n_params": 0 if row == "manual" else 10, "dataset": dataset, "seed": seed}
    return pd.DataFrame([base | {"at": at, "accuracy": a} for at, a in values.items()])


@pytest.fixture
def frame() -> pd.DataFrame:
    """Zero-shot 40; zip ends at 60 (the best known), blackvip reaches 50 in one of two seeds."""
    return pd.concat(
        [
            curve("manual", {0: 40.0}),
            curve("zip", {0: 30.0, 10: 45.0, 100: 55.0, 1000: 60.0}),
            curve("zip", {0: 30.0, 10: 45.0, 100: 55.0, 1000: 60.0}, seed=2),
            curve("blackvip", {0: 40.0, 10: 41.0, 100: 50.0, 1000: 52.0}),
            curve("blackvip", {0: 40.0, 10: 40.0, 100: 42.0, 1000: 44.0}, seed=2),
        ]
    )


def test_accuracy_at_a_budget_is_that_of_the_last_checkpoint(frame: pd.DataFrame) -> None:
    at = efficiency.at_budget(frame, 500)
    assert at[at["row"] == "zip"]["accuracy"].tolist() == [55.0, 55.0]
    assert at[at["row"] == "manual"]["accuracy"].tolist() == [40.0]


def test_targets_are_shares_of_the_way_to_the_best_black_box(frame: pd.DataFrame) -> None:
    white = pd.concat([frame, curve("coop", {0: 40.0, 1000: 90.0}, white=True)])
    for each in (frame, white):
        goals = efficiency.targets(each)
        assert goals == {("d", "25%"): 45.0, ("d", "50%"): 50.0, ("d", "75%"): 55.0, ("d", "90%"): 58.0}
    assert efficiency.targets(frame, [50.0]) == {("d", "50 %"): 50.0}
    with pytest.raises(UserError, match="there is none for d: add manual to --methods"):
        efficiency.targets(frame[frame["row"] != "manual"])


def test_expected_running_time_is_all_queries_over_successes(frame: pd.DataFrame) -> None:
    ert = efficiency.ert(efficiency.hits(frame, efficiency.targets(frame)))
    assert ert.loc["zip"].to_dict() == {"25%": 10.0, "50%": 100.0, "75%": 100.0, "90%": 1000.0}
    # seed 1 reaches 50 at 100, seed 2 spends its 1,000 in vain: 1,100 queries, one success
    assert ert.loc["blackvip", "50%"] == 1100.0
    assert np.isinf(ert.loc["blackvip", "75%"]) and np.isinf(ert.loc["manual", "25%"])


def test_runs_are_compared_up_to_the_smallest_budget(frame: pd.DataFrame) -> None:
    longer = pd.concat([frame, curve("bar", {0: 40.0, 1000: 41.0, 9000: 60.0})])
    assert efficiency.fair_budget(longer) == 1000
    reached = efficiency.hits(longer, {("d", "t"): 55.0})
    bar = reached[reached["row"] == "bar"].iloc[0]
    assert np.isinf(bar["queries"]) and bar["paid"] == 1000


def test_ecdf_counts_the_unsolved(frame: pd.DataFrame) -> None:
    reached = efficiency.hits(frame, efficiency.targets(frame))
    queries, share = efficiency.ecdf(reached, "blackvip")
    assert queries.tolist() == [100.0, 100.0] and share.tolist() == [1 / 8, 2 / 8]


def test_area_under_the_log_query_curve_by_hand() -> None:
    # one decade rising from 40 to 60, one decade flat at 60
    assert efficiency.area(np.array([0, 1, 10, 100]), np.array([0.0, 40, 60, 60])) == pytest.approx(55)


def test_saving_between_curves_known_in_closed_form() -> None:
    """Accuracy 10 * log10(queries) against the same, ten times later: a tenth of the queries will do."""
    at = [1, 10, 100, 1000, 10_000]
    sets = [(d, s) for d in "pqr" for s in (1, 2)]
    fast = [curve("fast", {q: 10 * np.log10(q) for q in at}, d, s) for d, s in sets]
    slow = [curve("slow", {q: 10 * np.log10(q) - 5 for q in at}, d, s) for d, s in sets]
    found = efficiency.saving(pd.concat([*fast, *slow]), "fast", "slow", draws=50)
    assert found.share == pytest.approx(10**-0.5)
    assert (found.low, found.high) == pytest.approx((10**-0.5, 10**-0.5))
    assert np.isinf(efficiency.saving(pd.concat([*fast, *slow]), "slow", "fast", draws=50).share)


def test_saving_needs_shared_runs() -> None:
    frame = pd.concat([curve("a", {1: 1.0, 10: 2.0}, seed=1), curve("b", {1: 1.0, 10: 2.0}, seed=2)])
    with pytest.raises(UserError, match="share no data set and seed"):
        efficiency.saving(frame, "a", "b")


def test_paired_runs_hold_the_seeds_all_methods_share(frame: pd.DataFrame) -> None:
    runs = efficiency.paired_runs(efficiency.at_budget(frame[frame["row"] != "x"], 1000))
    assert {name: [list(a) for a in each] for name, each in runs.items()} == {
        "manual": [[40.0, 40.0]],
        "zip": [[60.0, 60.0]],
        "blackvip": [[52.0, 44.0]],
    }


def test_the_verdict_names_the_best_and_says_whether_it_is_real(tmp_path: Path) -> None:
    sets = tuple(f"toy-{i}" for i in range(6))
    frame = points(select(load(write(tmp_path, *grid(("manual", "blackvip", "zip", "coop"), sets)))))
    said = verdict(standing(frame, 5000), "the toy suite")
    assert (
        said.startswith("At 5,000 queries on the toy suite, ZIP is best:")
        and "over 6 data sets and 3 seeds" in said
    )
    assert "leads BlackVIP by 8.0 points" in said and "The difference is real" in said
    assert "CoOp" not in said


def test_the_verdict_does_not_claim_what_chance_explains(tmp_path: Path) -> None:
    records = []
    for i, dataset in enumerate(f"toy-{i}" for i in range(6)):
        for seed in (1, 2, 3):
            sign = 1 if (i + seed) % 2 else -1
            for method, accuracy in (("zip", 50.0 + sign), ("blackvip", 49.9 - sign)):
                trace = tuple(replace(p, accuracy={"test": accuracy}) for p in record().trace)
                records.append(record(method, dataset, seed, accuracy={"test": accuracy}, trace=trace))
    s = standing(points(select(load(write(tmp_path, *records)))), 5000)
    assert s.comparison.tied("zip", "blackvip")
    assert "The difference is not established: BlackVIP may be as good." in verdict(s, "the toy suite")


def test_a_single_record_still_gets_a_verdict(tmp_path: Path) -> None:
    said = verdict(standing(points(select(load(write(tmp_path, record())))), 500), "the toy suite")
    assert "the only method there" in said


def test_the_tables_of_ranks_and_efficiency(tmp_path: Path) -> None:
    results = select(load(write(tmp_path, *grid(("manual", "blackvip", "zip", "coop")))))
    ranks = ranks_table(results, 500)
    assert ranks.blocks[0].rows[0].lead == ("ZIP", "a")
    assert ranks.blocks[0].rows[0].entries[1].mean == "1.00"
    table = efficiency_table(results)
    assert [row.lead[0] for row in table.blocks[0].rows] == ["Manual Prompt", "BlackVIP", "ZIP", "CoOp"]
    assert any(note.startswith("ZIP reaches BlackVIP's final accuracy with") for note in table.notes)


def test_holes_are_an_error_here_too(tmp_path: Path) -> None:
    results = select(load(write(tmp_path, *grid(("manual", "blackvip")), record("zip"))))
    with pytest.raises(UserError, match="8 cells are missing"):
        ranks_table(results)
    for table in (ranks_table(results, partial=True), efficiency_table(results, partial=True)):
        assert sorted(row.lead[0] for row in table.blocks[0].rows) == ["BlackVIP", "Manual Prompt"]
        assert table.notes[-1] == "Left out, without a record for every data set: zip."
        assert table.notes[-2].startswith("Partial, 8 cells missing: zip / toy-clocks / seed 1")


def test_a_row_that_is_the_same_for_every_seed_has_no_interval(tmp_path: Path) -> None:
    results = select(load(write(tmp_path, *grid(("manual", "zip")))))
    zip_row, manual = ranks_table(results).blocks[0].rows
    assert "±" in zip_row.entries[0].text and "±" not in manual.entries[0].text
