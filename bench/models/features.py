"""Image features of a whole image set: computed once per (weights, images, precision, code) and kept on disk.

If a file is missing or damaged, its features are computed again (`bench.cache`). The folder
(`bench.paths.cache_dir()/features`) may be deleted at any time.
"""

import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from bench import cache as disk
from bench.prompt import Images
from bench.protocols import Backbone, Frozen

BATCH = 128  # images
TRUNK_LIMIT = 1 << 30  # bytes


def features(model: Frozen, images: Images, batch: int = BATCH, keep: bool = True) -> Tensor:
    """Features [N, e] of the images without augmentation, on the CPU, mapped from the disk.

    batch: images that are encoded at once. keep: write what is not there yet; else it is worked out for the
    caller alone. A cache that cannot be used costs time, and there is a warning (bench.cache).
    """
    identity = (_code(), *model.identity, images.key)
    key = hashlib.sha256(repr(identity).encode()).hexdigest()[:32]
    return torch.from_numpy(
        disk.kept("features", key, lambda: _in_batches(model.encode_clean, images, batch).numpy(), keep)
    )


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
    return code_of(Path(__file__).parent.glob("*.py"))


def code_of(files: Iterable[Path]) -> str:
    """A hash of these files and PyTorch's version, because both decide the last digits of the sums."""
    text = b"".join(file.read_bytes() for file in sorted(files))
    return hashlib.sha256(text + torch.__version__.encode()).hexdigest()
