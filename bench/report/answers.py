"""Accuracy by how much the black box answers: what a method loses where an API says less than all logits."""

from dataclasses import dataclass
from typing import Any

from bench.answered import parse
from bench.report import efficiency, stats
from bench.report.access import group_of, place_of
from bench.report.frame import Results, missing_cells, points, refuse, select, where
from bench.report.order import place_said
from bench.report.scores import Scores, scores, seedless
from bench.report.summary import PLUS_MINUS, conditions_said
from bench.report.table import Block, Column, Entry, Row, Table, marked
from bench.words import absent, counted

SAID = (
    "Columns: what the black box answers with, from the coarsest answers to all logits. A method is scored "
    "with the same answers. label: the best class alone. top:K: the K largest probabilities. probs:D: "
    "probabilities with D decimals. –: there are no records, for example because the method cannot work with "
    "these answers."
)


@dataclass(frozen=True)
class ByAnswers:
    """The records of one table for each level of answers.

    levels: from the coarsest to the finest. scores: level -> row -> its scores, for the rows that have every
    data set. missing: sentences about missing cells.
    """

    results: Results
    levels: tuple[str, ...]
    scores: dict[str, dict[str, Scores]]
    missing: tuple[str, ...]


def by_answers(results: Results, partial: bool = False, **wanted: Any) -> ByAnswers:
    """Select the records and score them, level by level. wanted: as in frame.select.

    All levels need the same data sets and seeds. Raises UserError for missing cells unless `partial`.
    """
    chosen = select(results, free="answers", **wanted)
    levels = sorted(chosen.cells["answers"].unique(), key=lambda level: parse(level).fineness)
    parts = {level: where(chosen, "answers", [level]) for level in levels}
    missing = [
        f"{cell}, answers {level}" for level in levels for cell in missing_cells(parts[level], among=chosen)
    ]
    refuse(missing, partial=partial)
    sets = points(chosen)["dataset"].nunique()
    budget = int(chosen.cells["budget"].iloc[0])
    found = {level: scores(efficiency.at_budget(points(parts[level]), budget), "dataset") for level in levels}
    whole = {
        level: {row: one for row, one in rows.items() if len(one.values) == sets}
        for level, rows in found.items()
    }
    said = [f"This table is partial: {absent(len(missing))}: {'; '.join(missing[:20])}."]
    return ByAnswers(chosen, tuple(levels), whole, tuple(said if missing else []))


def answers_table(found: ByAnswers) -> Table:
    """Rows: methods. Columns: levels of answers. Numbers: the average accuracy, ± its spread over seeds."""
    cells = found.results.cells
    same, seeds = seedless(cells), cells["seed"].nunique()
    facts = {str(row): part for row, part in cells.groupby("row")}
    rows = []
    for row in sorted(facts, key=lambda row: place_of(facts[row])):
        entries = [entry(found.scores[level].get(row), 0 if row in same else seeds) for level in found.levels]
        rows.append(Row((facts[row]["label"].iloc[0],), tuple(entries), group_of(facts[row])))
    protocol = cells["protocol"].iloc[0]
    budget = int(cells["budget"].iloc[0])
    return marked(
        Table(
            f"Average accuracy (%) by answers, after {counted(budget, 'query')}, {protocol}, "
            f"{place_said(cells)}",
            ("Method",),
            tuple(Column(level) for level in found.levels),
            (Block("", tuple(rows)),),
            (SAID, *([PLUS_MINUS] if seeds > 1 else []), *conditions_said(found.results), *found.missing),
        )
    )


def entry(scores: Scores | None, seeds: int) -> Entry:
    """An average and its spread. seeds: how many it should have; 0 if it is the same for every seed."""
    if scores is None:
        return Entry()
    n = len(scores.average_by_seed)
    return Entry(
        scores.average, stats.sd(scores.average_by_seed) if seeds else None, n if n < seeds else None
    )
