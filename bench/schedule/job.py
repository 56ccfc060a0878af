"""A run of many cells: its input, its events, and its results."""

import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

from bench.cell import Cell
from bench.errors import UserError
from bench.isolation import Spoiled
from bench.pulse import LIMITS, NO_SIGN, Limits, OutOfTime, Pulse, Sign, Stopped
from bench.record import Record, failure
from bench.resolve import Resolved
from bench.schedule.signals import StopRequest

MOST_UNWRITTEN = 3  # records in a row that cannot be written: then the run ends

S = TypeVar("S")  # the settings of a run: frozen, picklable, passed on unchanged
S_contra = TypeVar("S_contra", contravariant=True)


class Run(Protocol[S_contra]):
    """Runs one cell, e.g. `bench.runner.run_cell`. pulse: where it shows that the cell goes on."""

    def __call__(self, resolved: Resolved, settings: S_contra, *, pulse: Pulse) -> Record: ...


@dataclass(frozen=True)
class Event:
    """Something that a user may want to see while cells run.

    kind: "ready", a worker has started; "waiting", no worker has started for a long time; "start", a cell was
    handed out; "pulse", a cell goes on; "lost", a worker died; "spoiled", a cell changed what other cells use
    in its worker; "returned", a machine cannot run a cell, which goes to another one; "note", anything else.
    """

    kind: Literal["ready", "waiting", "start", "pulse", "lost", "spoiled", "returned", "note"]
    cell: Cell | None = None  # for "lost": the cell that is tried again, if there is one
    detail: str = ""
    sign: Sign = NO_SIGN  # for "pulse"


@dataclass
class Summary:
    """The counts of a run."""

    done: int = 0  # cells that ended well
    failed: list[tuple[Cell, str]] = field(default_factory=list)  # the cell, and the reason on one line
    lost: int = 0  # workers that died
    queries: int = 0
    left: int = 0  # cells that did not run, or were stopped before their end
    unwritten: int = 0  # records in a row that could not be written
    seconds: float = 0.0


class Interrupted(Exception):
    """A signal stopped the run. All finished records are written; `summary` says how many cells are left."""

    def __init__(self, signum: int, summary: Summary) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum, self.summary = signum, summary


@dataclass(frozen=True)
class Job(Generic[S]):
    """The input of a run (what to call, and with what), and the summary of its results."""

    run: Run[S]
    settings: S
    on_record: Callable[[Record], Any]
    on_event: Callable[[Event], Any]
    stop: StopRequest
    summary: Summary
    limits: Limits = LIMITS

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
    """A cell's record, and what it means for other cells.

    spoiled: the cell spoiled its process for them. refused: this machine cannot run the cell; another may.
    """

    record: Record
    spoiled: bool = False
    refused: bool = False


def attempt(run: Run[S], resolved: Resolved, settings: S, pulse: Pulse) -> Outcome:
    """Run a cell. If `run` raises, the record is a failed one, with the same traceback as in a Ray worker.

    Only Stopped passes through.
    """
    try:
        return Outcome(run(resolved, settings, pulse=pulse))
    except Stopped:
        raise
    except Spoiled as error:
        return Outcome(error.record, spoiled=True)
    except UserError as error:  # all input was checked where the run began, so it is this machine's
        return Outcome(failure(resolved.cell, str(error)), refused=True)
    except OutOfTime as error:
        return Outcome(failure(resolved.cell, str(error)))
    except BaseException:
        return Outcome(failure(resolved.cell, traceback.format_exc()))
