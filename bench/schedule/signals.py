"""A request to stop (Ctrl-C, SIGTERM, a closed terminal): noted at once, obeyed where it is safe."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from bench.pulse import Stopped

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class StopRequest:
    """A context manager: inside it, a signal only sets `signum`, however often it comes.

    Signals that were ignored before (nohup) stay ignored. Outside the main thread it does nothing, because
    only the main thread receives signals.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, Any] = {}
        self._immediate = False

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.getsignal(n) for n in SIGNALS if signal.getsignal(n) != signal.SIG_IGN}
            self._install()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def keep(self) -> Iterator[None]:
        """A block in which no library can replace our signal handlers.

        Handlers that a library sets in C are replaced by ours after the block. ray.init sets a handler for
        SIGTERM that raises SystemExit at any point of the program.
        """
        original: Any = signal.signal

        def refuse(signum: int, handler: Any) -> Any:
            return signal.getsignal(signum) if signum in self._before else original(signum, handler)

        setattr(signal, "signal", refuse)  # noqa: B010  (mypy rejects an assignment)
        try:
            yield
        finally:
            setattr(signal, "signal", original)  # noqa: B010
            self._install()

    def _install(self) -> None:
        for number in self._before:
            signal.signal(number, self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.signum = self.signum or signum
        if self._immediate:
            self._immediate = False
            raise Stopped

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A block that a signal ends at once with Stopped: for long work that may be lost."""
        if self.signum is not None:
            raise Stopped
        self._immediate = True
        try:
            yield
        finally:
            self._immediate = False
