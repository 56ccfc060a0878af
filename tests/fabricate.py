"""Records that are made up for tests, in the form that `bench run` writes. A formula gives their numbers."""

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.cell import Cell, Value
from bench.record import Confusion, Deployed, Hashes, Made, Outcome, Point, Record
from bench.store import Store
from bench.trace import checkpoints

MARKS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)

METHODS = {  # title, access, parameters, gain over zero-shot in points
    "manual": ("Manual Prompt", (), 0, 0.0),
    "blackvip": ("BlackVIP", ("pixels",), 9920, 4.0),
    "zip": ("ZIP", ("text context",), 417, 12.0),
    "coop": ("CoOp", ("white box",), 2048, 20.0),
    "adapter": ("Adapter", ("features",), 512, 16.0),
}
SETS = ("toy-colors", "toy-digits", "toy-clocks")
TESTS = {"few-shot": ("test",), "base-to-new": ("base", "new")}


def record(
    method: str = "zip",
    dataset: str = "toy-colors",
    seed: int = 1,
    protocol: str = "few-shot",
    tests: tuple[str, ...] | None = None,
    budget: int = 5000,
    overrides: dict[str, Value] | None = None,
    suite: str = "toy",
    backbone: str = "tiny",
    answers: str = "logits",
    pixels_8bit: bool = False,
    **changes: Any,
) -> Record:
    """One finished record; `changes` replace fields."""
    title, access, n_params, gain = METHODS.get(method, (method, ("text context",), 100, 6.0))
    given = tuple(sorted((overrides or {}).items()))
    gain -= 2.0 * len(given)
    tests = tests or TESTS[protocol]
    start = 40.0 + 5 * (sum(map(ord, dataset)) % 4)
    queries = 0 if method == "manual" else budget
    trace = []
    for at in [0] if method == "manual" else [*(mark for mark in MARKS if mark < budget), budget]:
        share = (at / 5000) ** 0.5 if at else 0.0
        accuracy = {
            t: round(start + 2.0 * i + share * gain * (1 + 0.1 * (seed - 2)), 1) for i, t in enumerate(tests)
        }
        trace.append(Point(at, at, at * 32, None, accuracy))
    box: dict[str, Any] = {"answers": answers, "pixels_8bit": pixels_8bit}
    cell = Cell(suite, protocol, method, dataset, backbone, seed, 16, budget, 32, **box, overrides=given)
    whole = Record(
        cell,
        "ok",
        title=title,
        access=access,
        white_box="white box" in access,
        n_params=n_params,
        params=dict(given),
        queries=queries,
        image_queries=queries * 32,
        accuracy=trace[-1].accuracy,
        n_test=dict.fromkeys(tests, 1000),
        trace=tuple(trace),
        prompt=Deployed(template="a photo of a {}."),
        hashes=Hashes("m" * 64, "c" * 64, f"{dataset}-{seed}", "w" * 64),
        run=Made(
            started="2026-01-02T03:04:05+00:00",
            seconds=1.5,
            peak_memory_mib=500.0,
            device="cpu",
            hardware="2-core test machine",
            pid=1,
            versions={"bench": "0.1.0", "torch": "2.14.1"},
        ),
    )
    return replace(whole, **changes)


def as_run(made: Record) -> Record:
    """The record with the checkpoints, losses and hashes that a run would give it: sound in itself."""
    cell, trace = made.cell, []
    for at in checkpoints(cell.budget):
        before = [point for point in made.trace if point.queries <= at][-1]
        spent = min(at, made.queries)
        loss = 1 + 1 / (at + cell.seed) + sum(map(ord, cell.dataset)) if 0 < spent == at else None
        trace.append(Point(at, spent, 32 * spent, loss, before.accuracy))
    hashes = replace(made.hashes, split=cell.dataset, suite="s" * 64)
    return replace(made, trace=tuple(trace), accuracy=trace[-1].accuracy, hashes=hashes)


def outcome(correct: Sequence[bool], classes: int = 4) -> Outcome:
    """Image i is of class i % classes; a wrong one is taken for the next class."""
    n = len(correct)
    right = tuple(sum(correct[label::classes]) for label in range(classes))
    images = tuple(len(correct[label::classes]) for label in range(classes))
    taken = [
        Confusion(label, (label + 1) % classes, images[label] - right[label])
        for label in range(classes)
        if right[label] < images[label]
    ]
    taken.sort(key=lambda one: (-one.images, one.label))
    bits = "".join("1" if one else "0" for one in correct).ljust(-(-n // 8) * 8, "0")
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return Outcome(base64.b64encode(packed).decode(), right, images, tuple(taken))


def with_outcomes(made: Record) -> Record:
    """The record with outcomes that fit its accuracies: its first images are the right ones."""
    found = {}
    for test, accuracy in made.accuracy.items():
        n = made.n_test[test]
        found[test] = outcome([i < round(accuracy * n / 100) for i in range(n)])
    return replace(made, outcomes=found)


def failed(**kwargs: Any) -> Record:
    """A cell that ended in an exception."""
    text = "Traceback (most recent call last):\n  ...\nRuntimeError: out of luck\n"
    return replace(record(**kwargs), status="failed", error=text, accuracy={}, trace=())


def write(folder: Path, *records: Record) -> Path:
    """Write the records where `bench run` would, and return the folder."""
    for one in records:
        Store(folder).write(one)
    return folder


def raw(folder: Path, name: str, changes: dict[str, Any], **kwargs: Any) -> Path:
    """A file that `bench run` would not write: a record's JSON with changed top-level entries."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(record(**kwargs).to_json() | changes), encoding="utf-8")
    return path


def grid(
    methods: tuple[str, ...] = ("manual", "blackvip", "zip"),
    datasets: tuple[str, ...] = SETS,
    seeds: tuple[int, ...] = (1, 2, 3),
    **kwargs: Any,
) -> list[Record]:
    """Every method x data set x seed."""
    return [record(m, d, s, **kwargs) for m in methods for d in datasets for s in seeds]
