"""A data set opened for reading: its split and its images."""

import hashlib
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from bench.data.card import SPLITS, Card
from bench.data.images import FileImages, ImageSet, MemoryImages, View
from bench.data.listing import make_split
from bench.data.readers import read
from bench.data.split import Item, Split
from bench.errors import UserError


class Dataset(Protocol):
    """A data set opened for reading: its split, and an image set of any of its items."""

    split: Split

    def images(
        self, items: Sequence[Item], view: View, keep: bool, device: torch.device | str = "cpu"
    ) -> ImageSet:
        """The image set of these items. keep: hold the decoded images, because they will be read often."""


class RenderedDataset:
    """A data set of the mini suite, rendered by bench.mini.world."""

    def __init__(self, card: Card) -> None:
        world = import_module("bench.mini.world")  # imported only here, because it needs scikit-learn
        assert not isinstance(card.classes, int)  # Card has checked this
        parts = world.render(card.name)
        unknown = set(parts) - set(SPLITS)
        if unknown:
            raise UserError(
                f"{card.name}: bench.mini.world renders the splits {sorted(unknown)}, but only train, val "
                "and test "
                "exist: rename them."
            )
        self._images = {
            name: torch.as_tensor(images).permute(0, 3, 1, 2) for name, (images, _) in parts.items()
        }
        items = {
            name: tuple(Item(f"{name}/{i}", int(label)) for i, label in enumerate(labels))
            for name, (_, labels) in parts.items()
        }
        content = hashlib.sha256(b"".join(self._images[name].numpy().tobytes() for name in sorted(parts)))
        train, val, test = (items.get(name, ()) for name in SPLITS)
        self.split = Split(card.classes, train, val, test, content.hexdigest())
        _check_rendered(card, self.split)
        _compare_with_pin(card, parts)

    def images(
        self, items: Sequence[Item], view: View, keep: bool, device: torch.device | str = "cpu"
    ) -> ImageSet:
        labels = torch.tensor([item.label for item in items], dtype=torch.int64)
        if not items:
            return MemoryImages(
                torch.zeros(0, 3, view.size, view.size, dtype=torch.uint8), labels, view, device
            )
        part = items[0].image.split("/")[0]
        rows = torch.tensor([int(item.image.split("/")[1]) for item in items])
        return MemoryImages(self._images[part][rows], labels, view, device)


class FileDataset:
    """A data set on disk."""

    def __init__(self, card: Card, root: Path) -> None:
        self.folder, listing = read(card, root)
        self.split = make_split(card, listing)

    def images(
        self, items: Sequence[Item], view: View, keep: bool, device: torch.device | str = "cpu"
    ) -> ImageSet:
        return FileImages(self.folder, items, view, keep, device)


def _check_rendered(card: Card, split: Split) -> None:
    for name in SPLITS:
        items, expected = getattr(split, name), getattr(card.images, name)
        if len(items) != expected:
            raise UserError(
                f"{card.name}: the card promises {expected} {name} images, but bench.mini.world renders "
                f"{len(items)}: correct [images] in datasets/{card.name}.toml or bench.mini.world."
            )
        wrong = {item.label for item in items} - set(range(card.n_classes))
        if wrong:
            raise UserError(
                f"{card.name}: labels {sorted(wrong)} in {name} have no class name: add it to the card's "
                "`classes`."
            )


def pictures_sha256(images: np.ndarray, labels: np.ndarray) -> str:
    """sha256 of a rendered split: of its images uint8 [N, S, S, 3], then of its labels, 8 bytes each."""
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels, "<i8").data)
    return digest.hexdigest()


def _compare_with_pin(card: Card, parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Warn if this machine renders other images than the card's sha256 names; all machines should agree.

    It is no error: the run is valid, and its records hold the hash of the images that were used.
    """
    pins = card.images.sha256
    other = [name for name in SPLITS if name in pins and pictures_sha256(*parts[name]) != pins[name]]
    if other:
        warnings.warn(
            f"{card.name}: this machine renders other {', '.join(other)} images than those that "
            f"datasets/{card.name}.toml names, so do not compare its results with published ones: run "
            "`python benchmarks/same_bytes.py` in a checkout and report its output.",
            stacklevel=2,
        )


def open_dataset(card: Card, root: Path) -> Dataset:
    """The data set of this card under this data root. Raises UserError if it is missing or inconsistent."""
    return RenderedDataset(card) if card.reader == "mini" else FileDataset(card, root)
