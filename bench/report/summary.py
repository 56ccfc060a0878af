"""What the numbers say: ranks, ties, who leads and whether that is real, what the queries bought."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bench.cell import REFERENCE
from bench.errors import UserError
from bench.report import efficiency, stats
from bench.report.frame import Results, points, refuse_holes
from bench.report.style import rank_of
from bench.report.table import Block, Column, Entry, Row, Table, marked

MARKS = (100, 500, 1000, 5000)


@dataclass(frozen=True)
class Standing:
    """The black-box methods of one table at one number of queries.

    order: rows, best average first; matrix: [rows, data sets]; white: the same of white-box references.
    """

    budget: int
    order: tuple[str, ...]
    labels: dict[str, str]
    matrix: pd.DataFrame
    white: pd.DataFrame
    average: dict[str, float]
    half_width: dict[str, float | None]  # of the 95 % t interval over seeds
    ranks: dict[str, float]
    comparison: stats.Comparison
    seeds: int

    @property
    def tied_with_best(self) -> list[str]:
        """Rows whose difference to the best is not established."""
        return [row for row in self.order[1:] if self.comparison.tied(self.order[0], row)]


def standing(frame: pd.DataFrame, budget: int, draws: int = 10_000) -> Standing:
    """Who stands where after `budget` queries, from points (see frame.points).

    Only rows that have every data set are ranked. Raises UserError when no black-box row is left.
    """
    finals = efficiency.at_budget(frame, budget)
    everything = efficiency.matrix(finals).dropna()
    first = finals.drop_duplicates("row").set_index("row")
    white = [row for row in everything.index if first.loc[row, "white_box"]]
    matrix = everything.drop(index=white)
    if matrix.empty:
        raise UserError("no black-box method has a record for every data set: run the missing ones")
    average = everything.mean(axis=1).to_dict()
    by_seed = finals.groupby(["row", "seed"])["accuracy"].agg(["mean", "count"])
    by_seed = by_seed[by_seed["count"] == everything.shape[1]]["mean"]
    # a row that is the same for every seed (the hand template) has no interval, rather than one of width 0
    seedless = {row for row in first.index if first.loc[row, "n_params"] == 0}
    half = {
        row: stats.t_half_width(by_seed.loc[row]) if row in by_seed.index and row not in seedless else None
        for row in everything.index
    }
    runs = efficiency.paired_runs(finals[finals["row"].isin(matrix.index)])
    comparison = stats.compare(runs, draws=draws) if all(runs.values()) else _untested(matrix)
    order = sorted(matrix.index, key=lambda row: (-average[row], row))
    labels = first["label"].to_dict()
    ranks = stats.average_ranks(matrix).to_dict()
    seeds = int(finals.groupby("row")["seed"].nunique().max())
    return Standing(
        budget,
        tuple(order),
        labels,
        matrix.loc[order],
        everything.loc[white],
        average,
        half,
        ranks,
        comparison,
        seeds,
    )


def _untested(matrix: pd.DataFrame) -> stats.Comparison:
    """No seeds in common: nothing can be told apart."""
    return stats.Comparison({}, {}, {row: "a" for row in matrix.index})


def verdict(s: Standing, where: str) -> str:
    """Who is best after so many queries, and whether the difference is real, in plain words."""
    best, sets = s.order[0], s.matrix.shape[1]
    over = f"{sets} data set{'s' * (sets > 1)} and {s.seeds} seed{'s' * (s.seeds > 1)}"
    said = f"At {s.budget:,} queries on {where}, {s.labels[best]} is best: "
    said += f"{s.average[best]:.1f} % on average over {over}."
    if len(s.order) == 1:
        return said + " It is the only method there, so there is nothing to compare it with."
    if not s.comparison.differences:
        return said + " The methods share no seeds, so the differences cannot be tested."
    second, tied = s.order[1], s.tied_with_best
    gap = s.comparison.differences[best, second]
    p, pairs = s.comparison.p[best, second], len(s.comparison.p)
    corrected = f" corrected for {pairs} comparisons" if pairs > 1 else ""
    said += (
        f" It leads {s.labels[second]} by {gap.mean:.1f} points (95 % interval {gap.low:.1f} to "
        f"{gap.high:.1f}; p {_p(p)}{corrected})."
    )
    if sets < 5 or s.seeds < 2:
        said += " With so few data sets or seeds the interval is rough and rather too narrow."
    if not tied:
        return said + " The difference is real: it is larger than chance over data sets and seeds explains."
    names = _and([s.labels[row] for row in tied])
    return said + f" The difference is not established: {names} may be as good."


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" and {names[-1]}"


TEST = (
    "Tested by a paired bootstrap over data sets and, within each, seeds (10,000 draws); p corrected for all "
    "pairs (Holm). Methods that share a letter are not told apart at 5 %."
)
INTERVALS = "±: 95 % t interval over seeds; in brackets: the bootstrap's 95 % interval."


def ranks_table(results: Results, budget: int | None = None, partial: bool = False) -> Table:
    """Average accuracy and its interval, average rank, tie letters, and the difference to the best."""
    results, holes_said = _complete(results, partial)
    frame = points(results)
    s = standing(frame, budget or int(results.cells["budget"].iloc[0]))
    best = s.order[0]
    rows = []
    for row in s.order:
        gap = s.comparison.differences.get((best, row))
        interval = f" [{gap.low:.1f}, {gap.high:.1f}]" if gap else ""
        entries = (
            Entry(s.average[row], s.half_width[row]),
            Entry(s.ranks[row], digits=2),
            Entry(gap.mean if gap else 0.0, note=interval),
        )
        rows.append(Row((s.labels[row], s.comparison.letters[row]), entries))
    columns = (
        Column("Average ± 95 % interval"),
        Column("Average rank", "low"),
        Column("Behind the best", ""),
    )
    suite, protocol = results.cells[["suite", "protocol"]].iloc[0]
    title = f"Ranks after {s.budget:,} queries, {protocol}, {suite} suite"
    return marked(
        Table(
            title,
            ("Method", "Ties"),
            columns,
            (Block("", tuple(rows)),),
            (verdict(s, f"the {suite} suite"), TEST, INTERVALS, _conditions(results), *holes_said),
        )
    )


def efficiency_table(
    results: Results, marks: Sequence[int] = MARKS, absolute: Sequence[float] = (), partial: bool = False
) -> Table:
    """Accuracy at budgets, area under the log-query curve, targets solved, expected queries to targets."""
    results, holes_said = _complete(results, partial)
    frame = points(results)
    limit = efficiency.fair_budget(frame)
    goals = efficiency.targets(frame, absolute)
    reached = efficiency.hits(frame, goals)
    ert = efficiency.ert(reached)
    curve = efficiency.average_curves(frame)
    names = list(dict.fromkeys(name for _, name in goals))
    marks = [m for m in marks if m <= limit] or [limit]
    looks = frame.drop_duplicates("row").set_index("row")
    order = sorted(
        looks.index,
        key=lambda r: (looks.loc[r, "white_box"], rank_of(looks.loc[r, "method"], looks.loc[r, "variant"])),
    )
    rows = []
    for row in order:
        line = curve[row].ffill()
        solved = np.isfinite(reached.loc[reached["row"] == row, "queries"]).mean() if len(reached) else np.nan
        entries = [Entry(float(line[line.index <= m].iloc[-1])) for m in marks]
        entries.append(Entry(efficiency.area(*_cut(line, limit))))
        entries.append(Entry(100 * solved) if names else Entry())
        entries += [Entry(float(ert.loc[row, name]), digits=0) for name in names]
        group = "white box" if looks.loc[row, "white_box"] else "measured"
        rows.append(Row((str(looks.loc[row, "label"]),), tuple(entries), group))  # type: ignore[arg-type]
    columns = (
        *(Column(f"at {m:,}") for m in marks),
        Column("area"),
        Column("% solved"),
        *(Column(f"queries to {name}", "low") for name in names),
    )
    suite, protocol = results.cells[["suite", "protocol"]].iloc[0]
    return marked(
        Table(
            f"Query efficiency, {protocol}, {suite} suite",
            ("Method",),
            columns,
            (Block("", tuple(rows)),),
            (
                *_targets_said(frame, goals, absolute, limit),
                *savings(frame),
                _conditions(results),
                *holes_said,
            ),
        )
    )


def savings(frame: pd.DataFrame) -> list[str]:
    """With what share of the others' queries the best black-box method reaches their final accuracy."""
    frame = frame[~frame["white_box"].astype(bool)]
    ends = efficiency.average_curves(frame).iloc[-1].sort_values(ascending=False)
    labels = frame.drop_duplicates("row").set_index("row")["label"]
    tuned = [row for row in ends.index if row != REFERENCE]
    said = []
    for other in tuned[1:]:
        s = efficiency.saving(frame, tuned[0], other)
        said.append(
            f"{labels[tuned[0]]} reaches {labels[other]}'s final accuracy with {_percent(s.share)} of the "
            f"queries (95 % interval {_percent(s.low)} to {_percent(s.high)})."
        )
    return said


def _percent(share: float) -> str:
    return "more than 100 %" if share == float("inf") else f"{100 * share:.0f} %"


def _cut(line: pd.Series, limit: int) -> tuple[np.ndarray, np.ndarray]:
    line = line[line.index <= limit]
    return line.index.to_numpy(float), line.to_numpy(float)


def _targets_said(frame: pd.DataFrame, goals: object, absolute: Sequence[float], limit: int) -> list[str]:
    reached = {d for d, _ in goals}  # type: ignore[attr-defined]
    without = [d for d in dict.fromkeys(frame["dataset"]) if d not in reached]
    way = "Targets: zero-shot + 25, 50, 75 and 90 % of the way to the best known black-box accuracy."
    kind = "Absolute targets." if absolute else way
    said = [
        f"{kind} Queries to a target: expected running time, queries of all runs / successes (∞: none), over "
        f"all data sets; checkpoints are spaced 1-2-5, so it may be that much too high. Runs are compared up "
        f"to {limit:,} queries. Area: mean accuracy over log(queries)."
    ]
    if without:
        said.append(f"No method beat zero-shot on {', '.join(without)}: no targets there.")
    return said


def _complete(results: Results, partial: bool) -> tuple[Results, list[str]]:
    """The rows that have every data set, and what there is to say of the rest.

    An average over fewer data sets than the next row's says nothing. Raises UserError for holes unless
    `partial`, or when no row is left.
    """
    missing = refuse_holes(results, partial=partial)
    if not missing:
        return results, []
    listed = "; ".join(missing[:20])
    have = results.cells.groupby("row")["dataset"].nunique()
    short = list(have.index[have < results.cells["dataset"].nunique()])
    cells, trace, failed = (f[~f["row"].isin(short)] for f in (results.cells, results.trace, results.failed))
    if cells.empty:
        raise UserError(f"no method has a record for every data set; {len(missing)} are missing: {listed}")
    said = [f"Partial, {len(missing)} cells missing: {listed}."]
    if short:
        said.append(f"Left out, without a record for every data set: {', '.join(short)}.")
    return replace(results, cells=cells, trace=trace, failed=failed), said


def _conditions(results: Results) -> str:
    """What a table's numbers were made under, in a sentence."""
    first = results.cells.iloc[0]
    seeds = sorted(int(seed) for seed in results.cells["seed"].unique())
    harmonic = first["protocol"] == "base-to-new"
    return ("Accuracy: the harmonic mean of base and new, averaged over data sets. " if harmonic else "") + (
        f"{first['shots']} shots, backbone {first['backbone']}, batches of at most {first['batch_size']} "
        f"images, seeds {', '.join(map(str, seeds))}."
    )
