"""The mini suite's pictures: `render(name)` gives the splits of a data set, which are always the same.

They are kept in the cache. Its folder (`bench.paths.cache_dir()/mini`) may be deleted at any time.
"""

import hashlib
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from bench import cache
from bench.errors import UserError, did_you_mean
from bench.mini.paint import SIZE, paint
from bench.mini.tasks import LOOKS, TASKS

SPLITS = {"train": 64, "val": 500, "test": 1000}  # train: images per class; val and test: images in all
REAL = "mini-digits"  # the one data set of real pictures

Split = tuple[np.ndarray, np.ndarray]  # images uint8 [N, SIZE, SIZE, 3], labels int64 [N]


@lru_cache(maxsize=1)
def key() -> str:
    """A hash of everything that decides the pictures: the code, the masks, and the versions of libraries.

    scikit-learn has the digits; NumPy and PyTorch draw the random numbers.
    """
    files = ("files.py", "glyphs.py", "masks.png", "paint.py", "scenes.py", "tasks.py", "world.py")
    digest = hashlib.sha256(b"".join((Path(__file__).parent / name).read_bytes() for name in files))
    for library in ("numpy", "scikit-learn", "torch"):
        digest.update(f"{library} {version(library)}".encode())
    return digest.hexdigest()[:16]


def names() -> tuple[str, ...]:
    """The names of all data sets of the suite, with the shifted versions."""
    return (*TASKS, REAL)


def render(name: str) -> dict[str, Split]:
    """The splits of a data set: {"train" | "val" | "test": (images uint8 [N, 32, 32, 3], labels int64 [N])}.

    Raises UserError for an unknown name.
    """
    if name not in names():
        raise UserError(f"no mini data set {name!r}. {did_you_mean(name, names())}")
    return {
        split: _split(cache.kept("mini", f"{name}-{split}-{key()}", partial(_rows, name, split)))
        for split in SPLITS
    }


def draw(name: str) -> dict[str, Split]:
    """The same as `render`, without the cache."""
    return {split: _split(_rows(name, split)) for split in SPLITS}


def stream(name: str, seed: int = 0) -> tuple[np.random.Generator, torch.Generator]:
    """Two random streams (of NumPy and PyTorch) that depend only on `name` and `seed`."""
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
    small = torch.from_numpy(digits.images[order])[:, None] / 16  # float64
    # Weights are multiples of 1/8 and grays of 1/16, so every product and sum is exact with any kernel.
    large = torch.nn.functional.interpolate(small, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    images = (large * 255).round().to(torch.uint8).permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()
    labels = digits.target[order].astype(np.int64)
    ends = {"train": (0, 500), "val": (500, 750), "test": (750, len(labels))}
    return {split: (np.ascontiguousarray(images[a:b]), labels[a:b]) for split, (a, b) in ends.items()}


def _rows(name: str, split: str) -> np.ndarray:
    """A split as one structured array [N] with the fields label and image, as the cache keeps it."""
    images, labels = _digits()[split] if name == REAL else _rendered(name, split)
    rows = np.empty(len(labels), [("label", "<i8"), ("image", "u1", images.shape[1:])])
    rows["label"], rows["image"] = labels, images
    return rows


def _split(rows: np.ndarray) -> Split:
    return np.ascontiguousarray(rows["image"]), np.ascontiguousarray(rows["label"])
