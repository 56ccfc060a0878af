"""The mini suite's pictures: `render(name)` gives a data set's splits, always the same, kept in the cache."""

import hashlib
import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.errors import UserError, did_you_mean
from bench.mini.paint import SIZE, paint
from bench.mini.tasks import LOOKS, TASKS
from bench.paths import cache_dir

SPLITS = {"train": 64, "val": 500, "test": 1000}  # train: images a class; val and test: images in all
REAL = "mini-digits"

Split = tuple[np.ndarray, np.ndarray]  # images uint8 [N, SIZE, SIZE, 3], labels int64 [N]


@lru_cache(maxsize=1)
def version() -> str:
    """The key of cached pictures: a hash of the code that draws them, so that no edit leaves stale ones."""
    modules = ("glyphs.py", "scenes.py", "paint.py", "tasks.py", "world.py")
    digest = hashlib.sha256(b"".join((Path(__file__).parent / module).read_bytes() for module in modules))
    return digest.hexdigest()[:12]


def names() -> tuple[str, ...]:
    """Every data set of the suite, shifted versions included."""
    return (*TASKS, REAL)


def render(name: str) -> dict[str, Split]:
    """{"train" | "val" | "test": (images uint8 [N, 32, 32, 3], labels int64 [N])}; UserError if unknown."""
    if name not in names():
        raise UserError(f"no mini data set {name!r}. {did_you_mean(name, names())}")
    path = cache_dir() / "mini" / f"{name}-{version()}.npz"
    if path.exists():
        return _read(path)
    splits = draw(name)
    _write(path, splits)
    return splits


def draw(name: str) -> dict[str, Split]:
    """`render` without the cache."""
    return _digits() if name == REAL else {split: _rendered(name, split) for split in SPLITS}


def stream(name: str, seed: int = 0) -> tuple[np.random.Generator, torch.Generator]:
    """A pair of random streams that only `name` and `seed` determine."""
    digest = hashlib.sha256(f"{name}/{seed}".encode()).digest()
    numbers = np.random.default_rng(int.from_bytes(digest[:16], "little"))
    return numbers, torch.Generator().manual_seed(int.from_bytes(digest[16:24], "little") >> 1)


def _rendered(name: str, split: str) -> Split:
    task = TASKS[name]
    rng, generator = stream(f"{name}/{split}")
    n = SPLITS[split] * (task.classes if split == "train" else 1)
    scenes, labels = task.scenes(rng, n)
    return LOOKS[task.look](paint(scenes, generator)), labels


def _digits() -> dict[str, Split]:
    """scikit-learn's 1,797 handwritten digits, 8x8 in 17 grays, white on black, enlarged bilinearly."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = stream("mini-digits")[0].permutation(len(digits.target))
    small = torch.from_numpy(digits.images[order]).float()[:, None] / 16
    large = torch.nn.functional.interpolate(small, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    images = (large * 255).round().to(torch.uint8).permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()
    labels = digits.target[order].astype(np.int64)
    ends = {"train": (0, 500), "val": (500, 750), "test": (750, len(labels))}
    return {split: (np.ascontiguousarray(images[a:b]), labels[a:b]) for split, (a, b) in ends.items()}


def _read(path: Path) -> dict[str, Split]:
    with np.load(path) as file:
        return {split: (file[f"{split}_images"], file[f"{split}_labels"]) for split in SPLITS}


def _write(path: Path, splits: dict[str, Split]) -> None:
    """Write whole or not at all: other processes may be rendering the same data set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {f"{split}_images": images for split, (images, _) in splits.items()}
    arrays |= {f"{split}_labels": labels for split, (_, labels) in splits.items()}
    handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".npz.part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
