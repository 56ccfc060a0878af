"""Files that come from elsewhere: read here alone, and every way in which that fails is one line.

Nobody knows what lies under a name: nothing, a link to nothing, a pipe that never ends, an ancient encoding,
JSON that is nested without end.
"""

import json
import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.errors import UserError

MOST = 2 << 30  # bytes that one file may have: far more than a split file or a record has
WAITS = getattr(os, "O_NONBLOCK", 0)  # without it, opening a pipe waits for a writer


class Absent(UserError, FileNotFoundError):
    """There is no such file."""


def read_bytes(path: Path) -> bytes:
    """What a regular file holds. Raises Absent, or UserError with the path and the reason."""
    with refusing(f"cannot read {shown(path)}"), open(path, "rb", opener=_open) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise UserError(f"cannot read {shown(path)}: it is no regular file.")
        if found.st_size > MOST:
            raise UserError(f"cannot read {shown(path)}: it has {found.st_size:,} bytes, more than {MOST:,}.")
        return file.read()


def read_text(path: Path) -> str:
    """The same as text in UTF-8, without a byte-order mark; every line ends with a single line feed."""
    data = read_bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        guess = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "Latin-1 or Windows-1252, perhaps"
        raise UserError(f"{shown(path)} is not in UTF-8 (line {line}; {guess}): save it as UTF-8.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path) -> Any:
    """The JSON value that a file holds. Raises Absent or UserError."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a whole number of thousands of digits
        why = stand_in(text.encode()) or f"not valid JSON ({reason(error)}): download it again"
        raise UserError(f"{shown(path)} is {why}.") from error


@contextmanager
def refusing(what: str, remedy: str = "") -> Iterator[None]:
    """What the system or a library refuses becomes a UserError: '{what}: why. {remedy}'."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise Absent(f"{what}: {reason(error)}.{remedy and ' ' + remedy}") from error
    except (OSError, ValueError, RecursionError, OverflowError, MemoryError) as error:
        raise UserError(f"{what}: {reason(error)}.{remedy and ' ' + remedy}") from error


def reason(error: BaseException) -> str:
    """Why something was refused, on one line of at most 200 characters, without a full stop."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return shown(" ".join(text.split()))[:200].rstrip(". ")


def stand_in(data: bytes) -> str:
    """What a file is that lies in another one's place, with the remedy; "" where it is none that we know."""
    start = data[:400].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, which only names the file: run `git lfs pull` where it comes from"
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return (
            "a web page (HTML): its link leads to a page, so download the file itself, in a browser perhaps"
        )
    if start.startswith(b"<?xml"):
        return "an XML answer of a server: download the file itself"
    return ""


def shown(text: object) -> str:
    """A path or a text as it can be printed everywhere: what is not printable is escaped."""
    return "".join(
        one if one.isprintable() or unicodedata.category(one) == "Zs" else ascii(one)[1:-1]
        for one in str(text)
    )


def below(folder: Path, ending: str) -> list[Path]:
    """The files under a folder whose names end so, sorted, without hidden ones; links are followed.

    Each folder is read once, so that a link to a folder above is no endless way. A link to nothing is listed:
    whoever reads it says so.
    """
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        with suppress(OSError):
            about = os.stat(place)
            if (about.st_dev, about.st_ino) in seen:
                folders.clear()
                continue
            seen.add((about.st_dev, about.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in files if name.endswith(ending) and not name.startswith(".")]
    return sorted(found)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | WAITS)
