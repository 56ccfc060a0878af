"""The driver's side of a run on Ray: hands out cells, receives records, replaces workers that died."""

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic

from bench.cell import Cell
from bench.errors import UserError
from bench.record import failure
from bench.resolve import Resolved
from bench.schedule.job import Event, Job, Outcome, Run, S, attempt
from bench.schedule.process import one_thread

# How often a cell is tried again when its worker died. An error that a method raises is a result: no retry.
RETRIES = 2
FAILED_STARTS = 3  # workers in a row that may die before they have started; then the run is given up
PATIENCE = 60.0  # seconds until the user is told that no worker has started: a cluster may be busy for hours
POLL = 0.5  # seconds between two looks at the stop request


class Worker(Generic[S]):
    """The Ray actor: a process that runs one cell after another."""

    def __init__(self, run: Run[S], settings: S, folder: str) -> None:
        self._run, self._settings = run, settings
        # Relative paths then mean the same as for the driver. On another machine the folder may not exist.
        with suppress(OSError):
            os.chdir(folder)
        self._threads = one_thread()
        self._threads.__enter__()  # for as long as the process lives

    def pid(self) -> int:
        """The worker's process id; the answer also says that the worker has started."""
        return os.getpid()

    def work(self, resolved: Resolved) -> Outcome:
        """Run one cell and return its outcome."""
        return attempt(self._run, resolved, self._settings)


@dataclass(eq=False)
class Hand:
    """What the driver knows about one worker."""

    actor: Any
    resolved: Resolved | None  # the cell that it runs, or that it gets as its first one
    up: bool = False  # whether the worker has started
    holds: str = ""  # the data set of its last cell, which it has in memory


class Queue:
    """Cells that are still to be handed out: by data set, in the order in which they came."""

    def __init__(self, cells: Iterable[Resolved]) -> None:
        self._by_dataset: dict[str, deque[Resolved]] = {}
        for resolved in cells:
            self._by_dataset.setdefault(resolved.cell.dataset, deque()).append(resolved)

    def __bool__(self) -> bool:
        return any(self._by_dataset.values())

    def take(self, holds: str, others: Iterable[str]) -> Resolved | None:
        """The next cell for a worker that has the data set `holds` in memory; None if no cell is left.

        others: the data sets that the other workers have in memory. The worker gets a cell of its own data
        set if there is one, else of a data set that no other worker holds, else of the data set with the
        most cells left.
        """
        left = {name: cells for name, cells in self._by_dataset.items() if cells}
        if not left:
            return None
        free = [name for name in left if name not in set(others)]
        busiest = max(left, key=lambda name: len(left[name]))
        return left[holds if holds in left else free[0] if free else busiest].popleft()


class Driver(Generic[S]):
    """Hands out cells, receives records, and replaces workers that died."""

    def __init__(self, ray: Any, new_actor: Callable[[], Any], job: Job[S], cells: list[Resolved]) -> None:
        self.ray, self.new_actor, self.job = ray, new_actor, job
        self.queue = Queue(cells)
        self.waiting: dict[Any, Hand] = {}  # by the Ray reference of the worker's next answer
        self.deaths: Counter[Cell] = Counter()
        self.failed_starts = 0
        self.say_waiting_at: float | None = time.monotonic() + PATIENCE  # None once a worker is up

    def drive(self, workers: int) -> None:
        """Run with this many workers until every cell has its record or a signal asks to stop.

        Raises UserError if FAILED_STARTS workers in a row do not start.
        """
        for _ in range(workers):
            self.start(None)
        while self.queue or any(hand.resolved for hand in self.waiting.values()):
            ready, _ = self.ray.wait(list(self.waiting), timeout=POLL)
            for reference in ready:
                hand = self.waiting.pop(reference)
                if self.take_in(hand, reference) and self.job.stop.signum is None:
                    self.hand_out(hand)
            if self.say_waiting_at is not None and time.monotonic() > self.say_waiting_at:
                self.say_waiting_at = None
                self.job.on_event(Event("waiting", detail="no worker has started; the cluster may be busy"))
            if self.job.stop.signum is not None:
                return

    def start(self, resolved: Resolved | None) -> None:
        """Start a new worker: for any cell (None), or for a cell whose worker died."""
        actor = self.new_actor()
        self.waiting[actor.pid.remote()] = Hand(actor, resolved)

    def hand_out(self, hand: Hand) -> None:
        """Give a worker its next cell, if there is one."""
        others = [other.holds for other in self.waiting.values()]
        resolved = hand.resolved = hand.resolved or self.queue.take(hand.holds, others)
        if resolved is not None:
            hand.holds = resolved.cell.dataset
            self.job.on_event(Event("start", resolved.cell))
            self.waiting[hand.actor.work.remote(resolved)] = hand

    def take_in(self, hand: Hand, reference: Any) -> bool:
        """Take in a worker's answer. Returns False if the worker died or must not run another cell."""
        errors = self.ray.exceptions
        try:
            answer = self.ray.get(reference)
        except errors.RayTaskError as error:  # the record itself could not be sent
            answer = Outcome(failure(hand.resolved.cell, str(error))) if hand.resolved else None
        except errors.RayError as error:
            self.lose(hand, _reason(error))
            return False
        if not hand.up:
            hand.up, self.failed_starts, self.say_waiting_at = True, 0, None
            self.job.on_event(Event("ready", detail=f"worker {answer}"))
        elif hand.resolved is not None:
            done, hand.resolved = hand.resolved.cell, None
            self.job.keep(answer.record)
            if answer.spoiled:
                self.job.on_event(Event("spoiled", done, "its worker is replaced"))
                self.ray.kill(hand.actor)
                if self.queue:
                    self.start(None)
                return False
        return True

    def lose(self, hand: Hand, reason: str) -> None:
        """Replace a worker that died: the system killed it, native code crashed, or a node was lost.

        Raises UserError after FAILED_STARTS workers in a row that did not start.
        """
        self.job.summary.lost += 1
        if not hand.up:
            self.failed_starts += 1
            if self.failed_starts == FAILED_STARTS:
                raise UserError(f"{FAILED_STARTS} workers in a row did not start. The last one: {reason}")
        elif hand.resolved is not None:
            self.deaths[hand.resolved.cell] += 1
            if self.deaths[hand.resolved.cell] > RETRIES:
                lost = f"{1 + RETRIES} workers died while they ran this cell. The last one: {reason}"
                self.job.keep(failure(hand.resolved.cell, lost))
                hand.resolved = None
        self.job.on_event(Event("lost", hand.resolved.cell if hand.resolved else None, reason))
        self.start(hand.resolved)


def _reason(error: Exception) -> str:
    """Why a worker died, on one line: the last line of Ray's message, without its advice."""
    last = str(error).strip().rpartition("\n")[2]
    return last.partition(" Some common causes")[0]
