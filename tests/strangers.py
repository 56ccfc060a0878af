"""Calls that hang, leave or eat memory, for tests of processes of their own. They load quickly."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from bench.errors import UserError


def counts(to: int) -> Iterator[int]:
    yield from range(to)


def marks_and_sleeps(folder: str) -> Iterator[int]:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(3600)
    yield 0


def leaves(code: int) -> Iterator[int]:
    yield 1
    os._exit(code)


def eats() -> Iterator[int]:
    eaten = []
    while True:
        eaten.append(bytearray(2**26))
        yield len(eaten)


def wrong() -> Iterator[int]:
    raise UserError("no method 'zipp'")
    yield 0


def interrupts() -> Iterator[int]:
    raise KeyboardInterrupt("a method's own")
    yield 0
