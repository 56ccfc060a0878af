"""Image features of a whole image set: computed once per (weights, images, precision, code) and kept on disk.

If a file is missing or damaged, its features are computed again (`bench.cache`). The folder
(`bench.paths.cache_dir()/features`) may be deleted at any time.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench import cache as disk
from bench import paths
from bench.errors import UserError
from bench.prompt import Images
from bench.protocols import Backbone, Frozen

BATCH = 128  # images
TRUNK_LIMIT = 1 << 30  # bytes


def features(model: Frozen, images: Images, batch: int = BATCH, keep: bool = True) -> Tensor:
    """Features [N, e] of the images without augmentation, on the CPU, mapped from the disk.

    batch: images that are encoded at once. keep: write what is not on the disk yet; False: only compute it.
    Raises UserError if the cache folder cannot be written.
    """
    identity = (_code(), *model.identity, images.key)
    key = hashlib.sha256(repr(identity).encode()).hexdigest()[:32]
    path = paths.cache_dir() / "features" / f"{key}.npy"
    shape = (len(images), model.embed_dim)
    kept = _read(path, shape)
    if kept is None:
        made = _in_batches(model.encode_clean, images, batch)
        if not keep:
            return made
        _write(path, made.numpy())
        kept = _read(path, shape)
    if kept is None:  # something changes the files while they are written
        raise UserError(
            f"the feature cache {path.parent} does not keep what is written; set BENCH_CACHE to another "
            "folder"
        )
    return torch.from_numpy(kept)


def trunks(backbone: Backbone, images: Images, batch: int = BATCH, limit: int = TRUNK_LIMIT) -> Tensor | None:
    """The trunks [N, ...] of the images without augmentation, for `backbone.encode_trunk`.

    None if they take more than `limit` bytes. They are not kept on disk: for ViT-B/16 they are 300 times as
    large as the features, and they are computed quickly.
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
    """A hash of this package and PyTorch's version, because both decide the last digits of the sums."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    text = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(text + torch.__version__.encode()).hexdigest()


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array, or None if the file is missing, damaged, or of another shape."""
    kept = disk.read(path)
    return kept if kept is not None and kept.shape == shape else None


def _write(path: Path, array: np.ndarray) -> None:
    try:
        disk.write(path, array)
    except OSError as error:
        raise UserError(
            f"cannot write the feature cache {path.parent} ({error.strerror}); free space, or set "
            "BENCH_CACHE to a folder that can be written"
        ) from error
