"""What the driver costs per cell, and what watching costs a cell. Run: python benchmarks/driver.py

The cells of the first part do nothing, so that all time is the driver's, Ray's and the worker's own.
The second part runs the same cell with and without a watcher, in turns.
"""

import resource
import time
from dataclasses import replace

import numpy as np

from bench.cell import Cell
from bench.lab import Lab, Settings
from bench.plan import make_cells
from bench.pulse import LIMITS, Pulse
from bench.record import Hashes, Record, failure
from bench.resolve import Resolved, resolve
from bench.runner import cpu_name, run_cell
from bench.schedule import watch
from bench.schedule.job import Event
from bench.schedule.pool import run_all
from bench.suite import load_suite

CELLS, WORKERS = 3000, 2
TURNS, QUERIES = 9, 3000


def nothing(resolved: Resolved, settings: None, *, pulse: Pulse) -> Record:
    """A cell that does nothing."""
    return failure(resolved.cell, "nothing was done")


def cpu() -> float:
    """CPU seconds of this process, with its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def empty_cells() -> list[Resolved]:
    one = Cell("mini", "few-shot", "manual", "mini-digits", "mini", 0, 16, 1, 32)
    return [Resolved(replace(one, seed=seed), {}, (), Hashes()) for seed in range(CELLS)]


def driver_cost() -> None:
    """Print the driver's CPU time and the clock's time per cell, without the start of Ray."""
    first: list[tuple[float, float]] = []

    def note(event: Event) -> None:
        if event.kind == "start" and not first:
            first.append((time.perf_counter(), cpu()))

    run_all(empty_cells(), None, run=nothing, on_record=lambda record: None, on_event=note, workers=WORKERS)
    wall, used = time.perf_counter() - first[0][0], cpu() - first[0][1]
    print(
        f"{CELLS} empty cells on {WORKERS} workers: {used / CELLS * 1e3:.2f} ms of the driver's CPU "
        f"per cell, {wall / CELLS * 1e3:.2f} ms of the clock"
    )


def watching_cost() -> None:
    """Print the ratio of a cell's CPU time with a watcher (a look every second) to that without."""
    settings, suite = Settings(), load_suite("mini")
    (cell,) = resolve(make_cells(suite, ["zip"], datasets=["mini-digits"], budgets=[QUERIES]), suite)
    lab, times = Lab(settings), {"plain": list[float](), "watched": list[float]()}
    run_cell(cell, settings, lab)
    for _ in range(TURNS):
        for way, found in times.items():
            begun, pulse = cpu(), Pulse()
            if way == "plain":
                run_cell(cell, settings, lab)
            else:
                with watch.watched(pulse, LIMITS, lambda sign: None):
                    run_cell(cell, settings, lab, pulse=pulse)
            found.append(cpu() - begun)
    plain, watched = (np.median(times[way]) for way in ("plain", "watched"))
    ratio = np.median([b / a for a, b in zip(times["plain"], times["watched"], strict=True)])
    print(f"{QUERIES} queries of zip: {plain:.2f} s plain, {watched:.2f} s watched; median ratio {ratio:.3f}")


if __name__ == "__main__":
    print(cpu_name())
    driver_cost()
    watching_cost()
