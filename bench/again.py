"""Does the work of a record again and compares: scores its prompt again, or runs its whole cell again.

Nothing is sent and nothing is downloaded. A cell whose method asked a language model is run with the answers
of its transcript.
"""

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.chat import ChatSettings
from bench.errors import UserError, brief
from bench.files import read_bytes, reason
from bench.isolation import Before, Spoiled
from bench.lab import Lab, Settings
from bench.outcome import accuracy, bits
from bench.record import ChatLog, Record, lasting
from bench.resolve import Resolved, resolve_record
from bench.runner import hardware, pack, rebuild, run_cell

EXACT = "float64"  # in this precision all processors give the same bytes: see bench/exact.py
# Where another machine's arithmetic is less exact, a few answers near a boundary differ.
FLIPS = 0.01  # share of a test set's images that may be answered otherwise there; one image always may
BLUR = 0.01  # by which the mean log-loss may differ there, and the calibration error in units of 100 %


@dataclass(frozen=True)
class Finding:
    """What came of a record's work that was done again."""

    file: Path
    record: Record
    faults: tuple[str, ...] = ()  # what differs
    unable: str = ""  # why it cannot be done here

    @property
    def agrees(self) -> bool:
        """Whether the work was done, and gave the same."""
        return not self.faults and not self.unable


def fresh_lab(root: Path | str | None, device: str = "cpu") -> Lab:
    """A lab that does not use the network. root: the folder of the papers' data sets."""
    return Lab(Settings(device, None if root is None else str(root), offline=True))


# Scoring


def rescore(file: Path, record: Record, lab: Lab) -> Finding:
    """Builds the prompt of a record again, scores it on the test sets, and compares.

    This covers the accuracy, the outcomes, the untuned prompt's accuracy, the prompt itself, the numbers of
    parameters, test images and queries per batch, and the hashes of split and weights. The rest of the trace
    is covered by `rerun` alone.
    """
    resolved = resolve_record(record)
    try:
        lab.load(resolved)
        lab.weights_hash(resolved)
    except UserError as error:
        return Finding(file, record, unable=str(error))
    torch.set_num_threads(1)  # as a run does
    before = Before()
    faults: list[str] = []
    try:
        again = _scored(record, resolved, lab)
        faults += differences(record, again if exactly(record, lab) else _rounded(record, again))
    except (Exception, SystemExit) as error:  # a made-up prompt can make its method raise anything
        why = reason(error) if isinstance(error, Exception) else "it wants to leave"
        faults.append(f"its prompt cannot be built and scored again: {type(error).__name__}: {why}")
    changed = before.compare(lab.broken)
    if changed:
        faults.append(f"while its prompt was scored,{changed}")
        lab.clear()
    return Finding(file, record, tuple(faults))


def _scored(record: Record, resolved: Resolved, lab: Lab) -> Record:
    """The record with everything in it that scoring its prompt gives."""
    prompt, method, trial = rebuild(record, lab)
    outcomes = trial.scorer.score(prompt)
    untuned = trial.scorer.score(trial.door.deployed(method.prompt(method.x0)))
    first = replace(record.trace[0], accuracy={name: accuracy(one) for name, one in untuned.items()})
    hashes = replace(record.hashes, split=lab.split_hash(resolved), weights=lab.weights_hash(resolved))
    return replace(
        record,
        n_params=int(method.n_params),
        accuracy={name: accuracy(one) for name, one in outcomes.items()},
        outcomes=outcomes,
        n_test=trial.scorer.n_test,
        n_train=len(lab.task(resolved).train),
        trace=(first, *record.trace[1:]),
        prompt=pack(prompt),
        deploy_queries=len(prompt.sent),
        hashes=hashes,
    )


def exactly(record: Record, lab: Lab) -> bool:
    """Whether this machine computes a record's numbers to the byte."""
    made, device = record.run, lab.settings.device
    return made.precision == EXACT or (made.device == device and made.hardware == hardware(device))


def _rounded(record: Record, again: Record) -> Record:
    """`again`, with the record's own scores where the difference is one of rounding."""
    near = record.outcomes.keys() == again.outcomes.keys() and all(
        _near(record, again, test) for test in again.outcomes
    )
    if not near:
        return again
    first = replace(again.trace[0], accuracy=record.trace[0].accuracy)
    trace = (first, *again.trace[1:])
    return replace(again, accuracy=record.accuracy, outcomes=record.outcomes, trace=trace)


def _near(record: Record, again: Record, test: str) -> bool:
    mine, other, n = record.outcomes[test], again.outcomes[test], again.n_test[test]
    if mine.images != other.images or n != record.n_test.get(test):
        return False
    most = max(1, int(FLIPS * n))
    flips = int((bits(mine) != bits(other)).sum())
    start = abs(record.trace[0].accuracy[test] - again.trace[0].accuracy[test]) * n / 100
    blurs = [
        (mine.log_loss, other.log_loss, BLUR),
        (mine.calibration_error, other.calibration_error, 100 * BLUR),
    ]
    apart = [a != b if a is None or b is None else abs(a - b) > most_apart for a, b, most_apart in blurs]
    return flips <= most and start <= most + 0.5 and not any(apart)


# Running


def rerun(file: Path, record: Record, lab: Lab) -> Finding:
    """Runs the cell of a record again and compares the records, all but when, where and how long."""
    if record.chat is not None:
        return replay(file, record, record.chat, lab)
    if not exactly(record, lab):
        made = record.run
        where = f"{made.precision or 'an unnamed precision'} on {made.hardware or 'an unnamed machine'}"
        return Finding(
            file, record, unable=f"it was made in {where}: other machines' sums differ in their last digits"
        )
    return _run(file, record, lab, lab.settings, "rerun")


def replay(file: Path, record: Record, chat: ChatLog, lab: Lab) -> Finding:
    """The same with the language model's answers from the transcript beside the record."""
    transcript = file.with_name(chat.file)
    try:
        digest = hashlib.sha256(read_bytes(transcript)).hexdigest()
    except UserError:
        why = f"its transcript {transcript.name} is missing: keep it beside the record"
        return Finding(file, record, (why,))
    if digest != chat.sha256:
        why = f"its transcript {transcript.name} is not the one with which it was made: restore that one"
        return Finding(file, record, (why,))
    settings = replace(lab.settings, chat=ChatSettings(replay=str(transcript)))
    return _run(file, record, lab, settings, "replay")


def _run(file: Path, record: Record, lab: Lab, settings: Settings, word: str) -> Finding:
    try:
        again = run_cell(resolve_record(record), settings, lab)
    except Spoiled as error:
        again = error.record
    except UserError as error:
        return Finding(file, record, unable=str(error))
    if not again.ok:
        return Finding(file, record, (f"its {word} fails: {again.reason}",))
    return Finding(file, record, tuple(f"its {word} gives {one}" for one in differences(record, again)))


def differences(record: Record, again: Record) -> list[str]:
    """The first difference in each entry of two records, e.g. 'accuracy.test 61.2, but the record says 60.1'.

    What may differ between two equal runs is left out: see bench.record.lasting.
    """
    mine, other = lasting(record), lasting(again)
    found = []
    for name in sorted(mine):
        if mine[name] != other.get(name):
            place, said, computed = _first(json.loads(mine[name]), json.loads(other.get(name, "null")), name)
            found.append(f"{place} {brief(computed)}, but the record says {brief(said)}")
    return found


def _first(mine: Any, other: Any, place: str) -> tuple[str, Any, Any]:
    """The first place at which two JSON values differ, and what stands there."""
    pairs: Iterable[tuple[str, Any, Any]] = ()
    if isinstance(mine, dict) and isinstance(other, dict) and mine.keys() == other.keys():
        pairs = ((f"{place}.{key}", mine[key], other[key]) for key in mine)
    elif isinstance(mine, list) and isinstance(other, list) and len(mine) == len(other):
        pairs = ((f"{place}[{i}]", a, b) for i, (a, b) in enumerate(zip(mine, other, strict=True)))
    for where, a, b in pairs:
        if a != b:
            return _first(a, b, where)
    return place, mine, other


def sample(records: Sequence[tuple[Path, Record]], n: int, seed: int) -> list[tuple[Path, Record]]:
    """`n` of these records at random, one of each method in turn; a larger sample holds the smaller."""
    rng, rows = random.Random(seed), defaultdict(list)
    for file, record in sorted(records, key=lambda one: str(one[1].cell.path)):
        rows[record.cell.method].append((file, record))
    order = sorted(rows)
    rng.shuffle(order)
    for method in order:
        rng.shuffle(rows[method])
    deepest = max(map(len, rows.values()), default=0)
    dealt = [rows[method][i] for i in range(deepest) for method in order if i < len(rows[method])]
    return dealt[:n]
