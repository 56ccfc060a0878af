"""Query efficiency: accuracy at budgets, queries to targets, and what one method saves against another.

A target is an accuracy to reach on one data set, e.g. half of the way from zero-shot to the best known
accuracy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.cell import ELSEWHERE, REFERENCE
from bench.errors import UserError
from bench.report import stats
from bench.report.frame import Results

# How many standard errors a target must lie above zero-shot; they are about two standard errors of the
# difference between two accuracies.
CLEAR = 3
SHARES = (0.25, 0.5, 0.75, 0.9)  # of the way from zero-shot to the best known accuracy
RUN = ["row", "dataset", "seed"]


def at_budget(points: pd.DataFrame, budget: int) -> pd.DataFrame:
    """One row per run: its accuracy at the last checkpoint within `budget` queries (see frame.points)."""
    reached = points[points["at"] <= budget]
    last = reached.groupby(RUN)["at"].transform("max") == reached["at"]
    return reached[last].sort_values(RUN).reset_index(drop=True)


def goals(
    points: pd.DataFrame, absolute: Sequence[float] = (), images: Mapping[str, int] | None = None
) -> dict[tuple[str, str], float]:
    """The targets: (data set, target's name) -> accuracy to reach, in %.

    By default they lie 25, 50, 75 and 90 % of the way from zero-shot to the best accuracy (averaged over
    seeds) that any black-box method had at any checkpoint.

    absolute: accuracies in % to take as targets instead.
    images: data set -> number of test images. If it is given, targets less than CLEAR standard errors of a
    test accuracy above zero-shot are left out, because a method can reach them by chance.
    Raises UserError if zero-shot is needed and the records hold no hand template.
    """
    datasets = list(dict.fromkeys(points["dataset"]))
    start = zero_shot(points)
    if absolute:
        found = {(d, f"{value:g} %"): value for d in datasets for value in absolute}
    else:
        black = points[~points["reference"].astype(bool)]
        best = black.groupby(["row", "dataset", "at"])["accuracy"].mean().groupby("dataset").max()
        missing = [d for d in datasets if d not in start]
        if missing:
            raise UserError(
                f"targets start from zero-shot, and there is none for {', '.join(missing)}: add {REFERENCE} "
                "to --methods, or run it on these data sets first"
            )
        found = {
            (d, f"{share:.0%}"): start[d] + share * (best[d] - start[d])
            for d in datasets
            if best.get(d, 0.0) > start[d]
            for share in SHARES
        }
    noise = {d: CLEAR * standard_error(start[d], n) for d, n in (images or {}).items() if d in start}
    return {
        (d, name): goal for (d, name), goal in found.items() if d not in noise or goal >= start[d] + noise[d]
    }


def standard_error(accuracy: float, images: int) -> float:
    """The binomial standard error, in points, of an accuracy (%) measured on `images` test images."""
    return 100 * float(np.sqrt(accuracy / 100 * (1 - accuracy / 100) / images))


def images_behind(results: Results) -> dict[str, int]:
    """Data set (as frame.points names it) -> number of its test images, if the records state it.

    For base-to-new this is the sum over base and new. It stands for the noise of their harmonic mean if the
    two have about the same size.
    """
    cells = results.cells.dropna(subset=["n_test"])
    if cells.empty:
        return {}
    if cells["protocol"].iloc[0] in ELSEWHERE:
        cells = cells.assign(dataset=cells["test"])
    parts = cells.groupby(["dataset", "test"])["n_test"].min()
    return {str(d): int(n) for d, n in parts.groupby("dataset").sum().items() if n > 0}


def zero_shot(points: pd.DataFrame) -> dict[str, float]:
    """Data set -> accuracy of the hand template in %; empty if there are no records of it."""
    finals = at_budget(points[(points["method"] == REFERENCE) & (points["variant"] == "")], 10**12)
    return finals.groupby("dataset")["accuracy"].mean().to_dict()


def hits(points: pd.DataFrame, goals: Mapping[tuple[str, str], float]) -> pd.DataFrame:
    """One row per run and target: `queries` until the target was reached (inf: never), and `paid` queries.

    `queries` is read at a checkpoint. Checkpoints are spaced 1-2-5, so it may be too high by a factor of up
    to 2.5. All runs are cut at fair_budget, because some methods have no chance to reach a target after it.
    """
    limit = fair_budget(points)
    points = points[points["at"] <= limit]
    rows = []
    for (row, dataset, seed), run in points.sort_values("at").groupby(RUN, sort=False):
        at, accuracy = run["at"].to_numpy(), run["accuracy"].to_numpy()
        for (d, name), goal in goals.items():
            if d == dataset:
                reached = np.flatnonzero(accuracy >= goal - 1e-9)
                queries = float(at[reached[0]]) if len(reached) else np.inf
                rows.append((row, dataset, seed, name, queries, min(queries, float(at[-1]))))
    return pd.DataFrame(rows, columns=[*RUN, "target", "queries", "paid"])


def fair_budget(points: pd.DataFrame) -> int:
    """The largest number of queries that every row which asks queries has been run for."""
    ends = points.groupby("row")["at"].max()
    return int(ends[ends > 0].min()) if (ends > 0).any() else 0


def expected_queries(reached: pd.DataFrame) -> pd.DataFrame:
    """Expected running time as in COCO, for each (method, data set): [(method, data set), targets].

    It is the queries of all runs divided by the number of runs that reached the target; inf if none did. NaN:
    the data set does not have this target.
    """
    groups = reached.groupby(["row", "dataset", "target"], sort=False)
    successes = groups["queries"].apply(lambda q: np.isfinite(q).sum())
    paid = groups["paid"].sum()
    return (paid / successes.where(successes > 0)).fillna(np.inf).unstack("target")


def typical(expected: pd.DataFrame) -> pd.DataFrame:
    """The median of the expected queries over data sets [methods, targets]; inf if it is infinite on half."""
    return expected.groupby("row", sort=False).median()


def ecdf(reached: pd.DataFrame, row: str) -> tuple[np.ndarray, np.ndarray]:
    """The curve of solved targets of one row: (queries, share of (data set, target, seed) solved by then)."""
    queries = reached.loc[reached["row"] == row, "queries"].to_numpy()
    solved = np.sort(queries[np.isfinite(queries)])
    return solved, np.arange(1, len(solved) + 1) / max(len(queries), 1)


def average_curves(points: pd.DataFrame) -> pd.DataFrame:
    """Average accuracy [checkpoints, methods]: the mean over seeds, then over data sets."""
    by_set = points.groupby(["row", "dataset", "at"])["accuracy"].mean()
    return by_set.groupby(["at", "row"]).mean().unstack("row").sort_index().ffill()


def finals(points: pd.DataFrame, budget: int = 10**12) -> dict[str, float]:
    """Row -> its average accuracy after `budget` queries; without the hand template, which is drawn apart."""
    final = at_budget(points[points["row"] != REFERENCE], budget)
    by_set = final.groupby(["row", "dataset"])["accuracy"].mean()
    return {str(row): float(mean) for row, mean in by_set.groupby("row").mean().items()}


def area(queries: np.ndarray, accuracy: np.ndarray) -> float:
    """The mean accuracy over log(queries), from the first query to the last one, by the trapezoid rule."""
    asked = queries > 0
    x, y = np.log(queries[asked]), accuracy[asked]
    if len(x) < 2:
        return float(accuracy[-1])
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / (x[-1] - x[0]))


@dataclass(frozen=True)
class Saving:
    """Method A reaches method B's final accuracy with `share` of B's queries; inf: not within A's budget.

    low, high: 95 % interval of the share; None if nothing was tested.
    """

    share: float
    low: float | None
    high: float | None


def saving(points: pd.DataFrame, a: str, b: str, pairs: int = 0) -> Saving:
    """The share of B's queries that A needs to reach B's final average accuracy.

    It is read from the curves averaged over seeds and data sets, linear in log(queries) between checkpoints.
    The interval holds every number of queries at which the test of the reports, corrected for `pairs` pairs
    (stats.critical), does not tell A's accuracy from B's final one. So its upper end is below 1 exactly if
    A's lead at the end is real. With 0 pairs there is no interval. Raises UserError if A and B share no data
    set and seed.
    """
    grid, curves = _shared(points, a, b)
    ahead = curves[:, 0] - curves[:, 1, -1:]  # [data sets, checkpoints]: A at a checkpoint minus B at its end
    mean, share = ahead.mean(axis=0), queries_to(grid, ahead.mean(axis=0), 0.0) / grid[-1]
    if not pairs:
        return Saving(share, None, None)
    half = stats.critical(len(ahead), pairs) * ahead.std(axis=0, ddof=1) / np.sqrt(len(ahead))
    low, high = (queries_to(grid, mean + side * half, 0.0) / grid[-1] for side in (1, -1))
    return Saving(share, low, high)


def _shared(points: pd.DataFrame, a: str, b: str) -> tuple[np.ndarray, np.ndarray]:
    """The checkpoints, and both curves [data sets, 2, checkpoints], averaged over the seeds of both."""
    both = points[points["row"].isin([a, b]) & (points["at"] <= fair_budget(points))]
    wide = both.pivot_table(index=RUN, columns="at", values="accuracy").ffill(axis=1)
    have = {row: set(wide.loc[row].index) if row in wide.index else set() for row in (a, b)}
    pairs = sorted(have[a] & have[b])
    if not pairs:
        raise UserError(
            f"{a} and {b} share no data set and seed, so their queries cannot be compared: run both on the "
            "same ones"
        )
    curves: dict[str, list[np.ndarray]] = {}
    for dataset, seed in pairs:
        curves.setdefault(dataset, []).append(wide.loc[[(a, dataset, seed), (b, dataset, seed)]].to_numpy())
    return wide.columns.to_numpy(float), np.stack([np.mean(runs, axis=0) for runs in curves.values()])


def queries_to(grid: np.ndarray, accuracy: np.ndarray, goal: float) -> float:
    """The queries at which a curve first reaches `goal`, linear in log(queries) in between; inf: never."""
    above = np.flatnonzero(accuracy >= goal - 1e-9)
    if not len(above):
        return np.inf
    i = above[0]
    if i == 0 or grid[i - 1] <= 0:
        return float(grid[i])
    part = (goal - accuracy[i - 1]) / (accuracy[i] - accuracy[i - 1])
    return float(np.exp(np.log(grid[i - 1]) + part * (np.log(grid[i]) - np.log(grid[i - 1]))))
