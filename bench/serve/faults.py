"""What goes wrong with real APIs, from a seed: refusals that pass, cut connections, slow answers."""

import random
from typing import Literal

Fault = Literal["429", "503", "cut", "slow"]

KINDS: tuple[Fault, ...] = ("429", "503", "cut", "slow")
WAIT = 0.05  # seconds in Retry-After
SLOW = 0.5  # seconds on top of an answer


class Faults:
    """share: of the requests that meet one of KINDS, all equally often."""

    def __init__(self, share: float, seed: int) -> None:
        self._share, self._rng = share, random.Random(seed)

    def draw(self) -> Fault | None:
        """What happens to the next request."""
        return self._rng.choice(KINDS) if self._rng.random() < self._share else None
