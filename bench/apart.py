"""Runs a stranger's code in a process of its own, with limits, and ends it with all that it started."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from bench.errors import UserError
from bench.schedule.process import limit_memory

GRACE = 30  # seconds after its limit in which a process ends itself if its parent was killed


class Ended(Exception):
    """The process did not come to its end: the message says why, on one line."""


def apart(call: Callable[..., Iterator[Any]], *args: Any, seconds: float, memory: int) -> Iterator[Any]:
    """What `call(*args)` yields in a new process. memory: bytes for each of its processes.

    Raises Ended if it takes longer or dies, and UserError if `call` does. However this ends, by Ctrl-C too,
    the process is gone afterwards.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(theirs, call, args, seconds, memory))
    process.start()
    theirs.close()
    end = time.monotonic() + seconds
    try:
        while True:
            if not ours.poll(max(0.0, end - time.monotonic())):
                raise Ended(f"it ran longer than {seconds:g} s and was ended")
            kind, value = ours.recv()
            if kind == "end":
                return
            if kind == "value":
                yield value
            else:
                raise (UserError if kind == "wrong" else Ended)(value)
    except EOFError:
        process.join()
        raise Ended(f"its process ended at once, with exit code {process.exitcode}") from None
    finally:
        _kill(process.pid)
        process.join()


def _kill(pid: int | None) -> None:
    """End a process and those that it started."""
    if pid is not None:
        for kill in (getattr(os, "killpg", os.kill), os.kill):  # it may have no group of its own yet
            with suppress(ProcessLookupError, PermissionError):
                kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def _run(
    pipe: Connection, call: Callable[..., Iterator[Any]], args: tuple[Any, ...], seconds: float, memory: int
) -> None:
    """The other process: send what the call yields, and how it ended."""
    if hasattr(os, "setsid"):
        os.setsid()  # a group of its own, which Ctrl-C in the terminal does not reach
        signal.alarm(int(seconds) + GRACE)
    limit_memory(memory)
    try:
        for value in call(*args):
            pipe.send(("value", value))
        pipe.send(("end", None))
    except UserError as error:
        pipe.send(("wrong", str(error)))
    except BaseException as error:  # the code of a stranger may raise anything
        text = " ".join(f"{type(error).__name__}: {error}".split())
        pipe.send(("died", f"it raised {text}"))
