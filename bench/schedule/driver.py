"""The driver's side of a run on Ray: hands out cells, receives records, replaces workers that died."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Generic

from bench.cell import Cell
from bench.errors import UserError
from bench.pulse import Sign
from bench.record import failure
from bench.resolve import Resolved
from bench.schedule.job import Event, Job, Outcome, S
from bench.schedule.queue import Queue
from bench.schedule.worker import Hand

# How often a cell is tried again when its worker died. An error that a method raises is a result: no retry.
RETRIES = 2
FAILED_STARTS = 3  # workers in a row that may die before they have started; the next ones are not replaced
PATIENCE = 60.0  # seconds until the user is told that no worker has started: a cluster may be busy for hours
POLL = 0.5  # seconds between two looks at the stop request
PULSE = 1.0  # seconds between two looks at the pulses
PULSES = 500  # the most pulses per second that the driver asks for; with more workers it asks less often

NewActor = Callable[[str], Any]  # starts a worker on the machine with this id; "": Ray chooses the machine


class Driver(Generic[S]):
    """Hands out cells, receives records, ends cells that pass a limit, and replaces workers that died.

    check: raises UserError if Ray itself has died. nodes: the ids of the machines that are alive.
    """

    def __init__(
        self,
        ray: Any,
        new_actor: NewActor,
        job: Job[S],
        cells: list[Resolved],
        check: Callable[[], None] = lambda: None,
        nodes: Callable[[], set[str]] = set,
    ) -> None:
        self.ray, self.new_actor, self.job = ray, new_actor, job
        self.check, self.nodes = check, nodes
        self.queue = Queue(cells)
        self.waiting: dict[Any, Hand] = {}  # by the Ray reference of the worker's next answer
        self.idle: list[Hand] = []  # workers for which there is no cell at present
        self.deaths: Counter[Cell] = Counter()
        self.failed_starts = 0
        self.say_waiting_at: float | None = time.monotonic() + PATIENCE  # None once a worker is up
        self.look_at = 0.0  # when to look at the pulses next

    def drive(self, workers: int) -> None:
        """Run with this many workers until every cell has its record or a signal asks to stop.

        Raises UserError if no worker can start, or if Ray dies.
        """
        for _ in range(workers):
            self.start(None)
        while self.queue or any(hand.resolved for hand in self.waiting.values()):
            self.check()
            for reference in self.answered():
                hand = self.waiting.pop(reference)
                if self.take_in(hand, reference) and self.job.stop.signum is None:
                    self.hand_out(hand)
            if self.job.stop.signum is not None:
                return
            self.place_returned()
            self.look(time.monotonic())

    def answered(self) -> list[Any]:
        """The references of the answers that are there, after at most POLL seconds."""
        references = list(self.waiting)
        if not references:
            return []
        ready, _ = self.ray.wait(references, timeout=POLL)
        # With many workers, one call for all answers costs as much as one for the first answer.
        return self.ray.wait(references, num_returns=len(references), timeout=0)[0] if ready else []

    def start(self, resolved: Resolved | None, node: str = "") -> None:
        """Start a new worker: for any cell (None), or for a cell whose worker died."""
        self.check()  # without Ray's head, the next line would wait for a minute and then end this process
        actor = self.new_actor(node)
        self.waiting[actor.hello.remote()] = Hand(actor, resolved)

    def dismiss(self) -> None:
        """End all workers, so that others get their processors."""
        for hand in (*self.idle, *self.waiting.values()):
            self.ray.kill(hand.actor)
        self.idle.clear()
        self.waiting.clear()

    def hand_out(self, hand: Hand) -> None:
        """Give a worker its next cell, if there is one."""
        others = [other.holds for other in self.waiting.values()]
        resolved = hand.resolved = hand.resolved or self.queue.take(hand.holds, others, hand.node)
        if resolved is None:
            self.idle.append(hand)
            return
        hand.holds = resolved.cell.dataset
        hand.begin(time.monotonic())
        self.job.on_event(Event("start", resolved.cell))
        self.waiting[hand.actor.work.remote(resolved)] = hand

    # Answers

    def take_in(self, hand: Hand, reference: Any) -> bool:
        """Take in a worker's answer. Returns False if the worker died or must not run another cell."""
        errors = self.ray.exceptions
        try:
            answer = self.ray.get(reference)
        except errors.RayTaskError as error:  # the record itself could not be sent
            answer = Outcome(failure(hand.resolved.cell, str(error))) if hand.resolved else None
        except errors.RayError as error:
            self.check()  # if Ray has died, that is the reason
            self.lose(hand, _reason(error))
            return False
        if not hand.up:
            (pid, hand.node), hand.up, self.failed_starts, self.say_waiting_at = answer, True, 0, None
            self.job.on_event(Event("ready", detail=f"worker {pid}"))
        elif hand.resolved is not None:
            return self.take_outcome(hand, hand.resolved, answer)
        return True

    def take_outcome(self, hand: Hand, resolved: Resolved, outcome: Outcome) -> bool:
        """Take in what came of a cell. Returns False if the worker must not run another cell."""
        hand.resolved = None
        if outcome.refused and len(self.nodes()) > 1:
            self.queue.give_back(resolved, outcome.record, hand.node)
            self.job.on_event(Event("returned", resolved.cell, outcome.record.reason))
            return True
        self.job.keep(outcome.record)
        if outcome.spoiled:
            self.job.on_event(Event("spoiled", resolved.cell, "its worker is replaced"))
            self.replace(hand)
        return not outcome.spoiled

    def replace(self, hand: Hand) -> None:
        """End a worker, and start another one if there is work."""
        self.ray.kill(hand.actor)
        if self.queue:
            self.start(None)

    def place_returned(self) -> None:
        """Bring the cells that machines gave back to other ones. With no other alive, they have failed."""
        for one in self.queue.returned():
            if any(hand.node not in one.nodes for hand in self.waiting.values()):
                continue  # this worker takes it when it is ready
            idle = next((hand for hand in self.idle if hand.node not in one.nodes), None)
            elsewhere = sorted(self.nodes() - one.nodes)
            if idle is not None:
                self.idle.remove(idle)
                self.hand_out(idle)
            elif elsewhere:
                self.start(None, elsewhere[0])
            else:
                self.queue.drop(one)
                self.job.keep(one.record)

    # Workers that are late or lost

    def look(self, now: float) -> None:
        """Ask the workers for their pulses, and end the cells that have passed a limit. now: in seconds."""
        if self.say_waiting_at is not None and now > self.say_waiting_at:
            self.say_waiting_at = None
            self.job.on_event(Event("waiting", detail="no worker has started; the cluster may be busy"))
        if now < self.look_at:
            return
        self.look_at = now + max(PULSE, len(self.waiting) / PULSES)
        self.read_pulses()
        for reference, hand in list(self.waiting.items()):
            if hand.up and hand.resolved is not None:
                if hand.pulse is None:
                    hand.ask(now)
                if reason := self.job.limits.passed(now - hand.begun, hand.quiet(now)):
                    self.end(reference, hand, hand.resolved, reason)

    def read_pulses(self) -> None:
        """Take in the pulses that have come."""
        asked = {hand.pulse: hand for hand in self.waiting.values() if hand.pulse is not None}
        if not asked:
            return
        came, _ = self.ray.wait(list(asked), num_returns=len(asked), timeout=0)
        for reference in came:
            hand, asked[reference].pulse = asked[reference], None
            with suppress(self.ray.exceptions.RayError):  # if the worker died, its next answer says so
                hand.sign = Sign(*self.ray.get(reference))
            if hand.resolved is not None:
                self.job.on_event(Event("pulse", hand.resolved.cell, sign=hand.sign))

    def end(self, reference: Any, hand: Hand, resolved: Resolved, reason: str) -> None:
        """End a cell that has passed a limit, together with its worker."""
        del self.waiting[reference]
        self.job.keep(replace(failure(resolved.cell, reason), queries=hand.sign.spent))
        self.replace(hand)

    def lose(self, hand: Hand, reason: str) -> None:
        """Replace a worker that died: the system killed it, native code crashed, or a node was lost.

        After FAILED_STARTS workers in a row that did not start, the next ones are not replaced. Raises
        UserError if none is left.
        """
        self.job.summary.lost += 1
        self.ray.kill(hand.actor)  # it may be alive behind a broken connection
        if not hand.up:
            self.failed_starts += 1
            if self.failed_starts >= FAILED_STARTS:
                self.give_up(hand, reason)
                return
        elif hand.resolved is not None:
            self.deaths[hand.resolved.cell] += 1
            if self.deaths[hand.resolved.cell] > RETRIES:
                lost = f"{1 + RETRIES} workers died while they ran this cell. The last one: {reason}"
                self.job.keep(failure(hand.resolved.cell, lost))
                hand.resolved = None
        self.job.on_event(Event("lost", hand.resolved.cell if hand.resolved else None, reason))
        self.start(hand.resolved)

    def give_up(self, hand: Hand, reason: str) -> None:
        """Go on without a worker that cannot start. Raises UserError if it was the last one."""
        if not self.waiting and not self.idle:
            raise UserError(f"{self.failed_starts} workers in a row did not start. The last one: {reason}")
        if hand.resolved is not None:
            self.queue.put_first(hand.resolved)
            if self.idle:
                self.hand_out(self.idle.pop())
        self.job.on_event(Event("note", detail=f"a worker cannot start and is not replaced ({reason})"))


def _reason(error: Exception) -> str:
    """Why a worker died, on one line: the last line of Ray's message, without its advice."""
    last = str(error).strip().rpartition("\n")[2]
    return last.partition(" Some common causes")[0]
