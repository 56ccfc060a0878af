"""The table of the page: one tab after one number of queries."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from bench.errors import UserError
from bench.report import efficiency, published, stats
from bench.report.access import Access, access_of, group_of
from bench.report.frame import Results
from bench.report.order import place_said, shown
from bench.report.scores import Scores, scores
from bench.report.stale import stale_said
from bench.report.style import params_text
from bench.report.summary import Certainty, Standing, best_said, certainty, reasons, standing
from bench.report.table import Entry
from bench.report.verified import summed
from bench.words import counted

SIDES = ("base", "new")
NONE = Entry()


@dataclass(frozen=True)
class Facts:
    """What does not change with the number of queries. verified: how many of the
    records were read, scored again and run again; '' for none. stale: how many of them are stale, and why."""

    row: str
    label: str
    group: str  # ranked, features, white box, published or variant
    needs: Access | None = None
    params: int | None = None
    params_text: str = ""
    verified: str = ""
    stale: str = ""


@dataclass(frozen=True)
class Cell:
    """An accuracy on one data set. low, high: its 95 % interval if there are few test images."""

    accuracy: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def off(self) -> float | None:
        """By how many points the interval reaches beyond the accuracy, on its longer side."""
        if self.accuracy is None or self.low is None or self.high is None:
            return None
        return max(self.accuracy - self.low, self.high - self.accuracy)


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    facts: Facts
    accuracy: float
    half: float | None  # of the 95 % interval over seeds
    rank: int | None = None
    ranks: str = ""  # the interval of the rank
    letters: str = ""
    average_rank: float | None = None
    sides: tuple[float | None, ...] = ()  # base and new
    tune: Entry = NONE
    deploy: Entry = NONE
    by_set: tuple[Cell, ...] = ()
    images: float | None = None  # points by which few test images may move the average


@dataclass(frozen=True)
class AtBudget:
    """The table of one tab after one number of queries."""

    budget: int
    origin: str  # from which runs the numbers were read
    best: str  # the sentence that names the best method
    best_line: Line
    certainty: Certainty
    reasons: str
    lines: tuple[Line, ...]
    footnotes: tuple[str, ...]


@dataclass(frozen=True)
class Runs:
    """The runs of one tab with one budget. points, sides: accuracies at checkpoints (see frame.points)."""

    results: Results
    points: pd.DataFrame
    variants: Results | None
    variant_points: pd.DataFrame
    facts: dict[str, Facts]

    @property
    def budget(self) -> int:
        """The budget of the runs, in queries."""
        return int(self.results.cells["budget"].iloc[0])


def facts_of(results: Results, ranked: bool = True) -> dict[str, Facts]:
    """Row -> its facts, from the records of one table, whose cells have the column `stale`.

    ranked: False for variants that are only listed.
    """
    end = int(results.cells["budget"].max())
    spent = replace(results, trace=results.trace[["row", "at", "spent"]])
    found = {}
    for row, cells in results.cells.groupby("row", sort=False):
        group = group_of(cells)
        kind = "ranked" if group == "measured" else group
        found[str(row)] = Facts(
            row=str(row),
            label=str(cells["label"].iloc[0]),
            group=kind if ranked else "variant",
            needs=access_of(replace(spent, cells=cells), str(row), end),
            params=int(cells["n_params"].max()),
            params_text=params_text(int(cells["n_params"].min()), int(cells["n_params"].max())),
            verified=summed(cells.drop_duplicates("path")["verified"]),
            stale=stale_said(cells),
        )
    return found


def read_from(runs: Mapping[int, Runs], mark: int) -> Runs:
    """The runs that tell what happened at `mark` queries.

    They are those with this budget if every row has them, else those with the largest budget.
    """
    longest, own = runs[max(runs)], runs.get(mark)
    tuned = set(longest.results.cells.loc[longest.results.cells["queries"] > 0, "row"])
    return own if own is not None and tuned <= set(own.facts) else longest


def at_budget(runs: Mapping[int, Runs], mark: int, datasets: list[str]) -> AtBudget:
    """The table at `mark` queries, from the runs of `read_from`."""
    chosen = read_from(runs, mark)
    read = f"Read at {counted(mark, 'query')} from runs of {chosen.budget:,}."
    origin = "" if chosen.budget == mark else read
    s = standing(chosen.results, mark, chosen.points)
    images = efficiency.images_behind(chosen.results)
    spent = _spent(chosen.results, mark)
    sides = _sides(chosen.results, mark)
    lines = [
        _line(chosen, s, row, matrix.loc[row], datasets, images, spent, sides)
        for matrix in (s.matrix, s.references)
        for row in matrix.index
    ]
    lines += _variants(chosen, mark, datasets, images)
    lines += _published(chosen.results, datasets)
    return AtBudget(
        mark, origin, best_said(s), lines[0], certainty(s), reasons(s), tuple(lines), tuple(s.footnotes)
    )


def _spent(results: Results, mark: int) -> dict[str, int]:
    """Row -> the queries that its longest run had spent by then."""
    trace = results.trace[results.trace["at"] <= mark]
    return {str(row): int(spent) for row, spent in trace.groupby("row")["spent"].max().items()}


def _sides(results: Results, mark: int) -> list[dict[str, Scores]]:
    """The scores on the base and on the new classes, by row; none for other protocols."""
    trace = results.trace
    if trace["protocol"].iloc[0] != "base-to-new":
        return []
    columns = ["row", "dataset", "seed", "at", "accuracy"]
    parts = (trace.loc[trace["test"] == side, columns] for side in SIDES)
    return [scores(efficiency.at_budget(part, mark), "dataset") for part in parts]


def _line(
    runs: Runs,
    s: Standing,
    row: str,
    values: pd.Series,
    datasets: list[str],
    images: dict[str, int],
    spent: dict[str, int],
    sides: list[dict[str, Scores]],
) -> Line:
    facts, ranked = runs.facts[row], row in s.order
    assert facts.needs is not None
    low, high = s.comparison.rank_intervals.get(row, (0, 0))
    by_set = tuple(_cell(float(values[d]), images.get(d)) for d in datasets)
    return Line(
        facts=replace(facts, label=s.label(row)),
        accuracy=s.average[row],
        half=s.half_width[row],
        rank=1 + sum(s.average[other] > s.average[row] for other in s.order) if ranked else None,
        ranks="" if high == 0 else str(low) if low == high else f"{low}–{high}",
        letters=s.comparison.letters.get(row, ""),
        average_rank=s.ranks.get(row),
        sides=tuple(side[row].average if row in side else None for side in sides),
        tune=Entry(spent.get(row, 0), digits=0),
        deploy=facts.needs.entries[1],
        by_set=by_set,
        images=_together(by_set),
    )


def _cell(accuracy: float, images: int | None) -> Cell:
    """An accuracy, with Wilson's binomial interval if it was measured on few images."""
    if math.isnan(accuracy):
        return Cell()
    if images is None or images >= stats.SMALL:
        return Cell(accuracy)
    return Cell(accuracy, *stats.wilson(accuracy, images))


def _together(cells: tuple[Cell, ...]) -> float | None:
    """By how many points few test images may move the average."""
    found = [cell.off for cell in cells if cell.off is not None]
    return math.sqrt(sum(off**2 for off in found)) / len(cells) if found else None


def _variants(runs: Runs, mark: int, datasets: list[str], images: dict[str, int]) -> list[Line]:
    """The rows with overridden parameters, which are listed and not ranked, best first."""
    if runs.variants is None:
        return []
    spent = _spent(runs.variants, mark)
    found = scores(efficiency.at_budget(runs.variant_points, mark), "dataset")
    lines = []
    for row, one in found.items():
        facts = runs.facts[row]
        if facts.needs is None or not set(datasets) <= set(one.values.index):
            continue
        by_set = tuple(_cell(float(one.values[d]), images.get(d)) for d in datasets)
        tune = Entry(spent.get(row, 0), digits=0)
        lines.append(Line(facts, one.average, None, tune=tune, deploy=facts.needs.entries[1], by_set=by_set))
    return sorted(lines, key=lambda line: -line.accuracy)


def _published(results: Results, datasets: list[str]) -> list[Line]:
    """The paper's rows for the same suite, protocol, backbone and shots, as references."""
    first: Any = results.cells.iloc[0]
    try:
        source = published.find(first["suite"], first["protocol"])
        table = published.table(
            source, first["backbone"] if not source.backbone else None, int(first["shots"])
        )
    except UserError:  # nobody published this setting
        return []
    names = [column.name for column in table.columns]
    lines = []
    for row in table.blocks[-1].rows:
        values = {n: e.value for n, e in zip(names, row.entries, strict=True)}
        average = values[names[-1]]
        if average is not None:
            label = f"{row.lead[0]}, {source.paper}"
            facts = Facts(f"published {row.lead[0]}", label, "published", params_text=row.lead[1])
            by_set = tuple(Cell(values.get(shown(first["suite"], d))) for d in datasets)
            lines.append(Line(facts, average, None, by_set=by_set))
    return lines


def place(results: Results) -> str:
    """Where the numbers of a tab were measured, e.g. 'the mini suite (base-to-new)'."""
    protocol = results.cells["protocol"].iloc[0]
    return f"the {place_said(results.cells)}" + ("" if protocol == "few-shot" else f" ({protocol})")
