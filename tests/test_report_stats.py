"""The statistics agree with scipy and with cases that were computed by hand."""

from itertools import combinations
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from bench.report import stats


def test_sd_and_t_interval_agree_with_scipy() -> None:
    values = [61.2, 60.1, 63.4, 59.9]
    low, high = scipy_stats.t.interval(0.95, 3, np.mean(values), scipy_stats.sem(values))
    assert stats.sd(values) == pytest.approx(np.std(values, ddof=1))
    assert stats.t_half_width(values) == pytest.approx((high - low) / 2)
    assert stats.sd([1.0]) is None and stats.t_half_width([1.0]) is None


def test_average_ranks_share_ties() -> None:
    accuracy = pd.DataFrame({"x": [50, 60, 60], "y": [3, 2, 1]}, index=["a", "b", "c"])
    assert stats.average_ranks(accuracy).to_dict() == {"a": 2.0, "b": 1.75, "c": 2.25}


def test_numbers_that_differ_by_rounding_errors_share_a_rank() -> None:
    noisy = 0.1 + 0.2, 0.3
    assert noisy[0] != noisy[1]
    accuracy = pd.DataFrame({"x": noisy}, index=["a", "b"])
    assert stats.average_ranks(accuracy).to_dict() == {"a": 1.5, "b": 1.5}


def made_up(
    methods: int, sets: int = 10, seed: int = 0, lead: float = 0.0, noise: float = 1.0
) -> pd.DataFrame:
    """[methods, data sets]: each method is `lead` points ahead of the next."""
    rng = np.random.default_rng(seed)
    accuracy = 50 + 10 * rng.standard_normal(sets) + noise * rng.standard_normal((methods, sets))
    accuracy -= lead * np.arange(methods)[:, None]
    names = [f"m{i:02}" for i in range(methods)]
    return pd.DataFrame(accuracy, index=names, columns=[f"d{i}" for i in range(sets)])


def test_every_pair_agrees_with_scipys_paired_t_test() -> None:
    accuracy = made_up(5, lead=0.5)
    found = stats.compare(accuracy)
    assert len(found.differences) == 10
    for (a, b), d in found.differences.items():
        theirs = scipy_stats.ttest_rel(accuracy.loc[a], accuracy.loc[b])
        interval = theirs.confidence_interval(1 - 0.05 / 10)
        assert d.mean == pytest.approx(accuracy.loc[a].mean() - accuracy.loc[b].mean(), abs=1e-8)
        assert (d.low, d.high) == pytest.approx((interval.low, interval.high), abs=1e-6)
        assert d.p == pytest.approx(min(1, 10 * theirs.pvalue), rel=1e-6)


def test_p_value_and_interval_agree() -> None:
    verdicts = []
    for seed in range(20):
        for d in stats.compare(made_up(6, seed=seed, lead=0.7)).differences.values():
            assert d.real == (d.p < 0.05) == (not d.low <= 0 <= d.high)
            verdicts.append(d.real)
    assert 0.1 < np.mean(verdicts) < 0.9  # both verdicts occur


def test_the_least_detectable_lead_is_found_in_four_of_five_cases() -> None:
    rng = np.random.default_rng(1)
    accuracy = rng.standard_normal((4000, 4, 10))
    lead = stats.Pairs(*np.triu_indices(4, 1), np.zeros(6), np.full(6, (2 / 10) ** 0.5), 10).detectable[0]
    accuracy[:, 0] += lead
    assert (stats.pairwise(accuracy).p[:, 0] < 0.05).mean() == pytest.approx(0.8, abs=0.02)


def test_thirty_methods_can_be_separated() -> None:
    """With a p that cannot be below 1 / draws no pair would be separated."""
    found = stats.compare(made_up(30, lead=10.0))
    assert all(d.real for d in found.differences.values())
    assert found.groups == tuple((f"m{i:02}",) for i in range(30))
    assert found.letters["m00"] == "a" and found.letters["m29"] == "(30)"


def test_nothing_depends_on_the_order_of_methods_or_data_sets() -> None:
    accuracy = made_up(8, lead=0.5)
    found, rng = stats.compare(accuracy), np.random.default_rng(0)
    for _ in range(5):
        mixed = accuracy.iloc[rng.permutation(8), rng.permutation(10)]
        assert stats.compare(mixed) == found


def test_equal_methods_are_not_separated_and_a_constant_lead_is_real() -> None:
    accuracy = made_up(2)
    accuracy.loc["m01"] = accuracy.loc["m00"]
    (same,) = stats.compare(accuracy).differences.values()
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)
    accuracy.loc["m01"] -= 2.0
    (ahead,) = stats.compare(accuracy).differences.values()
    assert ahead.mean == 2 and ahead.p < 1e-6


def test_too_few_data_sets_or_methods_are_refused() -> None:
    with pytest.raises(ValueError, match="5 data sets, not 4"):
        stats.compare(made_up(3, sets=4))
    with pytest.raises(ValueError, match="two methods"):
        stats.compare(made_up(1))


@pytest.mark.parametrize(
    ("apart", "groups"),
    [
        ([], [("w", "x", "y", "z")]),
        ([("w", "z")], [("w", "x", "y"), ("x", "y", "z")]),
        ([("w", "y"), ("w", "z"), ("x", "z")], [("w", "x"), ("x", "y"), ("y", "z")]),
        ([("w", "x"), ("w", "y"), ("w", "z")], [("w",), ("x", "y", "z")]),
    ],
)
def test_groups_by_hand(apart: list, groups: list) -> None:
    assert stats.tie_groups(["w", "x", "y", "z"], apart) == tuple(groups)


def test_two_methods_share_a_letter_unless_they_are_separated() -> None:
    rng = np.random.default_rng(0)
    names = list("stuvwxyz")
    for _ in range(50):
        apart = [pair for pair in combinations(names, 2) if rng.random() < 0.4]
        found = stats.Comparison({}, stats.tie_groups(names, apart))
        letters = found.letters
        for a, b in combinations(names, 2):
            assert ((a, b) in apart) == (not set(letters[a]) & set(letters[b])) == (not found.tied(a, b))
        shuffled = [apart[i] for i in rng.permutation(len(apart))]
        assert stats.tie_groups(names, shuffled) == found.groups


@pytest.mark.parametrize("methods", [7, 12, 25])
def test_the_family_wise_error_is_nominal(simulation: ModuleType, methods: int) -> None:
    """docs/statistics.md has the full table. With 2,000 benchmarks the standard error is 0.005."""
    whole = simulation.measure(simulation.Scenario(methods, 10, "normal", False), 2000, 1)
    assert 0.02 < whole.error < 0.06 and whole.coverage > 0.94


def test_the_bootstrap_that_was_used_before_errs_far_more_often(simulation: ModuleType) -> None:
    """This shows that the simulation can reject a procedure."""
    rng = np.random.default_rng(1)
    runs = simulation.Scenario(12, 10, "normal", False).draw(rng, 100)
    assert np.mean([simulation.bootstrap(each, rng).any() for each in runs]) > 0.1


def test_the_other_procedures_do_what_their_names_say(simulation: ModuleType) -> None:
    rng = np.random.default_rng(2)
    runs = simulation.Scenario(4, 6, "normal", False).draw(rng, 1)[0]
    accuracy = runs.mean(axis=-1)
    p = [scipy_stats.ttest_rel(accuracy[i], accuracy[j]).pvalue for i, j in combinations(range(4), 2)]
    assert list(simulation.step_down(np.array([0.001, 0.2, 0.012, 0.012, 0.9, 0.9]))) == [True] + [False] * 5
    assert list(simulation.holm(runs, rng)) == list(simulation.step_down(np.array(p)))
    two = accuracy[:2]
    theirs = scipy_stats.permutation_test(
        (two[0] - two[1],), lambda x, axis: np.abs(x.mean(axis=axis)), permutation_type="samples",
        n_resamples=np.inf, vectorized=True, alternative="greater",
    )  # fmt: skip
    ours = simulation.sign_flip_p(two)
    assert ours[0] == pytest.approx(theirs.pvalue)
