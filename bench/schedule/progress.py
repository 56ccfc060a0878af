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


class Progress:
    """Counts records and shows the progress. A context manager; the pool calls `record` and `event`.

    The time left is estimated from the queries that are left and each method's pace so far.
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
        if event.kind == "waiting":
            self._say(event.detail)
        if event.kind == "spoiled" and event.cell is not None:
            self._say(f"{_name(event.cell)} changed what other cells use: {event.detail}")
        if event.kind == "lost":
            again = f"; {_name(event.cell)} runs again in a new worker" if event.cell else ""
            self._say(f"a worker died ({event.detail}){again}")

    # Words and numbers

    def pace(self) -> str:
        """Queries per second and the time left, e.g. '612 queries/s, 1:05 left'."""
        elapsed = self._clock() - self._begun
        left = self.seconds_left()
        rate = f"{self._queries / elapsed:,.0f} queries/s" if elapsed > 0 else "0 queries/s"
        return rate if left is None else f"{rate}, {_clock_words(left)} left"

    def seconds_left(self) -> float | None:
        """Estimated seconds until the end; None before the first cell has ended."""
        busy, spent = sum(self._busy.values()), self._spent.total()
        if not busy:
            return None
        work = sum(
            queries * (self._busy[name] / self._spent[name] if self._spent[name] else busy / spent)
            for name, queries in self._left.items()
        )
        return work * (self._clock() - self._begun) / busy  # seconds of all workers -> seconds on the clock

    def _outcome(self, cell: Cell, record: Record) -> str:
        accuracy = fmean(record.accuracy.values())
        if not record.reference and accuracy > self._best.get(cell.dataset, (-1.0, ""))[0]:
            self._best[cell.dataset] = (accuracy, cell.method)
        start = fmean(record.trace[0].accuracy.values())
        return f"{start:.1f} -> {accuracy:.1f} % in {record.queries:,} queries"

    def _say(self, line: str, style: str = "") -> None:
        self.console.print(Text(line, style), soft_wrap=True)

    # The terminal

    def __rich__(self) -> Group:
        failed = f", {self._failed} failed" if self._failed else ""
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=self._all, completed=self._all - self._left.total(), width=30),
            f"{self.done}/{self._total} cells{failed}",
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
