"""Quick, deterministic runs in place of a method, which fail in the way that a test asks for.

Started as a program, this file is a driver for the tests that stop or kill one.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.cell import Cell
from bench.errors import UserError
from bench.pulse import Pulse
from bench.record import Deployed, Hashes, Made, Point, Record
from bench.resolve import Resolved
from bench.schedule.job import Interrupted
from bench.schedule.pool import run_all
from bench.store import Store

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Settings:
    """A folder in which runs leave marks, and the seconds that an easy cell takes."""

    folder: str
    seconds: float = 0.0


def cell(method: str = "easy", dataset: str = "digits", seed: int = 1, **fields: Any) -> Cell:
    common = {"suite": "mini", "protocol": "few-shot", "backbone": "mini", "shots": 16, "batch_size": 32}
    return Cell(**{**common, "budget": 100, "method": method, "dataset": dataset, "seed": seed, **fields})


def resolved(*arguments: Any, **fields: Any) -> Resolved:
    """A cell with nothing to resolve."""
    return Resolved(cell(*arguments, **fields), {}, (), Hashes())


def record(cell: Cell, accuracy: float = 50.0) -> Record:
    marks = (0, 10, cell.budget)
    return Record(
        cell,
        "ok",
        title=cell.method,
        queries=cell.budget,
        image_queries=cell.budget * cell.batch_size,
        accuracy={"test": accuracy},
        n_test={"test": 1000},
        params={"rank": 5, "lr": 0.1, "shape": (64, 32)},
        hashes=Hashes(method="a" * 64, card="b" * 64),
        trace=tuple(Point(q, q, q * cell.batch_size, None, {"test": accuracy}) for q in marks),
        prompt=Deployed(template="a {}."),
        run=Made(pid=os.getpid(), started=str(time.time())),
    )


def run(resolved: Resolved, settings: Settings, *, pulse: Pulse) -> Record:
    """Run one cell. The name of its method says how it behaves."""
    cell = resolved.cell
    if cell.method == "raises":
        raise ZeroDivisionError("this method always fails")
    if cell.method == "exits":
        sys.exit("this method leaves")
    if cell.method == "dies" or (cell.method == "dies-once" and not marks(settings, "dies-once")):
        mark(settings, cell.method)
        os.kill(os.getpid(), signal.SIGKILL)
    if cell.method == "sleeps":
        mark(settings, "sleeps")
        time.sleep(3600)
    if cell.method == "computes":
        mark(settings, "computes")
        torch.linalg.matrix_power(torch.eye(3000), 2**62 - 1)  # a minute of native code, which sees no signal
    if cell.method == "slow":
        mark(settings, "slow")
    time.sleep(settings.seconds)
    rng = torch.Generator().manual_seed(cell.seed_for("method"))
    product = torch.randn(300, 300, generator=rng) @ torch.randn(300, 300, generator=rng)
    assert torch.get_num_threads() == 1
    return record(cell, accuracy=float(product.sum()) % 100)


def mark(settings: Settings, name: str) -> None:
    (Path(settings.folder) / f"{name}.{os.getpid()}").touch()


def marks(settings: Settings, name: str) -> list[int]:
    """The pids of the processes that left this mark."""
    return [int(path.suffix[1:]) for path in Path(settings.folder).glob(f"{name}.*")]


@contextmanager
def importable() -> Iterator[None]:
    """Workers that start in this block can import this module."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE), before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def main(results: str, folder: str, how: str, *methods: str) -> None:
    """Run three seeds and two data sets of every method. A signal gives the exit code 128 + its number.

    how: "local", "ray", or the address of a cluster.
    """
    store = Store(results)
    cells = [resolved(method, dataset, seed) for seed in (1, 2, 3) for dataset in "ab" for method in methods]
    settings = Settings(folder, seconds=0.5)
    try:
        with store.lock(), importable():
            where = {"local": True} if how == "local" else {} if how == "ray" else {"ray_address": how}
            run_all(cells, settings, run=run, on_record=store.write, workers=2, **where)
    except Interrupted as stopped:
        print(f"{stopped}: {stopped.summary.left} left")
        sys.exit(128 + stopped.signum)
    except UserError as error:
        print(f"Error: {error}")
        sys.exit(2)


if __name__ == "__main__":
    import toy_runs  # under the name by which workers import it

    toy_runs.main(*sys.argv[1:])
