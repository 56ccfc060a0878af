"""Features of augmented images, kept on disk for the other methods that see the same crops.

The stream of crops depends on the data set, the seed and the batch size, but not on the method. So every
method whose prompts leave the images as they are needs the same features of the same crops. A file holds one
batch. It is found by everything that decides its numbers: weights, precision, code, images, crops.

These features are computed while a method runs, which could disturb them. So they are written only after the
method has ended and its process was found unchanged, and only if some of them, drawn at random, are the same
to the byte when they are computed again.
"""

import hashlib
import warnings
from collections.abc import Iterable
from functools import cache
from math import ceil
from pathlib import Path
from random import SystemRandom

import torch
from torch import Tensor

from bench import cache as disk
from bench.models.features import code_of
from bench.protocols import Augmented, Frozen

KIND = "augmented"  # the folder in the cache
CHECKED = 20  # one batch of so many is computed again
PENDING = 1 << 30  # bytes of new features that are held while a method runs


class AugmentedFeatures:
    """limit: bytes of all files together, of which those used longest ago are removed; 0: nothing is kept."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.forget()

    def forget(self) -> None:
        """Drop what is new and not written."""
        self._new: dict[str, tuple[Frozen, Augmented, Tensor]] = {}
        self._held = 0

    def get(self, model: Frozen, batch: Augmented) -> Tensor:
        """[B, width] features of a batch of crops: from the cache, or computed."""
        if not self.limit:
            return model.encode_crops(batch.images)
        key = _key(model, batch)
        if key in self._new:
            return self._new[key][2]
        found = disk.find(KIND, key)
        if found is not None:
            return torch.from_numpy(found)
        made = model.encode_crops(batch.images)
        if self._held + made.nbytes <= min(self.limit, PENDING):
            self._new[key] = (model, batch.twin(), made.cpu())
            self._held += made.nbytes
        return made

    @torch.no_grad()
    def write(self) -> None:
        """Write what is new. There is a warning if features are not the same, or the cache cannot be used."""
        new = self._new
        self.forget()
        if not new:
            return
        chosen = SystemRandom().sample(sorted(new), ceil(len(new) / CHECKED))
        if not all(_again(*new[key]) for key in chosen):
            warnings.warn(
                "features of augmented images were other ones when they were computed again after the method "
                "had ended, so they are not kept: run `bench check` on the method",
                stacklevel=2,
            )
            return
        disk.keep_all(KIND, {key: made.numpy() for key, (_, _, made) in new.items()}, self.limit)


def _again(model: Frozen, batch: Augmented, made: Tensor) -> bool:
    return torch.equal(model.encode_crops(batch.images).cpu(), made)


def _key(model: Frozen, batch: Augmented) -> str:
    identity = (_code(), *model.identity, batch.key)
    return hashlib.sha256(repr(identity).encode()).hexdigest()[:32]


@cache
def _code() -> str:
    """A hash of the code that crops images and encodes them."""
    here = Path(__file__).parent
    cropping: Iterable[Path] = (here.parent / "data" / name for name in ("crop.py", "images.py"))
    return code_of([*here.glob("*.py"), *cropping])
