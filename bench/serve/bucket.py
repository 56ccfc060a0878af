"""A rate limit: a bucket that fills with a token at a time and holds those of one second."""

import time
from collections.abc import Callable

from bench.serve.refused import Refused


class Bucket:
    """rate: requests per second; None: no limit."""

    def __init__(self, rate: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._tokens, self._then = max(rate or 0.0, 1.0), clock()

    def take(self) -> None:
        """Take a token. Raises Refused (429) with the seconds until there is one."""
        if self._rate is None:
            return
        now = self._clock()
        self._tokens = min(self._tokens + (now - self._then) * self._rate, max(self._rate, 1.0))
        self._then = now
        if self._tokens < 1:
            wait = (1 - self._tokens) / self._rate
            raise Refused(429, "too many requests", {"Retry-After": f"{wait:.3f}"})
        self._tokens -= 1
