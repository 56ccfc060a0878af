"""Checks one record against itself and against what this installation knows. Every fault is a sentence."""

import base64
import binascii
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import numpy as np

from bench.access import ACCESS, WHITE_BOX, answered
from bench.answered import parse
from bench.cell import ELSEWHERE
from bench.errors import UserError
from bench.precision import types_of
from bench.record import Made, Record
from bench.report.outcomes import outcome_faults
from bench.report.traces import share_fault, trace_faults
from bench.resolve import Known, needs_of

SKEW = timedelta(days=1)  # by which two machines' clocks may differ


def faults_of(record: Record, known: Known) -> list[str]:
    """Everything that is wrong with one record that could be read."""
    if not record.ok:
        return [f"the cell failed: {record.reason}"]
    return [
        *_budget(record),
        *trace_faults(record),
        *_accuracy(record),
        *_box(record),
        *_prompt(record, known),
        *outcome_faults(record),
        *_hashes(record, known),
        *_code(record, known),
        *_made(record),
    ]


def _budget(record: Record) -> Iterator[str]:
    cell = record.cell
    if record.queries > cell.budget:
        yield f"{record.queries} queries were spent, but the budget is {cell.budget}"
    most = record.queries * cell.batch_size
    if record.image_queries > most:
        yield (
            f"{record.image_queries} image-queries in {record.queries} queries, but at most {most} are "
            f"possible with {cell.batch_size} images per query"
        )
    if record.image_queries < record.queries:
        yield f"{record.queries} queries sent only {record.image_queries} images"


def _accuracy(record: Record) -> Iterator[str]:
    end = record.trace[-1].accuracy
    for name, accuracy in record.accuracy.items():
        n = record.n_test.get(name, 0)
        if n < 1:
            yield f"n_test does not give the number of test images of {name}"
        if fault := share_fault(accuracy, n):
            yield f"accuracy on {name} is {fault}"
        if name in end and end[name] != accuracy:
            yield f"accuracy on {name} is {accuracy}, but the trace ends at {end[name]}"
    yield from (
        f"n_test names {name}, which was not scored" for name in record.n_test.keys() - record.accuracy
    )
    if record.error is not None:
        yield "the cell is finished, but field 'error' holds a text"


def _box(record: Record) -> Iterator[str]:
    """Faults of what the black box answered with, and of what the deployed prompt costs."""
    if record.deploy_queries < 0:
        yield f"deploy_queries is {record.deploy_queries}, but must be at least 0"
    level = parse(record.cell.answers)
    needs = needs_of(record.cell.method, record.params, record.access)
    if not level.grants(needs):
        reads = answered(record.access, needs)
        yield f"the box answered with {level}, but method {record.cell.method!r} reads {reads}"


def _prompt(record: Record, known: Known) -> Iterator[str]:
    """Faults of the deployed prompt. Only scoring tells whether it has the accuracy that the record says."""
    state = record.prompt.state
    if state is not None:
        try:
            data = base64.b64decode(state, validate=True)
            whole = len(data) % 4 == 0 and np.isfinite(np.frombuffer(data, "<f4")).all()
        except (binascii.Error, ValueError):
            whole = False
        if not whole:
            yield "prompt.state does not hold finite float32 numbers in base64"
    elif known.tunes and record.prompt.template is None and ACCESS["template"] not in record.access:
        yield "the deployed prompt is missing"
    if not known.tunes and (record.queries or record.n_params):
        yield (
            f"the method has nothing to tune, but the record says {record.queries} queries and "
            f"{record.n_params} parameters"
        )


def _hashes(record: Record, known: Known) -> Iterator[str]:
    cell, hashes = record.cell, known.hashes
    carried = f" under {cell.protocol} of {cell.suite}" if cell.protocol in ELSEWHERE else ""
    named = (("method", cell.method), ("card", f"{cell.dataset}{carried}"), ("suite", cell.suite))
    for kind, name in named:
        at_hand, given = getattr(hashes, kind), getattr(record.hashes, kind)
        if not at_hand:
            yield f"no {kind} {name!r} here: add its file to the submission"
        elif given != at_hand:
            yield f"made with another version of {kind} {name!r}: run the cell again with this version"
    if hashes.code and record.hashes.code != hashes.code:
        yield "made with another version of bench's code: run the cell again with this version"
    for kind in ("split", "weights"):
        if not getattr(record.hashes, kind):
            yield f"hashes.{kind} is missing: run the cell again"


def _code(record: Record, known: Known) -> Iterator[str]:
    """Differences from what the method's file and the suite say, where the record was made with these."""
    if record.white_box != (WHITE_BOX in record.access):
        yield f"white_box is {record.white_box}, but the access is {' + '.join(record.access) or 'none'}"
    if known.about is not None and known.hashes.method == record.hashes.method:
        for name, value in known.about.items():
            if (said := getattr(record, name)) != value:
                yield f"{name} is {said!r}, but the method's file says {value!r}"
    if known.hashes.code and known.hashes.code == record.hashes.code and not record.outcomes:
        yield "outcomes is empty, but this version of bench records which images were answered correctly"
    if known.hashes.suite != record.hashes.suite or known.hashes.method != record.hashes.method:
        return
    if known.misfit:
        yield known.misfit
    if known.targets is not None and record.targets != known.targets:
        yield f"targets is {list(record.targets)}, but the suite says {list(known.targets)}"
    params = {} if known.params is None else known.params
    for name in sorted(params.keys() | record.params.keys()) if known.params is not None else ():
        said, value = record.params.get(name), params.get(name)
        if said != value:
            yield f"parameter {name} is {said!r}, but the method, the suite and the cell give {value!r}"


def _made(record: Record) -> Iterator[str]:
    """Faults of when, where and how long. Nobody can check these numbers, only that they are possible."""
    made = record.run
    for name in ("seconds", "pid", "peak_memory_mib", "peak_gpu_memory_mib"):
        value = getattr(made, name)
        if value is not None and value < 0:
            yield f"run.{name} is {value}, but must be at least 0"
    for name, count in vars(made.wire).items() if made.wire is not None else ():
        if count < 0:
            yield f"run.wire.{name} is {count}, but must be at least 0"
    try:
        types = types_of(made.precision or "float32")
        if made.flipped is not None and types.scored == types.moved:
            yield (
                f"run.flipped is {made.flipped}, but run.precision is {made.precision!r}, with which no "
                "prompt is scored in float16 (fp16-scores)"
            )
    except UserError:
        yield f"run.precision is {made.precision!r}, which bench does not have"
    if made.flipped is not None and not 0 <= made.flipped <= 100:
        yield f"run.flipped is {made.flipped}, but must be between 0 and 100 %"
    if fault := _moment(made):
        yield f"run.started is {made.started!r}, {fault}"


def _moment(made: Made) -> str:
    """What is wrong with the moment at which a cell started; "" if nothing is, or if it is not stated."""
    if not made.started:
        return ""
    try:
        began = datetime.fromisoformat(made.started)
        late = began > datetime.now(timezone.utc) + SKEW
    except (ValueError, TypeError):  # TypeError: without a time zone it cannot be compared
        return "which is no time in ISO 8601 with a time zone"
    return "which lies in the future" if late else ""
