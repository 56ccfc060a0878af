"""Image features of a whole image set: computed once per (weights, images, precision, code), kept on disk.

A file is a NumPy array and, behind it, the sha256 of its bytes. It is written whole under another name and
then moved into place, so that writers may race and readers never see half a file; one that is damaged all the
same is computed again. The folder (`bench.paths.cache_dir()/features`) may be deleted at any time.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench import paths
from bench.errors import UserError
from bench.prompt import Images
from bench.protocols import Backbone, Frozen

BATCH = 128
TRUNK_LIMIT = 1 << 30  # bytes
DIGEST = hashlib.sha256().digest_size


def features(model: Frozen, images: Images, batch: int = BATCH) -> Tensor:
    """Features [N, e] of the clean images, on the CPU, mapped from the disk.

    Raises UserError when the cache folder cannot be written.
    """
    identity = (_code(), *model.identity, images.key)
    key = hashlib.sha256(repr(identity).encode()).hexdigest()[:32]
    path = paths.cache_dir() / "features" / f"{key}.npy"
    shape = (len(images), model.embed_dim)
    kept = _read(path, shape)
    if kept is None:
        _write(path, _in_batches(model.encode_clean, images, batch).numpy())
        kept = _read(path, shape)
    if kept is None:  # someone damages the files as we write them
        raise UserError(
            f"the feature cache {path.parent} does not keep what is written; set BENCH_CACHE elsewhere"
        )
    return torch.from_numpy(kept)


def trunks(backbone: Backbone, images: Images, batch: int = BATCH, limit: int = TRUNK_LIMIT) -> Tensor | None:
    """The trunks [N, ...] of the clean images, for `backbone.encode_trunk`; None if over `limit` bytes.

    In memory only: for ViT-B/16 they are 300 times as large as the features, and quickly computed.
    """
    with torch.no_grad():
        one = backbone.trunk(images.pixels(torch.zeros(1, dtype=torch.long)))
    if one.nbytes * len(images) > limit:
        return None
    return _in_batches(backbone.trunk, images, batch)


@torch.no_grad()
def _in_batches(encode: Callable[[Tensor], Tensor], images: Images, batch: int) -> Tensor:
    parts = torch.arange(len(images)).split(batch)
    return torch.cat([encode(images.pixels(part)).cpu() for part in parts])


@cache
def _code() -> str:
    """What computes: this package and PyTorch. Another order of the same sums moves the last digits."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    text = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(text + torch.__version__.encode()).hexdigest()


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array, or None when the file is missing, damaged, or of another shape."""
    try:
        with path.open("rb") as file:  # opened once: another writer may move its own file here meanwhile
            file.seek(-DIGEST, os.SEEK_END)
            digest = file.read()
            file.seek(0)
            np.lib.format.read_magic(file)
            kept, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            if kept != shape or fortran:
                return None
            # c, copy on write: PyTorch wants memory it may write to, and the disk must not change
            array = np.memmap(file, dtype=dtype, mode="c", offset=file.tell(), shape=shape)
    except (OSError, ValueError, EOFError):
        return None
    return array if hashlib.sha256(array.data).digest() == digest else None


def _write(path: Path, array: np.ndarray) -> None:
    array = np.ascontiguousarray(array)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            temporary = file.name
            np.save(file, array)
            file.write(hashlib.sha256(array.data).digest())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise UserError(
            f"cannot write the feature cache {path.parent} ({error.strerror}); free space, or set "
            "BENCH_CACHE to a folder that can be written"
        ) from error
