"""How far the queries go: accuracy at budgets, queries to targets, what one method saves over another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.cell import ELSEWHERE, REFERENCE
from bench.errors import UserError
from bench.report import stats
from bench.report.frame import Results

CLEAR = 3  # standard errors above zero-shot: about two of the difference of two accuracies
SHARES = (0.25, 0.5, 0.75, 0.9)  # of the way from zero-shot to the best known
RUN = ["row", "dataset", "seed"]


def at_budget(points: pd.DataFrame, budget: int) -> pd.DataFrame:
    """One row a run: its accuracy at the last checkpoint not beyond `budget` (see frame.points)."""
    reached = points[points["at"] <= budget].reset_index(drop=True)
    return reached.loc[reached.groupby(RUN)["at"].idxmax()].reset_index(drop=True)


def goals(
    points: pd.DataFrame, absolute: Sequence[float] = (), images: Mapping[str, int] | None = None
) -> dict[tuple[str, str], float]:
    """(data set, target's name) -> accuracy to reach.

    Zero-shot + 25, 50, 75 and 90 % of the way to the best seed-averaged accuracy any black-box method showed
    at any checkpoint; or `absolute` accuracies. `images`: data set -> test images; where it is given, targets
    less than CLEAR standard errors of a test accuracy above zero-shot are left out: chance alone reaches
    them.
    Raises UserError when zero-shot is needed and there are no records of the hand template.
    """
    datasets = list(dict.fromkeys(points["dataset"]))
    start = zero_shot(points)
    if absolute:
        found = {(d, f"{value:g} %"): value for d in datasets for value in absolute}
    else:
        black = points[~points["white_box"].astype(bool)]
        best = black.groupby(["row", "dataset", "at"])["accuracy"].mean().groupby("dataset").max()
        missing = [d for d in datasets if d not in start]
        if missing:
            raise UserError(
                f"targets start from zero-shot, and there is none for {', '.join(missing)}: add {REFERENCE} "
                "to --methods, or run it there first"
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
    """Of an accuracy (%) measured on so many test images, in points: binomial."""
    return 100 * float(np.sqrt(accuracy / 100 * (1 - accuracy / 100) / images))


def images_behind(results: Results) -> dict[str, int]:
    """Data set, as frame.points names it -> test images behind its accuracy, where the records say so.

    base-to-new: those of base and new together, which is what counts in their harmonic mean where the two are
    of a size.
    """
    cells = results.cells.dropna(subset=["n_test"])
    if cells.empty:
        return {}
    if cells["protocol"].iloc[0] in ELSEWHERE:
        cells = cells.assign(dataset=cells["test"])
    parts = cells.groupby(["dataset", "test"])["n_test"].min()
    return {str(d): int(n) for d, n in parts.groupby("dataset").sum().items() if n > 0}


def zero_shot(points: pd.DataFrame) -> dict[str, float]:
    """Data set -> accuracy of the hand template; empty without its records."""
    finals = at_budget(points[(points["method"] == REFERENCE) & (points["variant"] == "")], 10**12)
    return finals.groupby("dataset")["accuracy"].mean().to_dict()


def hits(points: pd.DataFrame, goals: Mapping[tuple[str, str], float]) -> pd.DataFrame:
    """One row a run and target: `queries` at the checkpoint that reached it (inf: never), `paid` in all.

    Checkpoints are spaced 1-2-5, so `queries` is an upper bound by at most that factor. All runs are cut at
    the smallest budget of the methods that ask at all: beyond it not everyone could still succeed.
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
    """The largest number of queries that every tuned row has been run for."""
    ends = points.groupby("row")["at"].max()
    return int(ends[ends > 0].min()) if (ends > 0).any() else 0


def expected_queries(reached: pd.DataFrame) -> pd.DataFrame:
    """Expected running time [(method, data set), targets], as COCO has it, of each problem by itself.

    Queries of all runs / runs that reached the target; inf: none did. NaN: the data set has no such target.
    """
    groups = reached.groupby(["row", "dataset", "target"], sort=False)
    successes = groups["queries"].apply(lambda q: np.isfinite(q).sum())
    paid = groups["paid"].sum()
    return (paid / successes.where(successes > 0)).fillna(np.inf).unstack("target")


def typical(expected: pd.DataFrame) -> pd.DataFrame:
    """[methods, targets]: the median over data sets; inf where half of them or more are never solved."""
    return expected.groupby("row", sort=False).median()


def ecdf(reached: pd.DataFrame, row: str) -> tuple[np.ndarray, np.ndarray]:
    """(queries, share of the (data set, target, seed) triples solved by then), one step a distinct number."""
    queries = reached.loc[reached["row"] == row, "queries"].to_numpy()
    solved = np.sort(queries[np.isfinite(queries)])
    return solved, np.arange(1, len(solved) + 1) / max(len(queries), 1)


def average_curves(points: pd.DataFrame) -> pd.DataFrame:
    """[checkpoints, methods]: mean over seeds, then over data sets."""
    by_set = points.groupby(["row", "dataset", "at"])["accuracy"].mean()
    return by_set.groupby(["at", "row"]).mean().unstack("row").sort_index().ffill()


def area(queries: np.ndarray, accuracy: np.ndarray) -> float:
    """Mean height of the curve over log(queries), from the first query to the last, by trapezoids."""
    asked = queries > 0
    x, y = np.log(queries[asked]), accuracy[asked]
    if len(x) < 2:
        return float(accuracy[-1])
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / (x[-1] - x[0]))


@dataclass(frozen=True)
class Saving:
    """A reaches B's final accuracy with `share` of B's queries; inf: not within A's own budget.

    low, high: 95 % interval; None where nothing was tested.
    """

    share: float
    low: float | None
    high: float | None


def saving(points: pd.DataFrame, a: str, b: str, pairs: int = 0) -> Saving:
    """Share of B's queries A needs for B's final average accuracy.

    On the curves averaged over seeds and data sets, straight between checkpoints in log(queries). The
    interval holds every number of queries at which the reports' test over so many `pairs` (stats.critical)
    does not tell A from B's end; so it ends below 1 exactly where A's lead at the end is real. With 0 pairs
    there is no interval.
    """
    grid, curves = _shared(points, a, b)
    ahead = curves[:, 0] - curves[:, 1, -1:]  # [data sets, checkpoints] A now, less B at its end
    mean, share = ahead.mean(axis=0), queries_to(grid, ahead.mean(axis=0), 0.0) / grid[-1]
    if not pairs:
        return Saving(share, None, None)
    half = stats.critical(len(ahead), pairs) * ahead.std(axis=0, ddof=1) / np.sqrt(len(ahead))
    low, high = (queries_to(grid, mean + side * half, 0.0) / grid[-1] for side in (1, -1))
    return Saving(share, low, high)


def _shared(points: pd.DataFrame, a: str, b: str) -> tuple[np.ndarray, np.ndarray]:
    """The checkpoints, and [data sets, 2, checkpoints] of both curves over the seeds that both have."""
    both = points[points["row"].isin([a, b]) & (points["at"] <= fair_budget(points))]
    wide = both.pivot_table(index=RUN, columns="at", values="accuracy").ffill(axis=1)
    have = {row: set(wide.loc[row].index) if row in wide.index else set() for row in (a, b)}
    pairs = sorted(have[a] & have[b])
    if not pairs:
        raise UserError(f"{a} and {b} share no data set and seed, so their queries cannot be compared")
    curves: dict[str, list[np.ndarray]] = {}
    for dataset, seed in pairs:
        curves.setdefault(dataset, []).append(wide.loc[[(a, dataset, seed), (b, dataset, seed)]].to_numpy())
    return wide.columns.to_numpy(float), np.stack([np.mean(runs, axis=0) for runs in curves.values()])


def queries_to(grid: np.ndarray, accuracy: np.ndarray, goal: float) -> float:
    """Where the curve first reaches `goal`, straight between checkpoints in log(queries); inf: never."""
    above = np.flatnonzero(accuracy >= goal - 1e-9)
    if not len(above):
        return np.inf
    i = above[0]
    if i == 0 or grid[i - 1] <= 0:
        return float(grid[i])
    part = (goal - accuracy[i - 1]) / (accuracy[i] - accuracy[i - 1])
    return float(np.exp(np.log(grid[i - 1]) + part * (np.log(grid[i]) - np.log(grid[i - 1]))))
