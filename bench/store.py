"""The records on disk: one JSON file per cell, written completely or not at all. The folder has no index."""

import json
import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from time import sleep
from typing import Any, Literal

from bench.cell import PROTOCOLS, Cell
from bench.errors import UserError
from bench.files import below, shown
from bench.record import Expected, Malformed, Record, dump, read

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK, PROBED = ".lock", ".probe"
PROBE = 1 << 20  # bytes that must fit on the disk before a run starts: the size of a few dozen records

Status = Literal["done", "failed", "stale", "damaged", "missing"]


class Store:
    """A results folder. Reading needs no lock; a writer must hold `lock()`."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    # Reading

    def path(self, cell: Cell) -> Path:
        """The path of the record of `cell`."""
        return self.root / cell.path

    def read(self, cell: Cell) -> Record:
        """The record of `cell`. Raises UserError if it is damaged, FileNotFoundError if it does not exist."""
        return _read(self.path(cell))

    def records(self) -> Iterator[Record]:
        """All records, in the order of their paths. Raises UserError at the first damaged one."""
        for path in below(self.root, ".json"):
            yield _read(path)

    def status(self, cell: Cell, expected: Expected) -> Status:
        """The status of `cell`. A record that does not agree with `expected` is stale, not done."""
        try:
            record = self.read(cell)
        except FileNotFoundError:
            return "missing"
        except UserError:
            return "damaged"
        if not record.ok:
            return "failed"
        return "stale" if record.cell != cell or expected.differences(record) else "done"

    # Writing

    def write(self, record: Record) -> Path:
        """Write one record, and before it its transcript if it has one.

        Readers see the old file or the new one, even after a crash.

        Raises UserError if it cannot be written (the old record stays), ValueError for NaN and infinity.
        """
        path = self.path(record.cell)
        text = dump(record)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            transcript = record.transcript.encode()
            if record.chat is not None and record.chat.sha256 == sha256(transcript).hexdigest():
                write_whole(path.with_name(record.chat.file), transcript)
            write_whole(path, text.encode())
        except OSError as error:
            raise UserError(
                f"cannot write {path}: {error.strerror or error}. Finished records are kept: make room or "
                "correct the permissions, then run the same command again."
            ) from error
        return path

    @contextmanager
    def lock(self) -> Iterator[None]:
        """The right to write while the block runs. First, a test file shows that the disk takes records.

        Raises UserError if another driver has the lock (the message names its pid and host), or if nothing
        can be written: the folder is read-only or the disk is full. Files of killed writers are removed.
        """
        lock = self.root / LOCK
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            handle = _acquire(lock)
            try:
                for leftover in _leftovers(self.root):
                    leftover.unlink()
                write_whole(self.root / PROBED, bytes(PROBE))
                (self.root / PROBED).unlink()
            except BaseException:
                _release(handle, lock)
                raise
        except UserError:
            raise
        except (OSError, ValueError) as error:  # ValueError: a name that no system takes
            raise UserError(
                f"cannot write to the results folder {shown(self.root)}: "
                f"{getattr(error, 'strerror', None) or error}. Make room, "
                "correct the permissions, or name another folder with --results."
            ) from error
        try:
            yield
        finally:
            _release(handle, lock)


def _read(path: Path) -> Record:
    """The record in a file. Raises UserError with the path and what to do, or FileNotFoundError."""
    try:
        return read(path)
    except FileNotFoundError:
        raise
    except Malformed as error:
        raise UserError(f"{path} is damaged ({error}). Delete it and run its cell again.") from error
    except UserError as error:
        raise UserError(f"{error} Correct that, then run the same command again.") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path`, through a temporary file beside it. If it raises OSError, no file is left."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a killed process with this id; what it links to stays as it is
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # some file systems cannot sync a folder; the record is in place all the same
        _sync_folder(path.parent)


def _leftovers(root: Path) -> Iterator[Path]:
    """What killed writers left below a results folder: files that `write_whole` names, where it puts them.

    Links are not followed, and other people's temporary files are not touched.
    """
    ours = re.compile(r"\..+\.jsonl?\.\d+\.tmp")
    yield from _plain(root, re.compile(rf"{re.escape(PROBED)}\.\d+\.tmp"))
    for suite in _folders(root):
        for protocol in _folders(suite):
            if protocol.name in PROTOCOLS:
                for row in (row for dataset in _folders(protocol) for row in _folders(dataset)):
                    yield from _plain(row, ours)


def _plain(folder: Path, name: re.Pattern[str]) -> list[Path]:
    """The regular files of a folder with such a name."""
    with os.scandir(folder) as entries:
        return [Path(e.path) for e in entries if name.fullmatch(e.name) and e.is_file(follow_symlinks=False)]


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# The lock. The kernel releases an flock when its holder dies, so a lock cannot outlive a driver. On a file
# system without flock, the pid in the file shows whether the holder still runs.


def _acquire(path: Path) -> int:
    """The open, locked lock file. Raises UserError if another process holds it, or if it is no plain file.

    A link is not followed: whatever it names would be overwritten.
    """
    while True:
        if path.is_symlink():
            raise UserError(f"{path} is a link, and no lock file of ours: delete it.")
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
                raise UserError(f"{path} is no plain file, and no lock file of ours: delete it.")
            if _taken(handle, path):
                raise UserError(
                    f"{path.parent} is in use by {_holder_words(path)}. Wait for it, stop it, or name "
                    f"another folder with --results. (If it no longer runs, delete {path}.)"
                )
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                os.ftruncate(handle, 0)
                os.write(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
                return handle
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its holder removed the file between our open and our flock: try again


def _release(handle: int, path: Path) -> None:
    path.unlink(missing_ok=True)  # before the lock is released: an existing file means a held lock
    os.close(handle)


def _taken(handle: int, path: Path) -> bool:
    """Take the lock unless another process has it. Returns whether another process has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except (OSError, AttributeError):
        return _alive(_holder(path))


def _holder(path: Path) -> dict[str, Any]:
    """The content of the lock file: {"pid", "host"}, or {} while its holder is still writing it."""
    try:
        holder = dict(json.loads(path.read_bytes()))
        return {"pid": int(holder["pid"]), "host": str(holder["host"])}
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return {}


def _holder_words(path: Path) -> str:
    for _ in range(20):  # the holder may have the lock but not have written its pid yet
        if holder := _holder(path):
            return f"another driver, pid {holder.get('pid')} on {holder.get('host')}"
        sleep(0.05)
    return "another driver"


def _alive(holder: dict[str, Any]) -> bool:
    """Whether a holder still runs. A holder on another host counts as running."""
    if not holder or holder.get("host") != socket.gethostname():
        return bool(holder)
    try:
        os.kill(holder["pid"], 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
