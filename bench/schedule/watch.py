"""Watches a cell that runs in this process: shows its progress, and ends it when it passes a limit.

On Ray the driver does this (driver.py). Here another thread looks at the pulse, and a signal makes the main
thread raise OutOfTime. It reaches Python code, sleeping and waiting code; it cannot reach native code that
does not return, a method that catches every exception, or `os._exit`.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from bench.pulse import Limits, OutOfTime, Pulse, Sign

EVERY = 1.0  # seconds between two looks
ALARM = getattr(signal, "SIGALRM", None)  # Windows has none; there, cells have no limits


@contextmanager
def watched(pulse: Pulse, limits: Limits, on_sign: Callable[[Sign], None]) -> Iterator[None]:
    """A block in which a cell runs, in the main thread. on_sign: called about every second with its pulse.

    Raises OutOfTime in the block if the cell passes a limit, but only while its method is at work, so that
    the harness is never left in the middle of a change.
    """
    begun, done = time.monotonic(), threading.Event()
    can_end = ALARM is not None and threading.current_thread() is threading.main_thread()

    def passed(sign: Sign) -> str:
        return limits.passed(time.monotonic() - begun, sign.quiet)

    def end(signum: int, frame: FrameType | None) -> None:
        reason = passed(pulse.sign())
        if pulse.at_work and reason:  # the method may have ended since the signal was sent
            raise OutOfTime(reason)

    def look() -> None:
        while not done.wait(EVERY):
            sign = pulse.sign()
            on_sign(sign)
            if can_end and pulse.at_work and passed(sign):
                signal.pthread_kill(threading.main_thread().ident or 0, ALARM or 0)

    watcher = threading.Thread(target=look, name="bench watch", daemon=True)
    before = signal.signal(ALARM, end) if ALARM is not None and can_end else None
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        if ALARM is not None and can_end:
            signal.signal(ALARM, before)
