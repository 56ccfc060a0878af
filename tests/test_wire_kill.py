"""A run that is killed, and started again, loses no answer and pays for none twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from wired import HOME, served

from bench.record import lasting, read
from bench.report.frame import record_files

# Loads everything once; each line of its input is a command, which it runs in a process of its own.
# Nothing is asked for again to see whether the endpoint has changed: that is paid for twice, on purpose.
LAUNCHER = """
import functools, os, sys
from wired import cell_of, few_images
import bench.commands.wire as wire
import bench.report.tables, bench.schedule.pool, bench.wire.connect
from bench.commands.main import main
wire.Wiring = functools.partial(wire.Wiring, drift=0.0)
cell_of("bar", None)
with few_images():
    for line in sys.stdin:
        if not (child := os.fork()):
            sys.stdout = open(os.devnull, "w")
            code = main(line.split(), standalone_mode=False)
            os._exit(code or 0)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)
"""
Pipes = tuple[IO[str], IO[str]]


@contextmanager
def launcher() -> Iterator[Pipes]:
    environment = os.environ | {"PYTHONPATH": f"{HOME}:{HOME / 'tests'}"}
    given: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen([sys.executable, "-c", LAUNCHER], **given) as process:
        assert process.stdin is not None and process.stdout is not None
        yield process.stdin, process.stdout
        process.stdin.close()


def started(pipes: Pipes, command: str) -> int:
    """The process that runs `bench COMMAND`."""
    print(command, file=pipes[0], flush=True)
    return int(pipes[1].readline())


def ended(pipes: Pipes) -> int:
    """Its status, once it has ended."""
    return int(pipes[1].readline())


def images(address: str) -> int:
    """How many the server has billed."""
    with urllib.request.urlopen(f"{address}/meter") as answer:
        return int(json.load(answer)["images"])


def killed(address: str, pipes: Pipes, command: str, rng: random.Random, most: int) -> bool:
    """Kill a run at a random moment, mostly among its requests. Whether it was still running."""
    process, before = started(pipes, command), images(address)
    wanted = before + rng.randint(1, most)
    late = time.monotonic() + (600 if rng.random() < 0.8 else rng.uniform(0, 2))
    while images(address) < wanted and time.monotonic() < late:
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.03))
    os.kill(process, signal.SIGKILL)
    return ended(pipes) == signal.SIGKILL


def records(folder: Path) -> list[dict[str, str]]:
    return [lasting(read(path)) for path in record_files(folder)]


@pytest.mark.parametrize(
    ("kills", "shots", "most"), [(3, 1, 30), pytest.param(20, 8, 18, marks=pytest.mark.slow)]
)
def test_a_killed_run_goes_on_and_pays_nothing_twice(
    tmp_path: Path, kills: int, shots: int, most: int
) -> None:
    rng, places = random.Random(kills), {name: tmp_path / name for name in ("broken", "whole")}
    with launcher() as pipes, served("--latency", "10ms") as address:  # both load at the same time
        command = (
            f"run --backbone {address}/hf/models/clip --dialect hf --answers probs -m bar -d mini-digits "
            f"-b 6 --shots {shots} --score val --local --results"
        )
        alive = [killed(address, pipes, f"{command} {places['broken']}", rng, most) for _ in range(kills)]
        broken = images(address)
        started(pipes, f"{command} {places['broken']}")
        assert ended(pipes) == 0
        paid = images(address)
        started(pipes, f"{command} {places['whole']} --fresh")
        assert ended(pipes) == 0
        unbroken = images(address) - paid
    assert all(alive)
    assert 0 < broken < paid == unbroken
    assert len(records(places["whole"])) == 2
    assert records(places["broken"]) == records(places["whole"])
    print(f"{kills} kills, {broken} of {paid} images paid for before the last run")
