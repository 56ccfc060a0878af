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
    split: Split

    def images(
        self, items: Sequence[Item], view: View, keep: bool, device: torch.device | str = "cpu"
    ) -> ImageSet:
        """An image set of these items. `keep`: they will be read often, so keep them decoded."""


class RenderedDataset:
    """A data set of the mini suite, rendered by bench.mini.world."""

    def __init__(self, card: Card) -> None:
        world = import_module("bench.mini.world")  # only for its data sets: it needs scikit-learn
        assert not isinstance(card.classes, int)  # the card's own check
        parts = world.render(card.name)
        unknown = set(parts) - set(SPLITS)
        if unknown:
            raise UserError(f"{card.name}: rendered splits {sorted(unknown)} are none of train, val, test.")
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
                f"{card.name}: the card promises {expected} {name} images, the world renders {len(items)}: "
                f"correct [images] in datasets/{card.name}.toml or the world."
            )
        wrong = {item.label for item in items} - set(range(card.n_classes))
        if wrong:
            raise UserError(f"{card.name}: labels {sorted(wrong)} in {name} have no class name on the card.")


def pictures_sha256(images: np.ndarray, labels: np.ndarray) -> str:
    """sha256 of a rendered split: its images uint8 [N, S, S, 3], then its labels, 8 bytes each."""
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels, "<i8").data)
    return digest.hexdigest()


def _compare_with_pin(card: Card, parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Warn where this machine renders other bytes than the card names: they are meant to be the same on all.

    No error: the run is sound, and its records carry the hash of what they were made with.
    """
    pins = card.images.sha256
    other = [name for name in SPLITS if name in pins and pictures_sha256(*parts[name]) != pins[name]]
    if other:
        warnings.warn(
            f"{card.name}: this machine renders other {', '.join(other)} images than those that "
            f"datasets/{card.name}.toml names, so its results do not compare with published ones: run "
            "`python benchmarks/same_bytes.py` in a checkout and report what it prints.",
            stacklevel=2,
        )


def open_dataset(card: Card, root: Path) -> Dataset:
    """The data set of this card under this data root. Raises UserError if it is missing or inconsistent."""
    return RenderedDataset(card) if card.reader == "mini" else FileDataset(card, root)
