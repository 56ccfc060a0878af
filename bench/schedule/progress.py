"""What the user sees while cells run: a progress bar in a terminal, else one line per cell."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.cell import Cell
from bench.record import Record
from bench.schedule.job import Event
from bench.words import counted

FIRST_WORD, LAST_WORD = 10.0, 600.0  # seconds between two lines about running cells, without a bar


class Progress:
    """Counts records and shows the progress. A context manager; the pool calls `record` and `event`.

    The time left is estimated from the queries that are left and the pace of each method, in cells that have
    ended and in those that run. Its methods may be called while another thread draws the bar.
    """

    def __init__(
        self,
        cells: Iterable[Cell],
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,  # seconds
    ) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._clock = clock
        self._begun = clock()
        self._total = 0
        self._left: Counter[str] = Counter()  # method -> budget of its cells that have not ended, in queries
        for cell in cells:
            self._total += 1
            self._left[cell.method] += cell.budget
        self._all = self._left.total()
        self.done = self._failed = self._queries = 0
        self._spent: Counter[str] = Counter()  # method -> budget of its cells that ended well, in queries
        self._busy: dict[str, float] = {}  # method -> seconds of work in these cells
        self._running: dict[Cell, tuple[float, int]] = {}  # cell -> (when it began, queries so far)
        self._say_at, self._gap = FIRST_WORD, FIRST_WORD  # seconds since the start, and until the next line
        self._best: dict[str, tuple[float, str]] = {}  # data set -> (best accuracy in %, its method)
        self._last = "the first cells are running"
        self._live: Live | None = None

    def __enter__(self) -> "Progress":
        self._begun = self._clock()
        if self._total and self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Live(self, console=self.console, refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._live:
            self._live.stop()

    # The pool's callbacks

    def record(self, record: Record, path: Path | None = None) -> None:
        """Count a cell that has ended, and show its result. path: the file of its record."""
        cell = record.cell
        self._running.pop(cell, None)
        self.done += 1
        self._queries += record.queries
        self._left[cell.method] -= cell.budget
        if record.ok:
            self._spent[cell.method] += cell.budget
            self._busy[cell.method] = self._busy.get(cell.method, 0.0) + (record.run.seconds or 0.0)
            self._last = f"{_name(cell)}: {self._outcome(cell, record)}"
        else:
            self._failed += 1
            self._last = f"{_name(cell)}: failed: {record.reason}" + (f" ({path})" if path else "")
        if not self._live:
            self._say(f"[{self.done}/{self._total}] {self._last}; {self.pace()}")
        elif not record.ok:
            self._say(self._last, style="red")
        for warning in record.chat.warnings if record.chat else ():
            self._say(f"{_name(cell)}: {warning}", style="yellow")
        if (cost := record.run.wire) and cost.drifted:
            drift = f"{cost.drifted} of {cost.checked} answers that were asked for again differ"
            self._say(f"{_name(cell)}: {drift}: the endpoint has changed (see --fresh)", style="yellow")

    def event(self, event: Event) -> None:
        """Show an event of the pool, if the user has to know it."""
        if event.cell is not None:
            self._follow(event.cell, event)
        if event.kind in ("waiting", "note"):
            self._say(event.detail)
        if event.kind == "returned" and event.cell is not None:
            self._say(f"a machine cannot run {_name(event.cell)}, which goes to another one: {event.detail}")
        if event.kind == "spoiled" and event.cell is not None:
            self._say(f"{_name(event.cell)} changed what other cells use: {event.detail}")
        if event.kind == "lost":
            again = f"; {_name(event.cell)} runs again in a new worker" if event.cell else ""
            self._say(f"a worker died ({event.detail}){again}")

    def _follow(self, cell: Cell, event: Event) -> None:
        """Note how far a cell is. Without a bar, a line says so from time to time."""
        now = self._clock()
        if event.kind == "start":
            self._running[cell] = (now, 0)
        elif event.kind == "pulse" and cell in self._running:
            self._running[cell] = (self._running[cell][0], event.sign.spent)
        elif event.kind in ("lost", "returned"):
            self._running.pop(cell, None)
        if event.kind == "pulse" and not self._live and now - self._begun >= self._say_at:
            self._gap = min(2 * self._gap, LAST_WORD)
            self._say_at = now - self._begun + self._gap
            self._say(f"[{self.done}/{self._total}] {len(self._running)} running; {self.pace()}")

    # Words and numbers

    def pace(self) -> str:
        """Queries per second and the time left, e.g. '612 queries/s, 1:05 left'."""
        elapsed = self._clock() - self._begun
        left = self.seconds_left()
        asked = self._queries + self._under_way().total()
        rate = f"{asked / elapsed:,.0f} queries/s" if elapsed > 0 else "0 queries/s"
        return rate if left is None else f"{rate}, {_clock_words(left)} left"

    def _under_way(self) -> Counter[str]:
        """Method -> queries of its cells that run now."""
        spent: Counter[str] = Counter()
        for cell, (_, queries) in list(self._running.items()):
            spent[cell.method] += queries
        return spent

    def seconds_left(self) -> float | None:
        """Estimated seconds until the end; None before the first query of a cell is known."""
        now, busy, spent = self._clock(), dict(self._busy), Counter(self._spent)
        for cell, (begun, queries) in list(self._running.items()):
            if queries:
                busy[cell.method] = busy.get(cell.method, 0.0) + now - begun
                spent[cell.method] += queries
        if not (all_busy := sum(busy.values())) or not spent.total():
            return None
        mean, under_way = all_busy / spent.total(), self._under_way()
        work = sum(
            (queries - under_way[name]) * (busy[name] / spent[name] if spent[name] else mean)
            for name, queries in self._left.items()
        )
        return max(0.0, work) * (now - self._begun) / all_busy  # seconds of all workers -> of the clock

    def _outcome(self, cell: Cell, record: Record) -> str:
        accuracy = fmean(record.accuracy.values())
        if not record.reference and accuracy > self._best.get(cell.dataset, (-1.0, ""))[0]:
            self._best[cell.dataset] = (accuracy, cell.method)
        start = fmean(record.trace[0].accuracy.values())
        return f"{start:.1f} -> {accuracy:.1f} % in {counted(record.queries, 'query')}"

    def _say(self, line: str, style: str = "") -> None:
        self.console.print(Text(line, style), soft_wrap=True)

    # The terminal

    def __rich__(self) -> Group:
        failed = f", {self._failed} failed" if self._failed else ""
        completed = self._all - self._left.total() + self._under_way().total()
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=self._all, completed=completed, width=30),
            f"{self.done}/{counted(self._total, 'cell')}{failed}",
            f"[dim]{_clock_words(self._clock() - self._begun)}[/dim]",
            self.pace(),
        )
        best = " · ".join(f"{name} {value:.1f} ({who})" for name, (value, who) in self._best.items())
        lines = [Text(f"last  {self._last}", style="dim", no_wrap=True, overflow="ellipsis")]
        if best:
            lines.append(Text(f"best  {best}"))
        return Group(bar, *lines)


def _name(cell: Cell) -> str:
    """A cell's name for the user, e.g. 'zip (rank=1), mini-digits, seed 1, answers label'."""
    return ", ".join(filter(None, (cell.row, cell.dataset, f"seed {cell.seed}", cell.wire)))


def _clock_words(seconds: float) -> str:
    """65 -> '1:05', 3700 -> '1:01:40'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
