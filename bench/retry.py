"""When a request is sent again, and after how long: one rule for whoever asks a server.

Back-off with full jitter: Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015. A server that
says how long to wait (Retry-After) is obeyed; one that asks for more than PATIENCE has said no.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Generic, TypeVar

T = TypeVar("T")

AGAIN = frozenset({408, 409, 425, 429})  # and every 5xx
PATIENCE = 300.0  # seconds

Sleep = Callable[[float], None]


class Unusable(Exception):
    """An answer that another try may better. wait: the seconds that the server asks for."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


class NoAnswer(Exception):
    """No try brought an answer, and why the last one did not."""


@dataclass(frozen=True)
class Tried(Generic[T]):
    """What came at last. tries: requests sent. waited: seconds between them."""

    value: T
    tries: int
    waited: float


@dataclass(frozen=True)
class Rule:
    """first, longest: seconds; of the longest possible wait after the first try, and after any."""

    retries: int = 8
    first: float = 1.0
    longest: float = 60.0

    def tried(
        self, send: Callable[[], T], host: str, jitter: random.Random, sleep: Sleep = time.sleep
    ) -> Tried[T]:
        """What `send` returns, tried again while it raises Unusable. Raises NoAnswer, and its other errors.

        host: its name in messages. jitter: a generator of its own, so that no stream of a cell moves.
        """
        waited, why = 0.0, ""
        for count in range(1, self.retries + 2):
            try:
                return Tried(send(), count, waited)
            except Unusable as error:
                why, asked = str(error), error.wait
            if asked > PATIENCE:
                raise NoAnswer(f"{host} asks to wait {asked:.0f} s before the next try: run again later")
            if count <= self.retries:
                longest = min(self.longest, self.first * 2 ** (count - 1))
                wait = max(asked, jitter.uniform(0, longest))
                sleep(wait)
                waited += wait
        raise NoAnswer(f"no answer from {host} in {self.retries + 1} tries; the last one: {why}")


def passing(status: int) -> bool:
    """Whether a status may be another one next time."""
    return status in AGAIN or status >= 500


def asked_wait(text: str | None) -> float:
    """Seconds, from the value of Retry-After: a number or a date; 0 for what is neither."""
    if not text:
        return 0.0
    try:
        wait = float(text)
    except ValueError:
        try:
            wait = (parsedate_to_datetime(text) - datetime.now(timezone.utc)).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    # a NaN is no wait
    return max(wait, 0.0) if wait == wait else 0.0
