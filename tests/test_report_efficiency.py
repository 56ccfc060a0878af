"""Query efficiency, on curves that are small enough to compute by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricate import SETS, grid, record, write

from bench.errors import UserError
from bench.report import efficiency
from bench.report.frame import load, select
from bench.report.summary import efficiency_table, ranks_table


def curve(
    row: str, values: dict[int, float], dataset: str = "d", seed: int = 1, white: bool = False
) -> pd.DataFrame:
    base = {"row": row, "label": row.upper(), "method": row, "variant": "", "reference": white}
    base |= {"n_params": 0 if row == "manual" else 10, "dataset": dataset, "seed": seed}
    return pd.DataFrame([base | {"at": at, "accuracy": a} for at, a in values.items()])


@pytest.fixture
def frame() -> pd.DataFrame:
    """Zero-shot has 40; zip ends at 60, which is the best; blackvip reaches 50 with one of two seeds."""
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
        goals = efficiency.goals(each)
        assert goals == {("d", "25%"): 45.0, ("d", "50%"): 50.0, ("d", "75%"): 55.0, ("d", "90%"): 58.0}
    assert efficiency.goals(frame, [50.0]) == {("d", "50 %"): 50.0}
    with pytest.raises(UserError, match="there is none for d: add manual to --methods"):
        efficiency.goals(frame[frame["row"] != "manual"])


def test_expected_running_time_is_all_queries_divided_by_successes(frame: pd.DataFrame) -> None:
    expected = efficiency.typical(
        efficiency.expected_queries(efficiency.hits(frame, efficiency.goals(frame)))
    )
    assert expected.loc["zip"].to_dict() == {"25%": 10.0, "50%": 100.0, "75%": 100.0, "90%": 1000.0}
    # Seed 1 reaches 50 after 100 queries, seed 2 does not after 1,000: 1,100 queries, one success.
    assert expected.loc["blackvip", "50%"] == 1100.0
    assert np.isinf(expected.loc["blackvip", "75%"]) and np.isinf(expected.loc["manual", "25%"])


def test_expected_running_time_is_computed_per_data_set() -> None:
    """Two data sets are solved after 10 queries, the third never: 10, 10 and never, not 1,020 / 2."""
    easy = [curve("zip", {0: 0.0, 10: 60.0, 1000: 60.0}, d) for d in "pq"]
    hard = curve("zip", {0: 0.0, 10: 0.0, 1000: 0.0}, "r")
    reached = efficiency.hits(pd.concat([*easy, hard]), {(d, "t"): 50.0 for d in "pqr"})
    expected = efficiency.expected_queries(reached)
    assert [expected.loc[("zip", d), "t"] for d in "pqr"] == [10.0, 10.0, np.inf]
    assert efficiency.typical(expected).loc["zip", "t"] == 10.0


def test_a_data_set_without_a_target_does_not_count_as_unsolved() -> None:
    frame = pd.concat([curve("zip", {0: 0.0, 10: 60.0}, d) for d in "pq"])
    reached = efficiency.hits(frame, {("p", "t"): 50.0, ("p", "u"): 70.0, ("q", "u"): 70.0})
    found = efficiency.typical(efficiency.expected_queries(reached))
    assert found.loc["zip", "t"] == 10.0 and np.isinf(found.loc["zip", "u"])


def test_targets_within_test_noise_of_the_start_are_left_out(frame: pd.DataFrame) -> None:
    """40 % of 600 images: three standard errors are 6 points. The targets are 5, 10, 15, 18 above 40."""
    assert efficiency.standard_error(40.0, 600) == pytest.approx(2.0)
    assert list(efficiency.goals(frame, images={"d": 600})) == [("d", "50%"), ("d", "75%"), ("d", "90%")]
    assert len(efficiency.goals(frame, images={"d": 60_000})) == 4
    assert efficiency.goals(frame, [45.0, 50.0], {"d": 600}) == {("d", "50 %"): 50.0}


def test_an_accuracy_counts_the_images_of_its_test_sets(tmp_path: Path) -> None:
    few = select(load(write(tmp_path / "few", record(n_test={"test": 300}))))
    assert efficiency.images_behind(few) == {"toy-colors": 300}
    both = record(protocol="base-to-new", n_test={"base": 300, "new": 200})
    assert efficiency.images_behind(select(load(write(tmp_path / "both", both)))) == {"toy-colors": 500}
    tests = {"toy-colors": 1000, "DTD": 50}
    ood = record(protocol="ood", tests=tuple(tests), n_test=tests)
    assert efficiency.images_behind(select(load(write(tmp_path / "ood", ood))))["DTD"] == 50


def test_the_efficiency_table_names_the_targets_it_leaves_out(tmp_path: Path) -> None:
    records = grid(("manual", "zip"), n_test={"test": 100})
    notes = efficiency_table(select(load(write(tmp_path, *records))), absolute=[60.0]).notes
    # toy-clocks starts at 45 %: three standard errors of 100 images are 14.9 points
    assert any("3 standard errors" in note and "toy-clocks" not in note for note in notes)
    assert any("toy-colors (all)" in note for note in notes)


def test_runs_are_compared_up_to_the_smallest_budget(frame: pd.DataFrame) -> None:
    longer = pd.concat([frame, curve("bar", {0: 40.0, 1000: 41.0, 9000: 60.0})])
    assert efficiency.fair_budget(longer) == 1000
    reached = efficiency.hits(longer, {("d", "t"): 55.0})
    bar = reached[reached["row"] == "bar"].iloc[0]
    assert np.isinf(bar["queries"]) and bar["paid"] == 1000


def test_ecdf_counts_the_unsolved(frame: pd.DataFrame) -> None:
    reached = efficiency.hits(frame, efficiency.goals(frame))
    queries, share = efficiency.ecdf(reached, "blackvip")
    assert queries.tolist() == [100.0, 100.0] and share.tolist() == [1 / 8, 2 / 8]


def test_area_under_the_log_query_curve_by_hand() -> None:
    # One decade rises from 40 to 60, one decade stays at 60.
    assert efficiency.area(np.array([0, 1, 10, 100]), np.array([0.0, 40, 60, 60])) == pytest.approx(55)


def test_saving_between_curves_known_in_closed_form() -> None:
    """Accuracy 10 * log10(queries), and the same curve ten times later: a tenth of the queries is enough."""
    at = [1, 10, 100, 1000, 10_000]
    sets = [(d, s) for d in "pqrst" for s in (1, 2, 3)]
    fast = [curve("fast", {q: 10 * np.log10(q) for q in at}, d, s) for d, s in sets]
    slow = [curve("slow", {q: 10 * np.log10(q) - 5 for q in at}, d, s) for d, s in sets]
    found = efficiency.saving(pd.concat([*fast, *slow]), "fast", "slow", pairs=1)
    assert found.share == pytest.approx(10**-0.5)
    assert (found.low, found.high) == pytest.approx((10**-0.5, 10**-0.5))
    assert np.isinf(efficiency.saving(pd.concat([*fast, *slow]), "slow", "fast").share)
    assert efficiency.saving(pd.concat([*fast, *slow]), "fast", "slow").low is None


def test_the_interval_of_a_saving_has_its_nominal_coverage() -> None:
    """A gains 10 points per decade and leads by 5, so it needs 10^-0.5 of the queries; the noise has sd 2."""
    rng, at, held = np.random.default_rng(0), [1, 10, 100, 1000, 10_000], []
    for _ in range(100):
        sets = [(d, 2 * rng.standard_normal()) for d in "pqrstuvwxy"]
        fast = [curve("fast", {q: 10 * np.log10(q) + error for q in at}, d) for d, error in sets]
        slow = [curve("slow", {q: 10 * np.log10(q) - 5 for q in at}, d) for d, _ in sets]
        found = efficiency.saving(pd.concat([*fast, *slow]), "fast", "slow", pairs=1)
        assert found.low is not None and found.high is not None
        held.append(found.low <= 10**-0.5 <= found.high)
    assert 0.88 <= np.mean(held) <= 1.0


def test_saving_needs_shared_runs() -> None:
    frame = pd.concat([curve("a", {1: 1.0, 10: 2.0}, seed=1), curve("b", {1: 1.0, 10: 2.0}, seed=2)])
    with pytest.raises(UserError, match="share no data set and seed"):
        efficiency.saving(frame, "a", "b")


def test_the_tables_of_ranks_and_efficiency(tmp_path: Path) -> None:
    results = select(load(write(tmp_path, *grid(("manual", "blackvip", "zip", "coop")))))
    ranks = ranks_table(results, 500)
    assert ranks.blocks[0].rows[0].lead[:2] == ("ZIP", "–")  # three data sets are too few for a test
    assert ranks.blocks[0].rows[0].entries[1].mean == "1.00"
    table = efficiency_table(results)
    assert [row.lead[0] for row in table.blocks[0].rows] == ["Manual Prompt", "BlackVIP", "ZIP", "CoOp"]
    assert any(note.startswith("ZIP reaches BlackVIP's final accuracy with") for note in table.notes)


def test_both_tables_say_what_a_method_needs_of_the_model(tmp_path: Path) -> None:
    """What is known of ZIP comes from its class; the others are not installed, so their access decides."""
    records = grid(("manual", "zip", "coop", "adapter"))
    records += [record("many", d, s, access=("template",), deploy_queries=s) for d in SETS for s in (1, 2, 3)]
    results = select(load(write(tmp_path, *records)))
    words = "zero-shot endpoint, rank service, encode service"
    needs = {
        "ZIP": ("soft context", "top", "a provider's consent", "5,000", "1"),
        "many": ("words", "top", words, "5,000", "3 (from 1)"),
        "Manual Prompt": ("class names", "label", f"{words}, vision chat, custom labels", "0", "1"),
        "Adapter": ("class names", "features", "encode service", "5,000", "1"),
        "CoOp": ("class names", "gradients", "a provider's consent", "5,000", "1"),
    }
    for table in (ranks_table(results), efficiency_table(results)):
        found = {
            row.lead[0]: (*row.lead[-3:], *(entry.text for entry in row.entries[-2:]))
            for row in table.blocks[0].rows
        }
        assert found == {name: needs[name] for name in found}
        assert {"ZIP", "many", "Manual Prompt"} <= set(found)
    assert {"Adapter", "CoOp"} <= set(found) and found.keys() == needs.keys()
    assert ranks_table(results, 500).blocks[0].rows[0].entries[-2].text == "500"


def test_missing_cells_are_an_error_in_these_tables_too(tmp_path: Path) -> None:
    results = select(load(write(tmp_path, *grid(("manual", "blackvip")), record("zip"))))
    with pytest.raises(UserError, match="8 cells are missing"):
        ranks_table(results)
    for table in (ranks_table(results, partial=True), efficiency_table(results, partial=True)):
        assert sorted(row.lead[0] for row in table.blocks[0].rows) == ["BlackVIP", "Manual Prompt"]
        assert table.notes[-1] == "Methods without a record for every data set are left out: zip."
        assert table.notes[-2].startswith(
            "This table is partial: 8 cells are missing: zip / toy-clocks / seed 1"
        )
