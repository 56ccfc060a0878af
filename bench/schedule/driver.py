"""The driver's side of a run on Ray: hands out cells, takes in records, replaces workers that died."""

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

RETRIES = 2  # of a cell whose worker died; what a method raises is an answer, and is never retried
FAILED_STARTS = 3  # workers in a row that died before they were up: something is wrong with all of them
PATIENCE = 60.0  # seconds without a first worker before we say so: a cluster may be busy for hours
POLL = 0.5  # seconds between looks at the stop request


class Worker(Generic[S]):
    """The actor: a process that runs one cell after another."""

    def __init__(self, run: Run[S], settings: S, folder: str) -> None:
        self._run, self._settings = run, settings
        with suppress(OSError):  # on another machine it may not exist
            os.chdir(folder)  # the driver's, so that relative paths mean the same; on sys.path it is not
        self._threads = one_thread()
        self._threads.__enter__()  # for as long as the process lives

    def pid(self) -> int:
        """Answers as soon as the worker is up."""
        return os.getpid()

    def work(self, resolved: Resolved) -> Outcome:
        """One cell's outcome."""
        return attempt(self._run, resolved, self._settings)


@dataclass(eq=False)
class Hand:
    """The driver's view of a worker."""

    actor: Any
    resolved: Resolved | None  # being worked on; before the worker is up, the one it is meant for
    up: bool = False
    holds: str = ""  # the data set it worked on last


class Queue:
    """Cells to hand out, by data set, in their order."""

    def __init__(self, cells: Iterable[Resolved]) -> None:
        self._by_dataset: dict[str, deque[Resolved]] = {}
        for resolved in cells:
            self._by_dataset.setdefault(resolved.cell.dataset, deque()).append(resolved)

    def __bool__(self) -> bool:
        return any(self._by_dataset.values())

    def take(self, holds: str, others: Iterable[str]) -> Resolved | None:
        """The next cell for a worker that holds one data set while the others hold theirs.

        Its own data set first, then one that nobody holds, then the one with the most left to do.
        """
        left = {name: cells for name, cells in self._by_dataset.items() if cells}
        if not left:
            return None
        free = [name for name in left if name not in set(others)]
        busiest = max(left, key=lambda name: len(left[name]))
        return left[holds if holds in left else free[0] if free else busiest].popleft()


class Driver(Generic[S]):
    """Hands out cells, takes in records, replaces workers that died."""

    def __init__(self, ray: Any, new_actor: Callable[[], Any], job: Job[S], cells: list[Resolved]) -> None:
        self.ray, self.new_actor, self.job = ray, new_actor, job
        self.queue = Queue(cells)
        self.waiting: dict[Any, Hand] = {}  # by the reference that its next answer will have
        self.deaths: Counter[Cell] = Counter()
        self.failed_starts = 0
        self.say_waiting_at: float | None = time.monotonic() + PATIENCE  # None once a worker is up

    def drive(self, workers: int) -> None:
        """Until every cell has its record, or someone asks to stop."""
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
                self.job.on_event(Event("waiting", detail="no worker is up yet; is the cluster busy?"))
            if self.job.stop.signum is not None:
                return

    def start(self, resolved: Resolved | None) -> None:
        """A fresh worker, for any cell or for one whose worker died."""
        actor = self.new_actor()
        self.waiting[actor.pid.remote()] = Hand(actor, resolved)

    def hand_out(self, hand: Hand) -> None:
        """Give a worker that is up its next cell, if there is one."""
        others = [other.holds for other in self.waiting.values()]
        resolved = hand.resolved = hand.resolved or self.queue.take(hand.holds, others)
        if resolved is not None:
            hand.holds = resolved.cell.dataset
            self.job.on_event(Event("start", resolved.cell))
            self.waiting[hand.actor.work.remote(resolved)] = hand

    def take_in(self, hand: Hand, reference: Any) -> bool:
        """A worker's answer. False if it was its death, or if it can work no more."""
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
        """A worker died: killed by the system, a crash in native code, a lost node."""
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
    """Why a worker died, on one line: the last thing Ray says, without its advice and its numbers."""
    last = str(error).strip().rpartition("\n")[2]
    return last.partition(" Some common causes")[0]
