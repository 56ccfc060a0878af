"""What a user reads while cells run."""

import io
from dataclasses import replace

import pytest
from rich.console import Console
from toy_runs import cell, record

from bench.pulse import Sign
from bench.record import Made, failure
from bench.schedule.job import Event
from bench.schedule.progress import Progress


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def finished(cell, seconds, accuracy=50.0, **fields):
    one = record(cell, accuracy)
    start = replace(one.trace[0], accuracy={"test": 40.0})
    return replace(one, trace=(start, *one.trace[1:]), run=Made(seconds=seconds), **fields)


@pytest.fixture
def clock():
    return Clock()


def lines(console):
    return console.file.getvalue().splitlines()


def test_one_plain_line_per_cell(clock):
    cells = [cell("zip", budget=1000), cell("zip", seed=2, budget=1000)]
    console = Console(file=io.StringIO(), width=40)
    with Progress(cells, console, clock) as progress:
        clock.now = 10.0
        progress.record(finished(cells[0], 10.0, 51.25))
        progress.event(Event("lost", cells[1], "killed [by] the system"))
        clock.now = 20.0
        progress.record(failure(cells[1], "Traceback\nValueError: [bold] no"), "results/x.json")
    assert lines(console) == [
        "[1/2] zip, digits, seed 1: 40.0 -> 51.2 % in 1,000 queries; 100 queries/s, 0:10 left",
        "a worker died (killed [by] the system); zip, digits, seed 2 runs again in a new worker",
        "[2/2] zip, digits, seed 2: failed: ValueError: [bold] no (results/x.json); 50 queries/s, 0:00 left",
    ]


def test_the_time_left_is_estimated_from_queries_for_each_method(clock):
    small, large = cell("zip", budget=100), cell("zip", budget=900)
    other = cell("blackvip", budget=100)
    progress = Progress([small, large, other], Console(file=io.StringIO()), clock)
    assert progress.seconds_left() is None
    clock.now = 5.0
    progress.record(finished(small, 10.0))  # two workers: ten seconds of work in five
    assert progress.seconds_left() == pytest.approx((90 + 10) / 2)
    clock.now = 10.0
    # It takes four times as long as zip. The estimate for zip's cells does not change.
    progress.record(finished(other, 10.0 * 4))
    assert progress.seconds_left() == pytest.approx(90 * 10 / 50)
    clock.now = 28.0
    progress.record(finished(large, 90.0))
    assert progress.seconds_left() == 0


def test_a_terminal_shows_a_bar_and_the_best_row_so_far_and_failures(clock):
    cells = [cell("zip"), cell("coop"), cell("spsa"), cell("zip", "shapes")]
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with Progress(cells, console, clock) as progress:
        clock.now = 1.0
        progress.record(finished(cells[0], 1.0, 60.0))
        progress.record(finished(cells[1], 1.0, 90.0, access=("features",)))  # never the best
        progress.record(failure(cells[2], "Traceback\nValueError: no"))
    text = console.file.getvalue()
    assert "spsa, digits, seed 1: failed: ValueError: no" in text
    last = text[text.rindex("3/4 cells") :]
    assert "3/4 cells, 1 failed" in last
    assert "best  digits 60.0 (zip)" in last


def test_a_run_with_nothing_to_do_prints_nothing(clock):
    console = Console(file=io.StringIO(), force_terminal=True)
    with Progress([], console, clock):
        pass
    assert console.file.getvalue() == ""


def test_running_cells_give_a_rate_and_the_time_left_before_any_has_ended(clock):
    cells = [cell("zip", budget=1000), cell("zip", seed=2, budget=1000), cell("spsa", budget=1000)]
    console = Console(file=io.StringIO(), width=100)
    progress = Progress(cells, console, clock)
    for one in cells[:2]:
        progress.event(Event("start", one))
    assert progress.seconds_left() is None
    clock.now = 5.0
    progress.event(Event("pulse", cells[0], sign=Sign(100)))
    clock.now = 10.0
    for one in cells[:2]:
        progress.event(Event("pulse", one, sign=Sign(200)))
    # 400 queries in 20 s of work by two workers: 2,600 are left, 130 s of work, 65 s on the clock
    assert progress.seconds_left() == pytest.approx(65)
    progress.event(Event("lost", cells[1], "killed"))  # its queries are spent again
    assert progress.seconds_left() == pytest.approx(2800 * (10 / 200))
    assert lines(console) == [
        "[0/3] 2 running; 20 queries/s, 2:20 left",
        "a worker died (killed); zip, digits, seed 2 runs again in a new worker",
    ]


def test_lines_about_running_cells_become_rare(clock):
    (one,) = cells = [cell("zip", budget=100_000)]
    console = Console(file=io.StringIO(), width=100)
    progress = Progress(cells, console, clock)
    progress.event(Event("start", one))
    said = []
    for second in range(1, 3601):
        clock.now = float(second)
        progress.event(Event("pulse", one, sign=Sign(second)))
        said += [second] * (len(lines(console)) - len(said))
    assert said[:5] == [10, 30, 70, 150, 310] and len(said) < 12


def test_a_bar_moves_inside_a_cell(clock):
    (one,) = cells = [cell("zip", budget=1000)]
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with Progress(cells, console, clock) as progress:
        progress.event(Event("start", one))
        clock.now = 10.0
        progress.event(Event("pulse", one, sign=Sign(500)))
    text = console.file.getvalue()
    assert "50 queries/s, 0:10 left" in text[text.rindex("0/1 cell") :]
