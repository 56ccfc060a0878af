"""The Ray actor that runs cells, and what the driver knows about it."""

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic

from bench.pulse import NO_SIGN, Pulse, Sign
from bench.resolve import Resolved
from bench.schedule.job import Outcome, Run, S, attempt
from bench.schedule.process import limit_memory, one_thread

PULSE_GROUP = "pulse"  # Ray's name for the second thread of a worker, which answers while a cell runs


class Worker(Generic[S]):
    """A process that runs one cell after another. `pulse` is answered in a thread of its own.

    folder: the driver's current folder. memory: the most that the process may take, in bytes; None: no limit.
    """

    def __init__(self, run: Run[S], settings: S, folder: str, memory: int | None) -> None:
        self._run, self._settings, self._pulse = run, settings, Pulse()
        # Relative paths then mean the same as for the driver. On another machine the folder may not exist.
        with suppress(OSError):
            os.chdir(folder)
        limit_memory(memory)
        self._threads = one_thread()
        self._threads.__enter__()  # for as long as the process lives

    def hello(self) -> tuple[int, str]:
        """The process id, and Ray's id of the machine; the answer also says that the worker has started."""
        import ray

        return os.getpid(), ray.get_runtime_context().get_node_id()

    def work(self, resolved: Resolved) -> Outcome:
        """Run one cell and return its outcome."""
        return attempt(self._run, resolved, self._settings, self._pulse)

    def pulse(self) -> tuple[int, float]:
        """The values of a Sign: how far the cell is that runs now.

        They are sent as they are: to send an object of ours, Python adds an attribute to its class, and a
        class that changes while a cell runs is the cell's fault (bench/isolation.py).
        """
        sign = self._pulse.sign()
        return sign.spent, sign.quiet


@dataclass(eq=False)
class Hand:
    """What the driver knows about one worker. Times are of the driver's clock, in seconds."""

    actor: Any
    resolved: Resolved | None  # the cell that it runs, or that it gets as its first one
    up: bool = False  # whether the worker has started
    node: str = ""  # Ray's id of its machine, once it has started
    holds: str = ""  # the data set of its last cell, which it has in memory
    begun: float = 0.0  # when its cell was handed out
    pulse: Any = None  # the reference of a sign that was asked for
    asked: float = 0.0  # when that was
    sign: Sign = NO_SIGN  # the last one that came

    def begin(self, now: float) -> None:
        """A cell is handed out; signs of the one before do not count."""
        self.begun = self.asked = now
        self.pulse, self.sign = None, NO_SIGN

    def ask(self, now: float) -> None:
        """Ask for a sign."""
        self.pulse = self.actor.pulse.options(concurrency_group=PULSE_GROUP).remote()
        self.asked = now

    def quiet(self, now: float) -> float:
        """How long there has been no sign of life. An answer that does not come counts as none."""
        return self.sign.quiet + (now - self.asked if self.pulse is not None else 0.0)
