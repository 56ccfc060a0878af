"""Ranks, ties, query efficiency, and sentences: which method is best, and whether the difference is real."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from bench.errors import UserError
from bench.report import efficiency, schedule, stats
from bench.report.access import COLUMNS, HEADS, SAID, access_of, group_of, place_of, wire_said
from bench.report.few import few_images_said
from bench.report.frame import Results, points, refuse_missing
from bench.report.order import place_said
from bench.report.scores import scores, seedless
from bench.report.table import Block, Column, Entry, Row, Table, marked
from bench.words import absent, counted

MARKS = (100, 500, 1000, 5000)
HARMONIC = "the mean, over seeds and data sets, of the harmonic mean of base and new."


@dataclass(frozen=True)
class Standing:
    """The methods of one table after one number of queries. Sentences, ranks, pictures and the page show it.

    order: the ranked rows, best average first. matrix: their accuracies [rows, data sets], averaged over
    seeds. references: the same for the rows that are not ranked. seeds: row -> its smallest number of seeds
    on any data set; rows that are the same for every seed are not in it.
    """

    budget: int  # the number of queries
    run_budget: int  # the budget of the runs from which the numbers were read
    order: tuple[str, ...]
    labels: dict[str, str]
    matrix: pd.DataFrame
    references: pd.DataFrame
    average: dict[str, float]
    spread: dict[str, float | None]  # standard deviation over seeds (n - 1) of the average
    half_width: dict[str, float | None]  # of the 95 % t interval of the average, over seeds
    ranks: dict[str, float]
    seeds: dict[str, int]
    # rows whose schedule depends on the budget, if budget < run_budget; see schedule.py
    bound: frozenset[str]
    comparison: stats.Comparison

    @property
    def tested(self) -> list[str]:
        """The rows that were tested."""
        return [row for row in self.order if row in self.comparison.letters]

    @property
    def tied_with_best(self) -> list[str]:
        """The rows whose difference to the best row was tested and is not established."""
        best = self.order[0]
        return [row for row in self.tested if row != best and self.comparison.tied(best, row)]

    @property
    def footnotes(self) -> list[str]:
        """The explanation of the sign that `label` adds to some names."""
        return [schedule.said(self.run_budget)] if self.bound else []

    def label(self, row: str) -> str:
        """The row's name, with a sign if its schedule depends on the budget and the runs are longer."""
        return self.labels[row] + (schedule.SIGN if row in self.bound else "")


def standing(results: Results, budget: int | None = None, frame: pd.DataFrame | None = None) -> Standing:
    """The standing after `budget` queries (None: at the end of the runs), from the records of one table.

    Only rows that have every data set are ranked, and only rows with enough seeds on enough data sets are
    tested. frame: the points of `results`, if the caller has them. Raises UserError if no ranked row is left.
    """
    run_budget = int(results.cells["budget"].max())
    budget = budget or run_budget
    finals = efficiency.at_budget(points(results) if frame is None else frame, budget)
    sets = finals["dataset"].nunique()
    found = {row: one for row, one in scores(finals, "dataset").items() if len(one.values) == sets}
    first = finals.drop_duplicates("row").set_index("row")
    everything = pd.DataFrame({row: one.values for row, one in found.items()}).T.round(stats.DECIMALS)
    average = {row: round(one.average, stats.DECIMALS) for row, one in found.items()}
    references = [row for row in found if first.loc[row, "reference"]]
    order = sorted(set(found) - set(references), key=lambda row: (-average[row], row))
    if not order:
        raise UserError("no black-box method has a record for every data set: run the missing ones")
    # A row that is the same for every seed (the hand template) has no spread; a spread of 0 would mislead.
    same = seedless(results.cells)
    spread = {row: None if row in same else stats.sd(one.average_by_seed) for row, one in found.items()}
    half = {
        row: None if row in same else stats.t_half_width(one.average_by_seed) for row, one in found.items()
    }
    seeds = {row: int(found[row].by_seed.count().min()) for row in found if row not in same}
    matrix = everything.loc[order]
    return Standing(
        budget,
        run_budget,
        tuple(order),
        first["label"].to_dict(),
        matrix,
        everything.loc[references],
        average,
        spread,
        half,
        stats.average_ranks(matrix).to_dict(),
        seeds,
        schedule.bound(results.cells) if budget < run_budget else frozenset(),
        compared(matrix, seeds),
    )


def compared(matrix: pd.DataFrame, seeds: dict[str, int]) -> stats.Comparison:
    """The comparison of the rows with enough seeds; UNTESTED if there are too few rows or data sets."""
    enough = [row for row in matrix.index if seeds.get(row, stats.LEAST_SEEDS) >= stats.LEAST_SEEDS]
    if matrix.shape[1] < stats.LEAST_SETS or len(enough) < 2:
        return stats.UNTESTED
    return stats.compare(matrix.loc[enough])


def verdict(s: Standing, where: str) -> str:
    """Sentences that say which method is best after s.budget queries, and whether the difference is real.

    where: the place in the sentence, e.g. 'the mini suite'.
    """
    return f"At {counted(s.budget, 'query')} on {where}, {best_said(s)} {reasons(s)}"


def best_said(s: Standing) -> str:
    """Which method has the highest average; it ends a sentence that begins with the place."""
    best, sets = s.order[0], s.matrix.shape[1]
    over = f"{counted(sets, 'data set')} and {counted(max(s.seeds.values(), default=1), 'seed')}"
    return f"{s.labels[best]} has the highest average: {s.average[best]:.1f} % over {over}."


Certainty = Literal["established", "not established", "not tested", "nothing to compare"]


def certainty(s: Standing) -> Certainty:
    """Whether it is established that the method with the highest average is the best one."""
    if len(s.order) == 1:
        return "nothing to compare"
    if s.order[0] not in s.tested:
        return "not tested"
    return "not established" if s.tied_with_best else "established"


def reasons(s: Standing) -> str:
    """Sentences that say how far the best method is ahead, and whether this difference is real."""
    if len(s.order) == 1:
        return "It is the only method, so there is nothing to compare it with."
    best, second = s.order[:2]
    said = " ".join([_lead(s), *_conclusion(s), *_missing(s)])
    bound = [row for row in (best, second) if row in s.bound]
    if bound:
        said += (
            f" The schedule of {_and([s.labels[row] for row in bound])} depends on the budget, and these "
            "numbers "
            f"are read from runs of {counted(s.run_budget, 'query')}."
        )
    return said


def _lead(s: Standing) -> str:
    """How far the best method is ahead of the second one, with the interval and p if they were tested."""
    best, second = s.order[:2]
    ahead = s.average[best] - s.average[second]
    if ahead == 0:
        return f"{s.labels[second]} has the same average."
    said = f"It leads {s.labels[second]} by " + (
        f"{ahead:.1f} points" if ahead >= 0.05 else "less than 0.1 points"
    )
    gap = s.comparison.differences.get((best, second))
    if gap is None:
        return said + "."
    pairs = len(s.comparison.differences)
    family = f", both corrected for {counted(pairs, 'comparison')}" if pairs > 1 else ""
    return f"{said} (95 % interval {gap.low:.1f} to {gap.high:.1f}; {p_said(gap.p)}{family})."


def _conclusion(s: Standing) -> list[str]:
    """Whether the lead is real, and what lead a test would find; nothing if the best row was not tested."""
    best, second = s.order[:2]
    if best not in s.tested:
        return []
    gap, names = (
        s.comparison.differences.get((best, second)),
        _and([s.labels[row] for row in s.tied_with_best]),
    )
    if gap is None:  # the second is not tested
        return [f"Of the others, {names} may be as good." if names else "Its lead over the others is real."]
    if not names:
        return ["The difference is real: it is larger than chance over data sets and seeds explains."]
    if gap.real:
        return [f"That difference is real, but {names} may be as good: their differences to it vary more."]
    said = [f"The difference is not established: {names} may be as good."]
    if gap.detectable >= 0.05:
        said.append(
            f"With this spread over data sets, a lead has to be {gap.detectable:.1f} points to be found with "
            "a probability of 80 %."
        )
    return said


def _missing(s: Standing) -> list[str]:
    """What a test needs, if nothing was tested or some rows were not."""
    needs = (
        f"a test needs at least {stats.LEAST_SETS} data sets, and {stats.LEAST_SEEDS} seeds of each method"
    )
    sets, left = s.matrix.shape[1], [row for row in s.order if row not in s.tested]
    if sets < stats.LEAST_SETS:
        return [
            f"Whether chance explains the differences was not tested: {needs}; "
            f"these records have {counted(sets, 'data set')}."
        ]
    few = [f"{s.labels[row]} ({s.seeds[row]})" for row in left if s.seeds.get(row, 3) < stats.LEAST_SEEDS]
    if not few:
        return []
    what = (
        f"Not tested because of too few seeds: {_and(few)}"
        if s.tested
        else f"Nothing was tested; numbers of seeds: {_and(few)}"
    )
    return [f"{what}; {needs}."]


def p_said(p: float) -> str:
    """A p as text, e.g. 'p < 0.001', 'p = 0.013' or 'p = 0.18'."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _and(names: Sequence[str]) -> str:
    return "".join(names[:1]) if len(names) < 2 else ", ".join(names[:-1]) + f" and {names[-1]}"


TEST = (
    "All pairs of methods are compared by paired t tests over data sets; seeds are averaged first. "
    "Intervals and "
    "p are corrected for all pairs (Bonferroni): all intervals together hold with a probability of 95 %, "
    "and p is below 0.05 exactly if the interval excludes 0. Methods that share a letter are not told apart. "
    "The pairs are those of the methods shown: choose these before you see results, or compare all methods."
)
PLUS_MINUS = "±: standard deviation over seeds (n - 1). Averages are over seeds first, then over data sets."


def ranks_table(results: Results, budget: int | None = None, partial: bool = False) -> Table:
    """The table of ranks: average accuracy and spread, average rank, tie letters, difference to the best.

    It also says what each method needs of the model (see access.py).

    budget: read runs after this many queries; None: at their end. partial: allow missing cells.
    Raises UserError for missing cells unless `partial`.
    """
    results, missing_said = complete(results, partial)
    s = standing(results, budget)
    letters = s.comparison.letters
    rows = []
    for row in s.order:
        entries = (
            Entry(s.average[row], s.spread[row]),
            Entry(s.ranks[row], digits=2),
            Entry(s.average[s.order[0]] - s.average[row], note=_gap_note(s, row)),
        )
        needs = access_of(results, row, s.budget)
        lead = (s.label(row), letters.get(row, "–"), *needs.lead)
        rows.append(Row(lead, (*entries, *needs.entries)))
    columns = (Column("Average"), Column("Average rank", "low"), Column("Behind the best", ""), *COLUMNS)
    protocol, place = results.cells["protocol"].iloc[0], place_said(results.cells)
    title = f"Ranks after {counted(s.budget, 'query')}, {protocol}, {place}"
    notes = (
        verdict(s, f"the {place}"),
        *([f"{TEST} The interval is in brackets."] if letters else []),
        *([PLUS_MINUS] if any(s.spread.values()) else []),
        SAID,
        *conditions_said(results),
        *s.footnotes,
        *missing_said,
    )
    return marked(Table(title, ("Method", "Ties", *HEADS), columns, (Block("", tuple(rows)),), notes))


def _gap_note(s: Standing, row: str) -> str:
    gap = s.comparison.differences.get((s.order[0], row))
    return f" [{gap.low:.1f}, {gap.high:.1f}], {p_said(gap.p)}" if gap else ""


def efficiency_table(
    results: Results, marks: Sequence[int] = MARKS, absolute: Sequence[float] = (), partial: bool = False
) -> Table:
    """The table of query efficiency: accuracy at `marks`, area, targets solved, expected queries to targets.

    absolute: targets in %, instead of the default ones (see efficiency.goals). partial: allow missing cells.
    Raises UserError for missing cells unless `partial`.
    """
    results, missing_said = complete(results, partial)
    frame = points(results)
    limit = efficiency.fair_budget(frame)
    goals = efficiency.goals(frame, absolute, efficiency.images_behind(results))
    reached = efficiency.hits(frame, goals)
    expected = efficiency.typical(efficiency.expected_queries(reached))
    bound = schedule.bound(results.cells)
    curve = efficiency.average_curves(frame)
    names = list(dict.fromkeys(name for _, name in goals))
    marks = [m for m in marks if m <= limit] or [limit]
    facts = {str(row): part for row, part in results.cells.groupby("row")}
    rows = []
    for row in sorted(facts, key=lambda row: place_of(facts[row])):
        line = curve[row].ffill()
        solved = np.isfinite(reached.loc[reached["row"] == row, "queries"]).mean() if len(reached) else np.nan
        entries = [Entry(float(line[line.index <= m].iloc[-1])) for m in marks]
        entries.append(Entry(efficiency.area(*_cut(line, limit))))
        entries.append(Entry(100 * solved) if names else Entry())
        entries += [Entry(float(expected.loc[row, name]), digits=0) for name in names]
        needs = access_of(results, row, limit)
        entries += needs.entries
        label = str(facts[row]["label"].iloc[0]) + (schedule.SIGN if row in bound else "")
        rows.append(Row((label, *needs.lead), tuple(entries), group_of(facts[row])))
    columns = (
        *(Column(f"at {m:,}") for m in marks),
        Column("area"),
        Column("% solved"),
        *(Column(f"queries to {name}", "low") for name in names),
        *COLUMNS,
    )
    protocol = results.cells["protocol"].iloc[0]
    return marked(
        Table(
            f"Query efficiency, {protocol}, {place_said(results.cells)}",
            ("Method", *HEADS),
            columns,
            (Block("", tuple(rows)),),
            (
                *_targets_said(frame, goals, absolute, limit),
                *savings(results),
                SAID,
                *conditions_said(results),
                *([schedule.said(int(results.cells["budget"].max()))] if bound else []),
                *missing_said,
            ),
        )
    )


def savings(results: Results, others: int | None = None, frame: pd.DataFrame | None = None) -> list[str]:
    """Sentences: with what share of another method's queries the best method reaches its final accuracy.

    others: how many other methods, best first; None: all. References are left out. frame: the points of
    `results`, if the caller has them.
    """
    frame = points(results) if frame is None else frame
    if frame["reference"].all():
        return []
    s = standing(results, efficiency.fair_budget(frame), frame)
    tuned = [row for row in s.order if row in s.seeds]
    return [_saving(s, frame, tuned[0], other) for other in tuned[1:][:others]]


def _saving(s: Standing, frame: pd.DataFrame, best: str, other: str) -> str:
    pairs = len(s.comparison.differences) if {best, other} <= set(s.tested) else 0
    found = efficiency.saving(frame, best, other, pairs)
    if found.share == 0:
        return f"{s.labels[best]} starts at or above {s.labels[other]}'s final accuracy."
    share = _percent(found.share)
    said = f"{s.labels[best]} reaches {s.labels[other]}'s final accuracy with {share} of the queries"
    if found.low is None or found.high is None:
        return said + "; this was not tested."
    if found.high > 1:
        return said + " on average; it is not established that it needs fewer."
    family = f", corrected for {counted(pairs, 'comparison')}" if pairs > 1 else ""
    return f"{said} (95 % interval {_percent(found.low)} to {_percent(found.high)}{family})."


def _percent(share: float) -> str:
    return "more than 100 %" if share == float("inf") else f"{100 * share:.0f} %"


def _cut(line: pd.Series, limit: int) -> tuple[np.ndarray, np.ndarray]:
    line = line[line.index <= limit]
    return line.index.to_numpy(float), line.to_numpy(float)


def _targets_said(
    frame: pd.DataFrame, goals: Mapping[tuple[str, str], float], absolute: Sequence[float], limit: int
) -> list[str]:
    way = "Targets: 25, 50, 75 and 90 % of the way from zero-shot to the best known black-box accuracy."
    kind = "Targets: accuracies." if absolute else way
    names = [f"{value:g} %" for value in absolute] or [f"{share:.0%}" for share in efficiency.SHARES]
    left_out = {d: [n for n in names if (d, n) not in goals] for d in dict.fromkeys(frame["dataset"])}
    said = [
        f"{kind} Queries to a target: the median over data sets of the expected running time, which is the "
        "queries of all runs divided by the number of runs that reached the target (∞: none did). Targets "
        "are "
        "read at checkpoints, which are spaced 1-2-5, so these numbers may be too high by up to this "
        "spacing. "
        f"Runs are compared up to {counted(limit, 'query')}. Area: mean accuracy over log(queries)."
    ]
    listed = [f"{d} ({'all' if lost == names else ', '.join(lost)})" for d, lost in left_out.items() if lost]
    if listed:
        said.append(
            f"Some targets are left out, because they lie less than {efficiency.CLEAR} standard errors of a "
            "test "
            f"accuracy above zero-shot: {'; '.join(listed)}."
        )
    return said


def complete(results: Results, partial: bool) -> tuple[Results, list[str]]:
    """The rows that have every data set, and sentences about missing cells and the rows that are left out.

    Averages over different data sets do not compare. Raises UserError for missing cells unless `partial`, and
    if no row is left.
    """
    missing = refuse_missing(results, partial=partial)
    if not missing:
        return results, []
    listed = "; ".join(missing[:20])
    have = results.cells.groupby("row")["dataset"].nunique()
    short = list(have.index[have < results.cells["dataset"].nunique()])
    cells, trace, failed = (f[~f["row"].isin(short)] for f in (results.cells, results.trace, results.failed))
    if cells.empty:
        raise UserError(
            f"no method has a record for every data set; {absent(len(missing))}: {listed}. Run them."
        )
    said = [f"This table is partial: {absent(len(missing))}: {listed}."]
    if short:
        said.append(f"Methods without a record for every data set are left out: {', '.join(short)}.")
    return replace(results, cells=cells, trace=trace, failed=failed), said


def conditions_said(results: Results) -> list[str]:
    """Sentences about the conditions of a table's records."""
    first = results.cells.iloc[0]
    seeds = sorted(int(seed) for seed in results.cells["seed"].unique())
    harmonic = first["protocol"] == "base-to-new"
    said = f"Accuracy: {HARMONIC} " if harmonic else ""
    word = "seed" if len(seeds) == 1 else "seeds"
    said += (
        f"{counted(int(first['shots']), 'shot')}, backbone {first['backbone']}, batches of at most "
        f"{counted(int(first['batch_size']), 'image')}, {word} {', '.join(map(str, seeds))}."
    )
    return [said, *wire_said(results.cells), *few_images_said(results.cells)]
