"""How far the queries go: accuracy at budgets, queries to targets, what one method saves over another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.cell import REFERENCE
from bench.errors import UserError
from bench.report import stats

SHARES = (0.25, 0.5, 0.75, 0.9)  # of the way from zero-shot to the best known
RUN = ["row", "dataset", "seed"]


def at_budget(points: pd.DataFrame, budget: int) -> pd.DataFrame:
    """One row a run: its accuracy at the last checkpoint not beyond `budget` (see frame.points)."""
    reached = points[points["at"] <= budget].reset_index(drop=True)
    return reached.loc[reached.groupby(RUN)["at"].idxmax()].reset_index(drop=True)


def matrix(finals: pd.DataFrame) -> pd.DataFrame:
    """[methods, data sets], seeds averaged."""
    return finals.pivot_table(index="row", columns="dataset", values="accuracy", aggfunc="mean", sort=False)


def paired_runs(finals: pd.DataFrame) -> dict[str, list[np.ndarray]]:
    """Per method one array of accuracies a data set, the same seeds at the same place for all methods.

    Only data sets that every method has count, and in each the seeds they share; a method that has one seed
    only (the hand template is the same for all) stands beside each of the others' seeds.
    """
    rows = list(dict.fromkeys(finals["row"]))
    values = finals.set_index(RUN)["accuracy"].to_dict()
    seeds: dict[tuple[str, str], set[int]] = {}
    for row, dataset, seed in values:
        seeds.setdefault((row, dataset), set()).add(seed)
    runs: dict[str, list[np.ndarray]] = {row: [] for row in rows}
    for dataset in dict.fromkeys(finals["dataset"]):
        have = [seeds.get((row, dataset), set()) for row in rows]
        several = [s for s in have if len(s) > 1] or have
        shared = sorted(set.intersection(*several))
        if not all(have) or not shared:
            continue
        for row, own in zip(rows, have, strict=True):
            only = next(iter(own))
            runs[row].append(np.array([values[row, dataset, s if s in own else only] for s in shared]))
    return runs


def targets(points: pd.DataFrame, absolute: Sequence[float] = ()) -> dict[tuple[str, str], float]:
    """(data set, target's name) -> accuracy to reach.

    Zero-shot + 25, 50, 75 and 90 % of the way to the best seed-averaged accuracy any black-box method showed
    at any checkpoint; or `absolute` accuracies. A data set on which nothing beat zero-shot has no targets.
    Raises UserError when zero-shot is needed and there are no records of the hand template.
    """
    datasets = list(dict.fromkeys(points["dataset"]))
    if absolute:
        return {(d, f"{value:g} %"): value for d in datasets for value in absolute}
    black = points[~points["white_box"].astype(bool)]
    best = black.groupby(["row", "dataset", "at"])["accuracy"].mean().groupby("dataset").max()
    start = zero_shot(points)
    missing = [d for d in datasets if d not in start]
    if missing:
        raise UserError(
            f"targets start from zero-shot, and there is none for {', '.join(missing)}: add {REFERENCE} to "
            "--methods, or run it there first"
        )
    return {
        (d, f"{share:.0%}"): start[d] + share * (best[d] - start[d])
        for d in datasets
        if best.get(d, 0.0) > start[d]
        for share in SHARES
    }


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


def ert(reached: pd.DataFrame) -> pd.DataFrame:
    """Expected running time [methods, targets]: queries of all runs / successes (COCO); inf: none."""
    groups = reached.groupby(["row", "target"], sort=False)
    successes = groups["queries"].apply(lambda q: np.isfinite(q).sum())
    paid = groups["paid"].sum()
    return (paid / successes.where(successes > 0)).fillna(np.inf).unstack("target")


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
    """A reaches B's final accuracy with `share` of B's queries; inf: not within A's own budget."""

    share: float
    low: float
    high: float


def saving(points: pd.DataFrame, a: str, b: str, draws: int = 2000, seed: int = 0) -> Saving:
    """Share of B's queries A needs for B's final average accuracy, with a 95 % bootstrap interval.

    On the curves averaged over seeds and data sets, straight between checkpoints in log(queries); the
    interval resamples data sets and, within each, the seeds of both methods together.
    """
    grid, curves = _shared(points, a, b)
    whole = np.mean([runs.mean(axis=0) for runs in curves], axis=0)  # [2, checkpoints]
    resampled = stats.bootstrap_means(curves, draws, seed)  # [draws, 2, checkpoints]
    shares = [_share(grid, *pair) for pair in resampled]
    # order statistics, not interpolation: a share can be infinite
    low, high = np.quantile(shares, [0.025, 0.975], method="inverted_cdf")
    return Saving(_share(grid, *whole), float(low), float(high))


def _shared(points: pd.DataFrame, a: str, b: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """The checkpoints, and per data set [seeds, 2, checkpoints]: both curves of every seed that both have."""
    both = points[points["row"].isin([a, b]) & (points["at"] <= fair_budget(points))]
    wide = both.pivot_table(index=RUN, columns="at", values="accuracy").ffill(axis=1)
    have = {row: set(wide.loc[row].index) if row in wide.index else set() for row in (a, b)}
    pairs = sorted(have[a] & have[b])
    if not pairs:
        raise UserError(f"{a} and {b} share no data set and seed, so their queries cannot be compared")
    curves: dict[str, list[np.ndarray]] = {}
    for dataset, seed in pairs:
        curves.setdefault(dataset, []).append(wide.loc[[(a, dataset, seed), (b, dataset, seed)]].to_numpy())
    return wide.columns.to_numpy(float), [np.stack(runs) for runs in curves.values()]


def _share(grid: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    return queries_to(grid, a, b[-1]) / grid[-1]


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
