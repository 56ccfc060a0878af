"""What a run of many cells is told, what it tells, and what comes of it."""

import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from bench.cell import Cell
from bench.errors import UserError
from bench.isolation import Spoiled
from bench.record import Record, failure
from bench.resolve import Resolved
from bench.schedule.signals import StopRequest

MOST_UNWRITTEN = 3  # records in a row that cannot be written: then the run ends

S = TypeVar("S")  # how to run: frozen and picklable, handed through as it is
Run = Callable[[Resolved, S], Record]


@dataclass(frozen=True)
class Event:
    """Something a user may want to see while it happens."""

    # a worker is up; none is for a long time; a cell was handed out; a worker died; a cell spoiled its worker
    kind: Literal["ready", "waiting", "start", "lost", "spoiled"]
    cell: Cell | None = None  # of "lost": the one that is tried again, if any
    detail: str = ""


@dataclass
class Summary:
    """What a run came to."""

    done: int = 0
    failed: list[tuple[Cell, str]] = field(default_factory=list)  # with the reason, on one line
    lost: int = 0  # workers that died
    queries: int = 0
    left: int = 0  # cells that did not run, or not to their end
    unwritten: int = 0  # records in a row that could not be written
    seconds: float = 0.0


class Interrupted(Exception):
    """A signal stopped the run. What had finished is written; `summary` says what is left."""

    def __init__(self, signum: int, summary: Summary) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum, self.summary = signum, summary


@dataclass(frozen=True)
class Job(Generic[S]):
    """What a run is told, and what comes of it."""

    run: Run[S]
    settings: S
    on_record: Callable[[Record], Any]
    on_event: Callable[[Event], Any]
    stop: StopRequest
    summary: Summary

    def keep(self, record: Record) -> None:
        """Pass a record on and count it.

        If it cannot be written, its cell has failed. After MOST_UNWRITTEN in a row the error is raised: then
        it is the disk, and the next results would be lost as well.
        """
        try:
            self.on_record(record)
            self.summary.unwritten = 0
        except (UserError, OSError) as error:
            self.summary.unwritten += 1
            if self.summary.unwritten == MOST_UNWRITTEN:
                raise
            record = failure(record.cell, f"its record was not written: {error}")
        self.summary.left -= 1
        self.summary.queries += record.queries
        if record.ok:
            self.summary.done += 1
        else:
            self.summary.failed.append((record.cell, record.reason))


@dataclass(frozen=True)
class Outcome:
    """A cell's record, and whether its process should run no more cells."""

    record: Record
    spoiled: bool = False


def attempt(run: Run[S], resolved: Resolved, settings: S) -> Outcome:
    """A cell's outcome. If `run` raised: a failed record, with the same traceback here and in a worker."""
    try:
        return Outcome(run(resolved, settings))
    except Spoiled as error:
        return Outcome(error.record, spoiled=True)
    except UserError as error:
        return Outcome(failure(resolved.cell, str(error)))
    except (Exception, SystemExit):
        return Outcome(failure(resolved.cell, traceback.format_exc()))
