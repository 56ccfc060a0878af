"""The numbers of one row: per column, and their average. Tables, sentences, ranks and the page share them."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.cell import REFERENCE


@dataclass(frozen=True)
class Scores:
    """The numbers of one row: per column, and their average, each also per seed.

    The average is over seeds first and then over columns. Its ± is the spread of `average_by_seed`.
    """

    values: pd.Series  # [columns]
    by_seed: pd.DataFrame  # [seeds, columns]
    average: float
    average_by_seed: pd.Series  # [seeds that have every column]


def scores(runs: pd.DataFrame, column: str, averaged: Collection[str] | None = None) -> dict[str, Scores]:
    """The scores of every row of `runs`, a frame with the columns row, seed, `column` and accuracy.

    averaged: the values of `column` that the average covers; None: all of them.
    """
    wide = runs.pivot_table(index=["row", "seed"], columns=column, values="accuracy")
    parts = {str(row): part.droplevel("row") for row, part in wide.groupby(level="row")}
    return {row: scores_of(part.dropna(axis=1, how="all"), averaged) for row, part in parts.items()}


def scores_of(by_seed: pd.DataFrame, averaged: Collection[str] | None = None) -> Scores:
    """The scores of one row. by_seed: its accuracies [seeds, columns]. averaged: as in `scores`."""
    accuracy = by_seed.to_numpy(float)
    values = pd.Series(np.nanmean(accuracy, axis=0), index=by_seed.columns)
    part = np.ones(len(values), bool) if averaged is None else by_seed.columns.isin(averaged)
    whole = ~np.isnan(accuracy[:, part]).any(axis=1)
    average_by_seed = pd.Series(accuracy[whole][:, part].mean(axis=1), index=by_seed.index[whole])
    return Scores(values, by_seed, float(values[part].mean()), average_by_seed)


def seedless(cells: pd.DataFrame) -> frozenset[str]:
    """The rows that are the same for every seed: they tune nothing, ask no query, and draw nothing.

    The hand template is such a row. Of another one, at least two seeds have to show it, because a method can
    draw its prompt by chance without a query.
    """
    rows = cells.groupby("row")
    idle = rows[["n_params", "queries"]].max().sum(axis=1) == 0
    known = (rows["seed"].nunique() > 1) | (rows["method"].first() == REFERENCE)
    differ = cells.groupby(["row", "dataset", "test"])["accuracy"].nunique().groupby("row").max() > 1
    same = idle & known & ~differ
    return frozenset(same.index[same])
