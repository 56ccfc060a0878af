"""Arrays in files that may be deleted at any time. They are written completely, and never read if damaged.

A file is a NumPy array, followed by the sha256 of all bytes before. It is written under another name and then
moved into place. So several processes can write the same file, and no reader sees a part of a file.
"""

import hashlib
import io
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

DIGEST = hashlib.sha256().digest_size


def read(path: Path) -> np.ndarray | None:
    """The array, mapped from the disk; None if the file is missing or damaged.

    The array is writable, as PyTorch requires, but changes are not written to the disk.
    """
    try:
        with path.open("rb") as file:  # opened once, because another process may replace the file meanwhile
            content = np.memmap(file, dtype=np.uint8, mode="c")
            if hashlib.sha256(content[:-DIGEST].data).digest() != content[-DIGEST:].tobytes():
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
    digest = hashlib.sha256(head.getvalue())
    digest.update(array.data)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            temporary = file.name
            for part in (head.getvalue(), array.data, digest.digest()):
                file.write(part)
        os.replace(temporary, path)
    except BaseException:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise
