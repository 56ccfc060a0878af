"""One record in detail: what it needed, its accuracy for each class, and which classes it confuses."""

from collections.abc import Sequence

from bench.access import answered, runs_on, sent
from bench.errors import UserError
from bench.outcome import BINS
from bench.record import Outcome, Record
from bench.report.class_names import class_names
from bench.report.table import Block, Column, Entry, Row, Table
from bench.resolve import needs_of
from bench.words import counted

MOST = 15  # confusions that are shown


def record_tables(record: Record, verified: str = "") -> list[Table]:
    """Two tables for each test set: accuracy by class, and the most frequent confusions.

    verified: a sentence on what was verified of the record.
    Raises UserError if the cell failed, or if the record holds no outcomes.
    """
    cell = record.cell
    if not record.ok:
        raise UserError(f"this cell failed: {record.reason}")
    if not record.outcomes:
        raise UserError(
            "this record does not say how single classes were answered; it was made before records did. "
            "Make it again: `bench run --retry-stale`"
        )
    where = f"{record.label} on {cell.dataset}, {cell.protocol}, seed {cell.seed}"
    tables = []
    for test, found in record.outcomes.items():
        title = where if test == "test" else f"{where}, {test}"
        known = class_names(cell.protocol, cell.dataset, test, len(found.images))
        notes = (
            _accuracy(record, test),
            *_calibration(found),
            *_facts(record),
            *([verified] if verified else []),
            *([known.why] if known.why else []),
        )
        tables += [_classes(title, found, known.names, notes), _confusions(title, found, known.names)]
    return tables


def _classes(title: str, found: Outcome, names: Sequence[str], notes: tuple[str, ...]) -> Table:
    facts = zip(names, found.right, found.images, strict=True)
    rows = [
        (100 * right / images if images else None, Row((name,), _class_entries(right, images)))
        for name, right, images in facts
    ]
    rows.sort(key=lambda pair: 101.0 if pair[0] is None else pair[0])
    columns = (Column("Accuracy (%)", ""), Column("Right", ""), Column("Images", ""))
    block = Block("", tuple(row for _, row in rows))
    return Table(f"Accuracy by class, lowest first: {title}", ("Class",), columns, (block,), notes)


def _class_entries(right: int, images: int) -> tuple[Entry, ...]:
    accuracy = Entry(100 * right / images) if images else Entry()
    return accuracy, Entry(right, digits=0), Entry(images, digits=0)


def _confusions(title: str, found: Outcome, names: Sequence[str]) -> Table:
    rows = [
        Row(
            (names[one.label], names[one.answered]),
            (Entry(one.images, digits=0), Entry(100 * one.images / found.images[one.label])),
        )
        for one in found.confusions[:MOST]
    ]
    columns = (Column("Images", ""), Column("% of the class", ""))
    notes = () if rows else ("No image was answered wrongly.",)
    heads = ("Class", "Answered")
    return Table(f"Most frequent confusions: {title}", heads, columns, (Block("", tuple(rows)),), notes)


def _accuracy(record: Record, test: str) -> str:
    return f"Accuracy: {record.accuracy[test]:.2f} % of {counted(record.n_test[test], 'image')}."


def _calibration(found: Outcome) -> list[str]:
    if found.calibration_error is None or found.log_loss is None:
        return []
    return [
        f"Expected calibration error: {found.calibration_error:.2f} % ({BINS} bins of confidence). "
        f"Mean log loss: {found.log_loss:.3f}."
    ]


def _facts(record: Record) -> list[str]:
    """Sentences about the conditions of the record and what its method needs."""
    cell, access = record.cell, record.access
    needs = needs_of(cell.method, record.params, access)
    said = [
        f"{counted(cell.shots, 'shot')}, backbone {cell.backbone}, suite {cell.suite}, {record.queries:,} of "
        f"{counted(cell.budget, 'query')} spent, {record.deploy_queries:,} to deploy a batch.",
        f"Sent: {sent(access)}. Answered: {answered(access, needs)}. Runs on: "
        f"{', '.join(runs_on(access, needs))}.",
    ]
    return said + ([f"The black box: {cell.wire}."] if cell.wire else [])
