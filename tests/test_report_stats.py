"""Statistics against scipy and against cases worked out by hand."""

from itertools import combinations

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


def runs(means: list[float], noise: float, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [m + noise * rng.standard_normal(3) for m in means]


def test_a_clear_difference_is_found_and_its_sign_is_right() -> None:
    a, b = runs([60, 50, 70, 40, 55, 62], 0.5, 1), runs([55, 46, 64, 36, 50, 55], 0.5, 2)
    d = stats.paired_bootstrap(a, b)
    assert d.mean == pytest.approx(np.mean([x.mean() - y.mean() for x, y in zip(a, b, strict=True)]))
    assert 3 < d.low < d.mean < d.high < 7 and d.p < 0.001
    reverse = stats.paired_bootstrap(b, a)
    assert (reverse.low, reverse.high) == pytest.approx((-d.high, -d.low), abs=0.1)


def test_no_difference_is_not_found() -> None:
    a = runs([60, 50, 70, 40], 2.0, 1)
    d = stats.paired_bootstrap(a, [np.flip(x) for x in a])
    assert d.low < 0 < d.high and d.p > 0.3


def test_the_bootstrap_interval_of_one_seed_a_set_is_that_of_the_data_sets() -> None:
    gaps = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    d = stats.paired_bootstrap([np.array([g]) for g in gaps], [np.zeros(1)] * 5, draws=20_000)
    theirs = scipy_stats.bootstrap((gaps,), np.mean, n_resamples=20_000, method="percentile", rng=1)
    assert d.low == pytest.approx(theirs.confidence_interval.low, abs=0.1)
    assert d.high == pytest.approx(theirs.confidence_interval.high, abs=0.1)


def test_seeds_are_resampled_within_their_data_set() -> None:
    """The variance of the resampled mean: between the sets, plus what is left within them."""
    values = [np.array([0.0, 2.0]), np.array([10.0, 12.0])]
    means = stats.bootstrap_means(values, draws=40_000)
    # slot: set 1 or 11 (variance 25) plus the mean of two draws of +-1 (variance 1/2); two slots
    assert means.var() == pytest.approx((25 + 0.5) / 2, rel=0.05)


def test_runs_that_do_not_pair_up_are_refused() -> None:
    with pytest.raises(ValueError, match="same seeds"):
        stats.paired_bootstrap([np.zeros(2)], [np.zeros(3)])


def test_holm_by_hand() -> None:
    p = {("a", "b"): 0.01, ("a", "c"): 0.04, ("b", "c"): 0.03}
    # 3 * 0.01; then max(0.03, 2 * 0.03) = 0.06; then max(0.06, 0.04) = 0.06
    assert stats.holm(p) == pytest.approx({("a", "b"): 0.03, ("b", "c"): 0.06, ("a", "c"): 0.06})


@pytest.mark.parametrize(
    ("apart", "letters"),
    [
        (set(), {"w": "a", "x": "a", "y": "a", "z": "a"}),
        ({("w", "z")}, {"w": "a", "x": "ab", "y": "ab", "z": "b"}),
        ({("w", "y"), ("w", "z"), ("x", "z")}, {"w": "a", "x": "ab", "y": "bc", "z": "c"}),
        ({("w", "x"), ("w", "y"), ("w", "z")}, {"w": "a", "x": "b", "y": "b", "z": "b"}),
    ],
)
def test_letters_by_hand(apart: set, letters: dict) -> None:
    assert stats.letter_display(["w", "x", "y", "z"], apart) == letters


def test_letters_say_exactly_what_is_apart() -> None:
    rng = np.random.default_rng(0)
    names = list("stuvwxyz")
    for _ in range(50):
        apart = {pair for pair in combinations(names, 2) if rng.random() < 0.4}
        letters = stats.letter_display(names, apart)
        for a, b in combinations(names, 2):
            assert ((a, b) in apart) == (not set(letters[a]) & set(letters[b]))


def test_friedman_agrees_with_scipy_ties_included() -> None:
    accuracy = pd.DataFrame(np.random.default_rng(3).integers(0, 6, (4, 9)), index=list("abcd"))
    found = stats.critical_difference(accuracy)
    theirs = scipy_stats.friedmanchisquare(*accuracy.to_numpy())
    assert found.chi2 == pytest.approx(theirs.statistic) and found.p == pytest.approx(theirs.pvalue)


def test_nemenyi_agrees_with_demsars_table() -> None:
    """Demsar 2006: q_0.05 is 1.960 for 2 methods; his example of 4 on 14 data sets has CD 1.25."""
    two = stats.critical_difference(pd.DataFrame(np.eye(2, 10)))
    assert two.cd == pytest.approx(1.960 * np.sqrt(2 * 3 / (6 * 10)), abs=0.002)
    four = stats.critical_difference(pd.DataFrame(np.random.default_rng(0).random((4, 14))))
    assert four.cd == pytest.approx(1.25, abs=0.005)


def test_cliques_are_maximal_runs_within_the_critical_difference() -> None:
    ranks = pd.Series({"a": 1.0, "b": 1.8, "c": 2.5, "d": 4.9})
    assert stats._cliques(ranks, 1.0) == (("a", "b"), ("b", "c"))
    assert stats._cliques(ranks, 0.5) == ()


def test_equal_methods_have_no_friedman_statistic() -> None:
    found = stats.critical_difference(pd.DataFrame(np.ones((3, 5))))
    assert found.chi2 == 0 and found.p == 1
    with pytest.raises(ValueError, match="at least two"):
        stats.critical_difference(pd.DataFrame(np.ones((1, 5))))


def test_compare_ties_what_it_cannot_tell_apart() -> None:
    base = [60.0, 50.0, 70.0, 40.0, 55.0, 62.0]
    made = {
        "good": runs(base, 0.4, 1),
        "same": runs(base, 0.4, 2),
        "bad": runs([b - 6 for b in base], 0.4, 3),
    }
    found = stats.compare(made)
    assert found.tied("good", "same") and not found.tied("good", "bad") and not found.tied("same", "bad")
