"""Statistics over seeds and over data sets. Seeds are averaged first; data sets are the units of every test.

All tables, plots and sentences use one test: paired t tests over data sets, with each interval and each p
corrected for the number of pairs (Bonferroni). docs/statistics.md gives the reasons and the error rates that
were measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import pandas as pd

ALPHA = 0.05  # family-wise: the probability that at least one of the differences called real is not real
POWER = 0.8  # the probability with which a difference is found, for `Pairs.detectable`
LEAST_SETS, LEAST_SEEDS = 5, 3  # with fewer data sets or seeds, nothing is tested
SMALL = 200  # test images; an accuracy on fewer shows how uncertain they leave it
# Accuracies are printed with one decimal. Equal sums of them can differ by 1e-14 in floating point.
DECIMALS = 9


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


def wilson(accuracy: float, images: int) -> tuple[float, float]:
    """Wilson's binomial 95 % interval of an accuracy (%) on so many test images, in %."""
    from scipy.stats import binomtest

    interval = binomtest(round(accuracy * images / 100), images).proportion_ci(method="wilson")
    return 100 * interval.low, 100 * interval.high


def spread(values: Sequence[float] | pd.Series, kind: str) -> float | None:
    """The number after ±: the standard deviation ('sd') or half the width of the 95 % t interval ('ci')."""
    return sd(values) if kind == "sd" else t_half_width(values)


def average_ranks(accuracy: pd.DataFrame) -> pd.Series:
    """The mean rank of each row of [methods, data sets] over data sets; 1 is best, ties share a mean rank."""
    return accuracy.round(DECIMALS).rank(ascending=False, method="average").mean(axis=1)


def critical(sets: int, pairs: int) -> float:
    """From how many standard errors on a difference is real: two-sided Student's t at ALPHA / pairs.

    sets: the number of data sets. pairs: the number of pairs of methods that are compared.
    """
    from scipy.special import stdtrit

    return float(stdtrit(sets - 1, 1 - ALPHA / (2 * pairs)))


@dataclass(frozen=True)
class Pairs:
    """All pairs of methods; the last axis of every array is [pairs], in the order of `first` and `second`."""

    first: np.ndarray  # [pairs], the index of one method
    second: np.ndarray  # [pairs], the index of the other method
    mean: np.ndarray  # average of `first` minus average of `second`, in points
    error: np.ndarray  # standard error of this mean
    sets: int  # number of data sets

    @property
    def critical(self) -> float:
        """From how many standard errors on a difference is real."""
        return critical(self.sets, len(self.first))

    @property
    def half_width(self) -> np.ndarray:
        """Half the width of each interval; all intervals together hold with a probability of 95 %."""
        return self.critical * self.error

    @property
    def p(self) -> np.ndarray:
        """The two-sided p times the number of pairs; below ALPHA exactly if the interval excludes 0."""
        from scipy.special import stdtr

        none = np.where(self.mean == 0, 0.0, np.inf)  # t if all data sets show the same difference
        t = np.divide(np.abs(self.mean), self.error, out=none, where=self.error > 0)
        return np.minimum(1.0, 2 * stdtr(self.sets - 1, -t) * len(self.first))

    @property
    def detectable(self) -> np.ndarray:
        """The lead that a test finds with a probability of 80 %, if the spread is as measured.

        It is `error` times the noncentrality at which a noncentral t variable is above `critical` with this
        probability.
        """
        from scipy.special import nctdtrinc

        return float(nctdtrinc(self.sets - 1, 1 - POWER, self.critical)) * self.error


def pairwise(accuracy: np.ndarray) -> Pairs:
    """Compare all pairs of methods, accuracy [..., methods, data sets].

    Raises ValueError for fewer than two methods or two data sets.
    """
    methods, sets = accuracy.shape[-2:]
    if methods < 2 or sets < 2:
        raise ValueError(f"a comparison needs two methods and two data sets, not {methods} and {sets}")
    first, second = np.triu_indices(methods, 1)
    gaps = np.round(accuracy[..., first, :] - accuracy[..., second, :], DECIMALS)  # [..., pairs, data sets]
    error = gaps.std(axis=-1, ddof=1) / np.sqrt(sets)
    return Pairs(first, second, np.round(gaps.mean(axis=-1), DECIMALS), error, sets)


@dataclass(frozen=True)
class Difference:
    """How much higher one method's average is than another's, in points."""

    mean: float
    low: float  # of the simultaneous 95 % interval
    high: float
    p: float  # corrected for all pairs; below 0.05 exactly if the interval excludes 0
    detectable: float  # the smallest lead that a test finds with a probability of 80 %

    @property
    def real(self) -> bool:
        """Whether the difference is larger than chance over data sets and seeds explains."""
        return self.p < ALPHA


@dataclass(frozen=True)
class Comparison:
    """The comparison of methods that every table, sentence, letter, picture and page shows.

    differences: (better, worse) -> their difference. groups: the largest sets of methods that are not told
    apart, best first. Both are empty if nothing was tested.
    """

    differences: dict[tuple[str, str], Difference]
    groups: tuple[tuple[str, ...], ...]

    @cached_property
    def letters(self) -> dict[str, str]:
        """Method -> the letters of its groups. Two methods share a letter unless they are told apart."""
        found: dict[str, str] = {}
        for i, group in enumerate(self.groups):
            for name in group:
                found[name] = found.get(name, "") + letter(i)
        return found

    @cached_property
    def rank_intervals(self) -> dict[str, tuple[int, int]]:
        """Method -> its best and its worst possible rank among the tested ones.

        A method cannot be first if another one is really better, so its ranks lie between 1 plus the number
        of really better methods and the number of all minus that of really worse ones. As all intervals of
        differences hold together with a probability of 95 %, so do all intervals of ranks (Klein, Wright,
        Wieczorek 2020).
        """
        names = dict.fromkeys(name for group in self.groups for name in group)
        real = [pair for pair, difference in self.differences.items() if difference.real]
        return {
            name: (
                1 + sum(worse == name for _, worse in real),
                len(names) - sum(better == name for better, _ in real),
            )
            for name in names
        }

    def tied(self, a: str, b: str) -> bool:
        """Whether the difference between two tested methods is not established."""
        return any(a in group and b in group for group in self.groups)


UNTESTED = Comparison({}, ())


def compare(accuracy: pd.DataFrame) -> Comparison:
    """Compare all pairs of rows of [methods, data sets] (seeds averaged). The order of rows does not matter.

    Raises ValueError for fewer than two methods, or for fewer than LEAST_SETS data sets.
    """
    if accuracy.shape[1] < LEAST_SETS:
        raise ValueError(f"a test needs {LEAST_SETS} data sets, not {accuracy.shape[1]}")
    average = accuracy.mean(axis=1).round(DECIMALS)
    order = sorted(accuracy.index, key=lambda name: (-average[name], name))
    # Columns are sorted by name, so that no bit of a sum depends on the order of the files.
    pairs = pairwise(accuracy.sort_index(axis=1).loc[order].to_numpy(float))
    columns = (
        pairs.mean,
        pairs.mean - pairs.half_width,
        pairs.mean + pairs.half_width,
        pairs.p,
        pairs.detectable,
    )
    rows = np.stack(columns, axis=1).tolist()
    differences = {pair: Difference(*row) for pair, row in zip(combinations(order, 2), rows, strict=True)}
    return Comparison(differences, tie_groups(order, [pair for pair, d in differences.items() if d.real]))


def tie_groups(order: Sequence[str], apart: Sequence[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    """The largest groups that hold no pair of `apart` (the insert-absorb algorithm, Piepho 2004).

    `order` lists the names from best to worst; the groups follow the same order.
    """
    place = {name: i for i, name in enumerate(order)}
    groups = [frozenset(order)]
    for a, b in apart:
        split = [part for g in groups for part in ((g - {a}, g - {b}) if {a, b} <= g else (g,))]
        groups = [g for g in dict.fromkeys(split) if not any(g < other for other in split)]
    listed = [tuple(sorted(group, key=place.__getitem__)) for group in groups]
    return tuple(sorted(listed, key=lambda group: [place[name] for name in group]))


def letter(i: int) -> str:
    """The letter of group i: 0 -> 'a', 25 -> 'z', 26 -> '(27)'."""
    return chr(ord("a") + i) if i < 26 else f"({i + 1})"
