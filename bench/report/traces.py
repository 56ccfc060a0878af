"""Checks a record's trace: its checkpoints, counts and accuracies, against each other and the cell."""

from collections.abc import Iterator
from itertools import pairwise

from bench.access import FEATURES
from bench.outcome import accuracy
from bench.record import Outcome, Point, Record

CLOSE = 1e-9  # a share of whole images is rounded once, by `bench.outcome.accuracy`


def trace_faults(record: Record) -> list[str]:
    """Every fault of a record's trace."""
    steps = [fault for a, b in pairwise(record.trace) for fault in _step(record, a, b)]
    points = [fault for point in record.trace for fault in _point(record, point)]
    return [*_checkpoints(record), *steps, *points, *_ends(record)]


def _checkpoints(record: Record) -> Iterator[str]:
    """A run has the checkpoints that its budget gives, no more and no fewer."""
    from bench.trace import checkpoints  # imports torch, which the other reports do without

    cell, have = record.cell, [point.queries for point in record.trace]
    wanted = checkpoints(cell.budget, few=bool(cell.endpoint))
    for one in have:
        if one > cell.budget:
            yield f"checkpoint {one} lies beyond the budget of {cell.budget}"
        elif one not in wanted:
            yield f"checkpoint {one} is none of a run of {cell.budget} queries"
    yield from (f"checkpoint {one} is missing from the trace" for one in wanted if one not in have)


def _step(record: Record, a: Point, b: Point) -> Iterator[str]:
    """What must hold between one checkpoint and the next.

    Checkpoints are scored just before the query that would pass them. So two with the same count of queries
    were scored at once, with the same prompt, and no answer lies between them.
    """
    if b.queries <= a.queries:
        yield f"the trace goes from checkpoint {a.queries} to {b.queries}, but checkpoints must rise"
    for name in ("spent", "image_queries"):
        before, after = getattr(a, name), getattr(b, name)
        if after < before:
            yield f"the trace's {name} falls from {before} to {after} at checkpoint {b.queries}"
    spent, images = b.spent - a.spent, b.image_queries - a.image_queries
    if spent == 0 and (b.accuracy != a.accuracy or images or b.train_loss is not None):
        yield f"no query was spent between checkpoints {a.queries} and {b.queries}, but their results differ"
    if spent > 0 and b.spent <= a.queries:
        yield f"checkpoint {a.queries} was scored at {a.spent} queries, but {b.spent} came before it"
    if spent > 0 and not spent <= images <= spent * record.cell.batch_size:
        yield f"{spent} queries sent {images} images between checkpoints {a.queries} and {b.queries}"
    if spent > 0 and b.train_loss is None and FEATURES not in record.access:
        yield f"checkpoint {b.queries} has no train loss, but {spent} queries were answered before it"


def _point(record: Record, point: Point) -> Iterator[str]:
    at = point.queries
    if point.spent > at:
        yield f"{point.spent} queries were spent by checkpoint {at}"
    if point.train_loss is not None and point.train_loss < 0:
        yield f"the train loss at checkpoint {at} is {point.train_loss}, but a cross-entropy is at least 0"
    if set(point.accuracy) != set(record.accuracy):
        yield f"checkpoint {at} has scores of other test sets than the result"
    for name, score in point.accuracy.items():
        if fault := share_fault(score, record.n_test.get(name, 0)):
            yield f"accuracy on {name} at checkpoint {at} is {fault}"


def _ends(record: Record) -> Iterator[str]:
    first, last = record.trace[0], record.trace[-1]
    if (first.queries, first.spent, first.image_queries, first.train_loss) != (0, 0, 0, None):
        yield "the trace does not start with the untuned prompt at query 0"
    for name, word in (("spent", "queries"), ("image_queries", "image-queries")):
        at_end, said = getattr(last, name), getattr(record, word.replace("-", "_"))
        if at_end != said:
            yield f"the trace ends at {at_end} {word}, but the record says {said}"


def share_fault(score: float, n: int) -> str:
    """What is wrong with an accuracy (%) on `n` images, "" if it is a whole number of them."""
    if not 0 <= score <= 100:
        return f"{score}, but must be between 0 and 100 %"
    if n < 1:
        return ""  # said once, of the record
    right = round(score * n / 100)
    exact = accuracy(Outcome("", (right,), (n,), ()))
    return "" if abs(score - exact) < CLOSE else f"{score} %, which is not a whole number of {n} test images"
