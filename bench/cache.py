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
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from bench.files import WAITS, reason
from bench.paths import cache_dir

DIGEST = hashlib.sha256().digest_size


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
