"""A model behind an address gives the same numbers as in this process, and nothing is paid for twice."""

import random
import socket
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace

import httpx2
import pytest
from wired import PROBED, asking, cell_of, few_images, meter, run_over, served

from bench.bill import Part, bill
from bench.lab import Lab, Settings
from bench.remote import Price
from bench.runner import run_cell

BUDGET = 30  # queries: more than a read-out's pass takes
STEPS = 12  # queries: two of BAR's steps


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served() as found:
        yield found


@pytest.fixture(
    scope="module", params=[pytest.param(4, id="few"), pytest.param(16, id="all", marks=pytest.mark.slow)]
)
def shots(request: pytest.FixtureRequest) -> Iterator[int]:
    """Training images per class; with few of them there are few to score on, too."""
    with few_images() if request.param < 16 else nullcontext():
        yield request.param


@pytest.fixture(scope="module")
def lab(shots: int) -> Lab:
    return Lab(Settings())


@pytest.mark.parametrize(
    ("dialect", "answers", "method", "budget"),
    [
        ("oip", "logits", "manual", 1),
        ("oip", "logits", "head", BUDGET),
        ("oip", "logits", "readout", BUDGET),
        ("oip", "logits", "bar", STEPS),
        ("oip", "probs:4", "head", BUDGET),
        ("oip", "top:3", "bar", STEPS),
        ("oip", "label", "head", BUDGET),
        ("rank", "logits", "head", BUDGET),
        ("rank", "probs", "bar", STEPS),
        ("hf", "probs", "head", BUDGET),
        ("hf", "probs:2", "bar", STEPS),
        ("chat", "label", "head", BUDGET),
    ],
)
def test_over_the_wire_as_in_this_process(
    address: str, lab: Lab, shots: int, dialect: str, answers: str, method: str, budget: int
) -> None:
    what = {"answers": [answers], "budgets": [budget], "score": "val", "shots": [shots]}
    there = run_over(asking(address, dialect, method, **what))
    here = run_cell(cell_of(method, None, **what), Settings(), lab)
    assert there.ok, there.error
    assert here.ok, here.error
    assert there.accuracy == here.accuracy
    assert there.prompt == here.prompt
    assert there.outcomes == here.outcomes
    assert (there.queries, there.image_queries) == (here.queries, here.image_queries)
    assert there.run.wire is not None
    assert here.run.wire is None


def test_garbage_on_the_socket_breaks_nothing(address: str) -> None:
    rng, url = random.Random(0), httpx2.URL(address)
    starts = [
        b"",
        b"GET / HTTP/1.1\r\n",
        b"POST /rank HTTP/1.1\r\nContent-Length: 10\r\n\r\n",
        b"\x16\x03\x01",
    ]
    for _ in range(40):
        with socket.create_connection((url.host, url.port or 80), timeout=5) as line:
            line.sendall(rng.choice(starts) + rng.randbytes(rng.randint(0, 200)))
            line.settimeout(0.05)
            with suppress(OSError):
                assert b"Traceback" not in line.recv(10_000)
    assert httpx2.get(f"{address}/v2/health/live").json() == {"live": True, "ready": True}


def test_a_prompt_of_several_parts_is_in_the_bill(address: str) -> None:
    cells = [
        asking(address, "rank", method, answers=["probs"], budgets=[600], score="val")
        for method in ("head", "readout")
    ]
    lab = Lab(Settings())
    head, readout = (bill([cell], lab) for cell in cells)
    images = sum(len(test.images) for test in lab.task(cells[0]).tests.values())
    lab.clear()
    assert head is not None
    assert readout is not None
    # before the first query, after 500, at the end
    assert head.scoring.images == 3 * images
    assert readout.scoring.images == 5 * 3 * images
    assert head.tuning == Part(600 * 32, 600)


def test_serial_and_together_are_the_same(address: str, shots: int) -> None:
    cell = asking(address, "hf", "bar", answers=["probs"], budgets=[6], score="val", shots=[shots])
    serial, together = (run_over(cell, at_once=n, fresh=True, run=f"{n}") for n in (1, 8))
    assert serial.ok, serial.error
    assert serial.trace == together.trace
    assert serial.prompt == together.prompt


def test_both_meters_agree_after_faults(shots: int) -> None:
    what = {"answers": ["probs"], "budgets": [STEPS // 2], "score": "val", "shots": [shots]}
    with served("--faults", "0.05", "--seed", "3") as address:
        records = [run_over(asking(address, dialect, "bar", **what)) for dialect in ("hf", "rank")]
        found = meter(address)
    assert all(record.ok for record in records), records[0].error or records[1].error
    costs = [record.run.wire for record in records]
    # the probes are not a cell's
    assert sum(cost.images for cost in costs if cost) == found["images"] - 2 * PROBED
    assert sum(cost.retries for cost in costs if cost) > 0
    assert all(record.queries == STEPS // 2 for record in records)


def test_a_chat_is_paid_by_the_token(address: str) -> None:
    with few_images():
        cell = asking(address, "chat", "manual", answers=["label"], budgets=[1], score="val")
        assert cell.endpoint is not None
        price = Price("2026-01-31", image=0.5, prompt=2e6, completion=1e6, image_tokens=10)
        record = run_over(replace(cell, endpoint=replace(cell.endpoint, price=price)), fresh=True, run="paid")
    assert record.ok, record.error
    cost = record.run.wire
    assert cost is not None
    assert (record.cell.backbone, record.cell.endpoint) == ("mini", f"chat+{address}/v1")
    assert cost.prompt_tokens > cost.completion_tokens > cost.images > 0
    dollars = 0.5 * cost.images + 2 * cost.prompt_tokens + cost.completion_tokens
    assert cost.dollars == pytest.approx(dollars)
