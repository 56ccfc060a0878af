"""Statistics over seeds and over data sets. Seeds are averaged first; data sets after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

Runs = Sequence[np.ndarray]  # one array of accuracies a data set; entry i of two methods is the same seed


def sd(values: Sequence[float] | pd.Series) -> float | None:
    """Sample standard deviation (n - 1); None for fewer than two values."""
    return float(np.std(np.asarray(values), ddof=1)) if len(values) > 1 else None


def t_half_width(values: Sequence[float] | pd.Series, level: float = 0.95) -> float | None:
    """Half the width of Student's t interval of the mean; None for fewer than two values."""
    from scipy.special import stdtrit

    deviation = sd(values)
    if deviation is None:
        return None
    return float(stdtrit(len(values) - 1, 0.5 + level / 2) * deviation / np.sqrt(len(values)))


def spread(values: Sequence[float] | pd.Series, kind: str) -> float | None:
    """What stands behind the ±: 'sd' or 'ci'."""
    return sd(values) if kind == "sd" else t_half_width(values)


def average_ranks(accuracy: pd.DataFrame) -> pd.Series:
    """Mean rank of each row over the columns of [methods, data sets]; 1 is best, ties share a mean rank."""
    return accuracy.rank(ascending=False, method="average").mean(axis=1)


@dataclass(frozen=True)
class Difference:
    """How much higher one method's average is than another's, in points."""

    mean: float
    low: float  # 95 % percentile interval
    high: float
    p: float  # two-sided: twice the share of resamples on the other side of zero


def paired_bootstrap(a: Runs, b: Runs, draws: int = 10_000, level: float = 0.95, seed: int = 0) -> Difference:
    """Difference of the averages of a and b, data sets resampled and within each its seeds, in pairs.

    Raises ValueError when the runs do not pair up.
    """
    if len(a) != len(b) or any(len(x) != len(y) for x, y in zip(a, b, strict=True)) or not len(a):
        raise ValueError("a and b need the same data sets and the same seeds in each")
    gaps = [np.asarray(x, float) - np.asarray(y, float) for x, y in zip(a, b, strict=True)]
    means = bootstrap_means(gaps, draws, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    # (k + 1) / (n + 1): a p-value is never exactly zero
    side = min((means <= 0).sum(), (means >= 0).sum())
    p = min(1.0, 2 * (side + 1) / (draws + 1))
    return Difference(float(np.mean([gap.mean() for gap in gaps])), float(low), float(high), float(p))


def bootstrap_means(values: Runs, draws: int = 10_000, seed: int = 0) -> np.ndarray:
    """[draws, ...] means over resampled data sets of means over their resampled seeds.

    values: per data set an array [seeds, ...]; what lies behind the first axis is kept together.
    """
    rng = np.random.default_rng(seed)
    sets = rng.integers(len(values), size=(draws, len(values)))  # [draws, D]
    means = np.empty((*sets.shape, *values[0].shape[1:]))
    for slot in range(len(values)):
        for i, runs in enumerate(values):
            mine = np.flatnonzero(sets[:, slot] == i)
            means[mine, slot] = runs[rng.integers(len(runs), size=(len(mine), len(runs)))].mean(axis=1)
    return means.mean(axis=1)


def holm(p: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Holm's step-down correction: p-values that may be read as if only one comparison had been made."""
    adjusted: dict[tuple[str, str], float] = {}
    running = 0.0
    for i, (pair, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        running = max(running, min(1.0, (len(p) - i) * value))
        adjusted[pair] = running
    return adjusted


@dataclass(frozen=True)
class Comparison:
    """All pairs of methods compared: difference and corrected p by (better, worse), and the tie letters."""

    differences: dict[tuple[str, str], Difference]
    p: dict[tuple[str, str], float]
    letters: dict[str, str]

    def tied(self, a: str, b: str) -> bool:
        """Whether the difference between two methods is not established."""
        return bool(set(self.letters[a]) & set(self.letters[b]))


def compare(runs: Mapping[str, Runs], alpha: float = 0.05, draws: int = 10_000) -> Comparison:
    """Every pair by paired bootstrap, Holm-corrected; letters from the pairs whose p is below `alpha`."""
    means = {name: float(np.mean([np.mean(x) for x in each])) for name, each in runs.items()}
    order = sorted(runs, key=lambda name: (-means[name], name))
    differences = {(a, b): paired_bootstrap(runs[a], runs[b], draws) for a, b in combinations(order, 2)}
    p = holm({pair: d.p for pair, d in differences.items()})
    apart = {pair for pair, value in p.items() if value < alpha}
    return Comparison(differences, p, letter_display(order, apart))


def letter_display(order: Sequence[str], apart: set[tuple[str, str]]) -> dict[str, str]:
    """Compact letter display (insert and absorb; Piepho 2004): names share a letter unless they are `apart`.

    `order` is best first; letters are given in that order, so the best carries an 'a'.
    """
    groups = [frozenset(order)]
    for a, b in apart:
        split = [part for g in groups for part in ((g - {a}, g - {b}) if {a, b} <= g else (g,))]
        groups = [g for g in dict.fromkeys(split) if not any(g < other for other in split)]
    groups.sort(key=lambda g: sorted(order.index(name) for name in g))
    letters = {name: "" for name in order}
    for i, group in enumerate(groups):
        for name in group:
            letters[name] += chr(ord("a") + i) if i < 26 else f"({i + 1})"
    return letters


@dataclass(frozen=True)
class CriticalDifference:
    """What a critical-difference diagram shows (Demsar 2006)."""

    ranks: pd.Series  # average rank by method, best first
    chi2: float  # Friedman's statistic, corrected for ties
    p: float
    cd: float  # Nemenyi's critical difference of two average ranks
    cliques: tuple[tuple[str, ...], ...]  # maximal runs of methods whose ranks differ by less than cd


def critical_difference(accuracy: pd.DataFrame, alpha: float = 0.05) -> CriticalDifference:
    """Friedman's test and Nemenyi's critical difference of [methods, data sets].

    Raises ValueError for fewer than two methods or data sets.
    """
    from scipy.special import chdtrc
    from scipy.stats import studentized_range

    k, n = accuracy.shape
    if k < 2 or n < 2:
        raise ValueError(f"ranks need at least two methods and two data sets, not {k} and {n}")
    ranks = accuracy.rank(ascending=False, method="average")
    mean = ranks.mean(axis=1).sort_values(kind="stable")
    # Friedman (1937) with the usual correction for ties: squared deviations over their expectation
    variance = ((ranks - (k + 1) / 2) ** 2).to_numpy().sum() / (n * (k - 1))
    chi2 = float(n * ((mean - (k + 1) / 2) ** 2).sum() / variance) if variance else 0.0
    q = studentized_range.ppf(1 - alpha, k, np.inf) / np.sqrt(2)
    cd = float(q * np.sqrt(k * (k + 1) / (6 * n)))
    return CriticalDifference(mean, chi2, float(chdtrc(k - 1, chi2)), cd, _cliques(mean, cd))


def _cliques(ranks: pd.Series, cd: float) -> tuple[tuple[str, ...], ...]:
    names, values = list(ranks.index), ranks.to_numpy()
    runs = [(i, int(np.searchsorted(values, values[i] + cd, side="left"))) for i in range(len(names))]
    maximal = [(i, j) for i, j in runs if j - i > 1 and not any(a < i and j <= b for a, b in runs)]
    return tuple(tuple(names[i:j]) for i, j in maximal)
