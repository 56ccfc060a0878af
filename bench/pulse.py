"""How a running cell is watched from outside, and the exceptions that end it from outside.

The thread that runs the cell writes its pulse, and another thread reads it. The pulse is no part of a record,
and no number depends on it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass


class Stopped(BaseException):
    """A signal asks the run to stop. It is not an Exception, so that no method catches it by accident."""


class OutOfTime(BaseException):
    """The cell has passed one of its limits: the message says which. Not an Exception, as above."""


@dataclass(frozen=True)
class Sign:
    """What a watcher sees. spent: queries. quiet: seconds since the method last asked or reported."""

    spent: int = 0
    quiet: float = 0.0


NO_SIGN = Sign()


class Pulse:
    """The signs of life of the cell that a process runs.

    While a cell is loaded or checked, the harness is at work and the method is not: then nothing is quiet.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spent = 0
        self._last: float | None = None  # None: no method is at work

    @property
    def at_work(self) -> bool:
        """Whether the code of a method is running, or code of the harness that it called."""
        return self._last is not None

    def start(self) -> None:
        """The method begins."""
        self._spent, self._last = 0, self._clock()

    def beat(self, spent: int | None = None) -> None:
        """The method has asked or reported something, or a part of a score is done. spent: queries so far."""
        if spent is not None:
            self._spent = spent
        if self._last is not None:
            self._last = self._clock()

    def end(self) -> None:
        """The method has ended, in any way."""
        self._last = None

    def sign(self) -> Sign:
        """What there is to see now."""
        last = self._last  # read once: the other thread may set it to None
        return Sign(self._spent, 0.0 if last is None else self._clock() - last)


@dataclass(frozen=True)
class Limits:
    """How long a cell may take and its method may be quiet, in seconds; the memory of a worker, in bytes.

    The defaults leave room for cells of the papers' size: 5,000 queries of ViT-B/16 on images that are new in
    every step take 7 hours on one thread (benchmarks/README.md: 52 s for 10 queries and 10 classes), and
    pixel prompts, 1,000 classes and test sets of 50,000 images take many times as long.
    """

    cell: float = 7 * 24 * 3600.0
    quiet: float = 2 * 3600.0
    memory: int | None = None  # None: what the machine has

    def passed(self, seconds: float, quiet: float) -> str:
        """Which limit a cell has passed, in words; "" if none."""
        if seconds > self.cell:
            return f"the cell ran longer than {in_words(self.cell)} (--cell-timeout) and was ended"
        if quiet > self.quiet:
            return (
                f"the method asked nothing, reported nothing and did not return for {in_words(self.quiet)} "
                "(--quiet-timeout), and was ended"
            )
        return ""


LIMITS = Limits()


def in_words(seconds: float) -> str:
    """90 -> '90 s', 7200 -> '2 h'."""
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds:g} s"
