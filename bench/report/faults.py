"""Verifies a folder of records for the leaderboard. Every fault is a sentence that names its file."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from bench.access import answered
from bench.answered import parse
from bench.cell import ELSEWHERE
from bench.errors import UserError
from bench.record import ChatLog, Hashes, Record
from bench.report.frame import CONDITIONS, Results, load, missing_cells, read_all, record_files
from bench.report.outcomes import ROUNDING, outcome_faults
from bench.resolve import known_hashes, needs_of


def verify(
    path: Path, known: Callable[[Record], Hashes] = known_hashes, root: str | None = None
) -> list[str]:
    """Every fault of the records at or under `path`, one line each; an empty list if there is none.

    known: gives the hashes that a record should have; by default those of this installation. root: the folder
    of the papers' data sets, for records that are run again from their transcripts.
    Raises UserError if there is no record.
    """
    if not path.exists() or not record_files(path):
        raise UserError(f"no records at {path}: give the path of a record or of a folder of records")
    records, damaged = read_all(path)
    faults = [f"{file}: {why}" for file, why in damaged]
    asked = []
    for file, record in records:
        found = faults_of(record, known(record))
        faults += [f"{file}: {fault}" for fault in found]
        if record.chat is not None and not found:
            asked.append((file, record, record.chat))
    return faults + _replays(asked, root) + incomplete(path)


def _replays(asked: Sequence[tuple[Path, Record, ChatLog]], root: str | None) -> list[str]:
    """What is wrong with sound records whose methods asked a language model."""
    if not asked:
        return []
    from bench.replay import fresh_lab, replay_faults  # imports torch; other records do without

    lab = fresh_lab(root)
    return [
        f"{file}: {fault}" for file, record, chat in asked for fault in replay_faults(record, chat, file, lab)
    ]


def faults_of(record: Record, known: Hashes) -> list[str]:
    """Everything that is wrong with one record that could be read."""
    if not record.ok:
        return [f"the cell failed: {record.reason}"]
    return [
        *_budget(record),
        *_trace(record),
        *_accuracy(record),
        *_box(record),
        *outcome_faults(record),
        *_hashes(record, known),
    ]


def _budget(record: Record) -> list[str]:
    cell, faults = record.cell, []
    if record.queries > cell.budget:
        faults.append(f"{record.queries} queries were spent, but the budget is {cell.budget}")
    most = record.queries * cell.batch_size
    if record.image_queries > most:
        faults.append(
            f"{record.image_queries} image-queries in {record.queries} queries, but at most {most} are "
            f"possible with {cell.batch_size} images per query"
        )
    return faults


def _trace(record: Record) -> list[str]:
    points, budget, faults = record.trace, record.cell.budget, []
    if points[0].queries != 0 or points[0].spent != 0:
        faults.append("the trace does not start with the untuned prompt at query 0")
    for a, b in pairwise(points):
        if b.queries <= a.queries:
            faults.append(
                f"the trace goes from checkpoint {a.queries} to {b.queries}, but checkpoints must rise"
            )
        for name in ("spent", "image_queries"):
            before, after = getattr(a, name), getattr(b, name)
            if after < before:
                faults.append(f"the trace's {name} falls from {before} to {after} at checkpoint {b.queries}")
    for point in points:
        if point.spent > point.queries:
            faults.append(f"{point.spent} queries were spent by checkpoint {point.queries}")
        if point.queries > budget:
            faults.append(f"checkpoint {point.queries} lies beyond the budget of {budget}")
        if set(point.accuracy) != set(record.accuracy):
            faults.append(f"checkpoint {point.queries} has scores of other test sets than the result")
    if points[-1].spent > record.queries:
        faults.append(f"the trace ends at {points[-1].spent} queries, but the record says {record.queries}")
    return faults


def _accuracy(record: Record) -> list[str]:
    faults = []
    end = record.trace[-1].accuracy
    for name, accuracy in record.accuracy.items():
        n = record.n_test.get(name, 0)
        if not 0 <= accuracy <= 100:
            faults.append(f"accuracy on {name} is {accuracy}, but must be between 0 and 100 %")
        elif n < 1:
            faults.append(f"n_test does not give the number of test images of {name}")
        elif abs(accuracy - 100 * round(accuracy * n / 100) / n) > ROUNDING:
            faults.append(
                f"accuracy on {name} is {accuracy} %, which is not a whole number of {n} test images"
            )
        if name in end and end[name] != accuracy:
            faults.append(f"accuracy on {name} is {accuracy}, but the trace ends at {end[name]}")
    return faults


def _box(record: Record) -> list[str]:
    """Faults of what the black box answered with, and of what the deployed prompt costs."""
    faults = []
    if record.deploy_queries < 0:
        faults.append(f"deploy_queries is {record.deploy_queries}, but must be at least 0")
    level = parse(record.cell.answers)
    needs = needs_of(record.cell.method, record.params, record.access)
    if not level.grants(needs):
        reads = answered(record.access, needs)
        faults.append(f"the box answered with {level}, but method {record.cell.method!r} reads {reads}")
    return faults


def _hashes(record: Record, known: Hashes) -> list[str]:
    cell, faults = record.cell, []
    carried = f" under {cell.protocol} of {cell.suite}" if cell.protocol in ELSEWHERE else ""
    for kind, name in (("method", cell.method), ("card", f"{cell.dataset}{carried}")):
        at_hand, given = getattr(known, kind), getattr(record.hashes, kind)
        if not at_hand:
            faults.append(f"no {kind} {name!r} here: add its file to the submission")
        elif given != at_hand:
            faults.append(
                f"made with another version of {kind} {name!r}: run the cell again with this version"
            )
    if known.code and record.hashes.code != known.code:
        faults.append("made with another version of bench's code: run the cell again with this version")
    faults += [
        f"hashes.{kind} is missing: run the cell again"
        for kind in ("split", "weights")
        if not getattr(record.hashes, kind)
    ]
    return faults


def incomplete(path: Path) -> list[str]:
    """Missing cells: seeds that a row has on one data set and not on another, for each table's records."""
    results = load(path, lambda _: None)
    faults = []
    for key, cells in results.cells.groupby([*CONDITIONS, "row"]):
        group = Results(cells, results.trace.iloc[:0], results.failed.iloc[:0])
        place = dict(zip(CONDITIONS, key, strict=False))
        where = f"{place['suite']} / {place['protocol']} / budget {place['budget']}"
        faults += [f"seeds are incomplete: {where} / {cell} is missing" for cell in missing_cells(group)]
    return faults
