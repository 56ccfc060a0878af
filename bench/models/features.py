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
from bench.protocols import Frozen

BATCH = 128  # images


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
