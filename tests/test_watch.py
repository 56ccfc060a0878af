"""Methods that hang, leave or eat memory: each fails its own cell, and no neighbour changes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cells import mini_cells

from bench.lab import Settings
from bench.pulse import Limits, Pulse
from bench.record import Record, lasting
from bench.resolve import Resolved
from bench.runner import run_cell
from bench.schedule import watch
from bench.schedule.job import Event
from bench.schedule.pool import run_all

VANDAL = """
import ctypes, itertools, os, sys, threading, time
import torch
from bench.method import Method
from bench.prompt import Prompt


class Vandal(Method):
    title = "Vandal"
    access = ("text context",)
    n_params = 1

    def start(self):
        return self.normal(self.box.spec.text_width, std=0.02)

    def prompt(self, state):
        return Prompt(context=state.view(1, -1), state=state)

    def tune(self):
        batch = next(self.box.batches())
        self.box.logits(batch, [self.prompt(self.x0)])
        {act}
"""
ENDS = {  # what it does -> what the one line says
    "leaves by sys.exit": ("sys.exit('leaves')", "SystemExit: leaves"),
    "presses Ctrl-C": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "raises what is no Exception": ("raise BaseException('no Exception')", "BaseException: no Exception"),
    "closes the generator": ("raise GeneratorExit", "GeneratorExit"),
    "leaves a thread": (
        "threading.Thread(target=time.sleep, args=(3600,), daemon=True, name='left').start()",
        "the thread 'left', which still runs",
    ),
}
HANGS = {
    "sleeps": "time.sleep(3600)",
    "loops": "while True: pass",
    "waits for itself": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "asks what is refused, for ever": (
        "\n        while True:\n            try: self.box.require(10**6)\n            except Exception: pass"
    ),
}
OUT_OF_REACH = {  # of a run in one process
    "stays in native code": "sum(itertools.repeat(0))",
    "catches everything": (
        "\n        while True:\n            try: time.sleep(3600)\n            except BaseException: pass"
    ),
}
GIB = 2**30
QUIET = Limits(quiet=8.0)  # seconds: a neighbour that only waits for a processor must not pass it


def vandal(folder: Path, act: str) -> str:
    """A new method that does this, and its name."""
    name = f"vandal{len(list(folder.glob('*.py')))}"
    (folder / f"{name}.py").write_text(VANDAL.replace("{act}", act))
    return name


@pytest.fixture
def methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    return tmp_path


def run(cells: list[Resolved], limits: Limits, **how: Any) -> dict[str, Record]:
    """The records by method."""
    records: dict[str, Record] = {}

    def keep(record: Record) -> None:
        assert record.cell.method not in records
        records[record.cell.method] = record

    run_all(cells, Settings(), run=run_cell, on_record=keep, limits=limits, **how)
    return records


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, str]]:
    """The neighbours' records of a run without a vandal."""
    found = run(cells_of(), Limits(), local=True)
    assert all(record.ok for record in found.values())
    return {name: lasting(record) for name, record in found.items()}


def cells_of(*vandals: str) -> list[Resolved]:
    """Vandals between neighbours."""
    return mini_cells("zip", *vandals, "spsa", datasets=["mini-digits"], budgets=[40])


def check(found: dict[str, Record], says: dict[str, str], alone: dict[str, dict[str, str]]) -> None:
    """Each vandal has failed with its line, and each neighbour's bytes are those of a run without vandals."""
    for name, line in says.items():
        assert not found[name].ok
        assert line in found[name].reason and "\n" not in found[name].reason, found[name].error
    assert {name: lasting(found[name]) for name in alone} == alone


@pytest.mark.parametrize("what", [name for name in ENDS if name != "leaves a thread"])
def test_a_method_that_leaves_fails_its_own_cell(
    what: str, methods: Path, alone: dict[str, dict[str, str]]
) -> None:
    act, line = ENDS[what]
    name = vandal(methods, act)
    check(run(cells_of(name), Limits(), local=True), {name: line}, alone)


@pytest.mark.parametrize("what", HANGS)
def test_a_method_that_hangs_is_ended_in_one_process(
    what: str, methods: Path, alone: dict[str, dict[str, str]]
) -> None:
    name = vandal(methods, HANGS[what])
    found = run(cells_of(name), QUIET, local=True)
    check(found, {name: "did not return for 8 s (--quiet-timeout)"}, alone)
    assert found[name].queries == 1 and "Traceback" not in str(found[name].error)


def test_a_cell_that_takes_too_long_is_ended(methods: Path) -> None:
    """It reports all the time, so that it is never quiet."""
    name = vandal(methods, "\n        while True: self.box.report(self.prompt(self.x0))")
    cells = mini_cells(name, datasets=["mini-digits"], budgets=[40])
    found = run(cells, Limits(cell=3.0), local=True)
    check(found, {name: "the cell ran longer than 3 s (--cell-timeout)"}, {})


def test_on_ray_methods_that_hang_or_leave_fail_their_own_cells(
    methods: Path, alone: dict[str, dict[str, str]]
) -> None:
    says = {vandal(methods, act): "(--quiet-timeout)" for act in (HANGS["loops"], *OUT_OF_REACH.values())}
    says[vandal(methods, "raise KeyboardInterrupt")] = "KeyboardInterrupt"
    check(run(cells_of(*says), Limits(quiet=20.0), workers=2), says, alone)


@pytest.mark.slow
def test_on_ray_every_vandal_fails_its_own_cell(methods: Path, alone: dict[str, dict[str, str]]) -> None:
    says = {vandal(methods, act): line for act, line in ENDS.values()}
    says |= {vandal(methods, act): "(--quiet-timeout)" for act in (*HANGS.values(), *OUT_OF_REACH.values())}
    says[vandal(methods, "os._exit(0)")] = "3 workers died while they ran this cell"
    eats = "eaten = [torch.zeros(2**26) for _ in itertools.count()]"  # a quarter of a GiB each
    says[vandal(methods, eats)] = "can't allocate memory"
    says[vandal(methods, "eaten = [bytearray(2**26) for _ in itertools.count()]")] = "MemoryError"
    limits = Limits(quiet=20.0, memory=4 * GIB)
    check(run(cells_of(*says), limits, workers=2), says, alone)


# The watch itself


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_pulse_is_quiet_only_while_a_method_is_at_work() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    quiet: Callable[[], float] = lambda: pulse.sign().quiet  # noqa: E731
    clock.now += 50
    assert not pulse.at_work and quiet() == 0  # loading
    pulse.start()
    clock.now += 5
    assert pulse.at_work and quiet() == 5
    pulse.beat(30)
    assert quiet() == 0 and pulse.sign().spent == 30
    clock.now += 7
    pulse.beat()
    assert quiet() == 0 and pulse.sign().spent == 30
    pulse.end()
    clock.now += 7
    assert not pulse.at_work and quiet() == 0


def test_a_limit_is_named_with_its_option() -> None:
    limits = Limits(cell=7200.0, quiet=90.0)
    assert limits.passed(7200.0, 90.0) == ""
    assert "longer than 2 h (--cell-timeout)" in limits.passed(7201.0, 0.0)
    assert "for 90 s (--quiet-timeout)" in limits.passed(100.0, 91.0)


def test_a_cell_in_this_process_shows_how_far_it_is(methods: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "EVERY", 0.01)
    name = vandal(
        methods,
        "\n        for _ in range(9): self.box.logits(batch, [self.prompt(self.x0)]); time.sleep(0.1)",
    )
    events: list[Event] = []
    cells = mini_cells(name, datasets=["mini-digits"], budgets=[40])
    run_all(cells, Settings(), run=run_cell, on_record=print, on_event=events.append, local=True)
    spent = [event.sign.spent for event in events if event.kind == "pulse"]
    assert spent == sorted(spent) and len(set(spent)) >= 3 and spent[-1] <= 10


def test_the_limits_spare_what_is_not_the_methods_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading is the harness's: it may take long, and is never broken off."""
    monkeypatch.setattr(watch, "EVERY", 0.01)
    with watch.watched(Pulse(), Limits(cell=0.0, quiet=0.0), lambda sign: None):
        time.sleep(0.2)
