"""Arrays in files that may be deleted at any time. They are written completely, and never read if damaged.

A file is a NumPy array and, behind it, the sha256 of its name and of all before. Its name says what is in it,
so another array under this name is damage, too. It is written under another name, synced and then moved into
place, so that writers may race and readers never see half a file, whenever the power fails.
"""

import hashlib
import io
import os
import stat
import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from bench.files import WAITS, reason
from bench.paths import cache_dir

DIGEST = hashlib.sha256().digest_size
OVERHEAD = 256  # bytes of a file beside its array, at most


def kept(kind: str, key: str, make: Callable[[], np.ndarray], write_new: bool = True) -> np.ndarray:
    """The array that `make` gives: from the cache, or made and, if `write_new`, written for the next time.

    kind: the folder in the cache. key: names all that decides the array. Missing and damaged files are made
    again; a cache that cannot be used costs time, and there is a warning.
    """
    try:
        path = cache_dir() / kind / f"{key}.npy"
    except RuntimeError as error:  # there is no home folder
        _warn(f"there is no place for the {kind} cache ({reason(error)})")
        return make()
    found = read(path)
    if found is not None:
        return found
    made = make()
    if write_new:
        try:
            write(path, made)
        except (OSError, ValueError) as error:  # ValueError: a name that no system takes
            _warn(f"cannot write the {kind} cache {path.parent} ({reason(error)})")
            return made
        found = read(path)  # mapped from the disk, so that all processes share it
    return made if found is None else found


def find(kind: str, key: str) -> np.ndarray | None:
    """The array that is kept under this key; None if it is missing or damaged. It counts as used now."""
    try:
        path = cache_dir() / kind / f"{key}.npy"
    except RuntimeError:  # there is no home folder
        return None
    found = read(path)
    if found is not None:
        with suppress(OSError):
            os.utime(path)
    return found


def keep_all(kind: str, arrays: Mapping[str, np.ndarray], limit: int) -> None:
    """Write arrays by key, while all files of this kind take at most `limit` bytes.

    Files that were used longest ago make room. Of arrays that do not fit together, the first ones are kept.
    A cache that cannot be used is a warning.
    """
    sizes = accumulate(array.nbytes + OVERHEAD for array in arrays.values())
    fitting = [key for key, size in zip(arrays, sizes, strict=True) if size <= limit]
    if not fitting:
        return
    try:
        folder = cache_dir() / kind
        _make_room(folder, limit - sum(arrays[key].nbytes + OVERHEAD for key in fitting))
        for key in fitting:
            write(folder / f"{key}.npy", arrays[key])
    except (RuntimeError, OSError, ValueError) as error:
        _warn(f"cannot write the {kind} cache ({reason(error)})")


def _make_room(folder: Path, limit: int) -> None:
    """Remove the files that were used longest ago, until the others take at most `limit` bytes."""
    found = []
    for path in folder.glob("*") if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # another process removed it
            found.append((path.lstat(), path))
    files = sorted((one for one in found if stat.S_ISREG(one[0].st_mode)), key=lambda one: one[0].st_mtime_ns)
    held = sum(about.st_size for about, _ in files)
    for about, path in files:
        if held <= limit:
            return
        path.unlink(missing_ok=True)
        held -= about.st_size


def _warn(what: str) -> None:
    advice = "free space, or set BENCH_CACHE to a folder that can be written"
    warnings.warn(f"{what}, so its content is made again each time: {advice}", stacklevel=3)


def read(path: Path) -> np.ndarray | None:
    """The array, mapped from the disk; None if the file is missing or damaged.

    The array is writable, as PyTorch requires, but changes are not written to the disk.
    """
    try:
        # opened once: another writer may move its own file here meanwhile
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | WAITS)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            content = np.memmap(file, dtype=np.uint8, mode="c")
            digest = hashlib.sha256(path.name.encode())
            digest.update(content[:-DIGEST].data)
            if digest.digest() != content[-DIGEST:].tobytes():
                return None
            file.seek(0)
            npy.read_magic(file)
            shape, _, dtype = npy.read_array_header_1_0(file)
            return content[file.tell() : -DIGEST].view(dtype).reshape(shape)
    except (OSError, ValueError):
        return None


def write(path: Path, array: np.ndarray) -> None:
    """Write the whole array or nothing. Raises OSError if that is impossible."""
    array = np.ascontiguousarray(array)
    head = io.BytesIO()
    npy.write_array_header_1_0(head, npy.header_data_from_array_1_0(array))
    digest = hashlib.sha256(path.name.encode() + head.getvalue())
    digest.update(array.data)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            temporary = file.name
            for part in (head.getvalue(), array.data, digest.digest()):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise
