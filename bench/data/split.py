"""Which images belong to train, val and test; CoOp's few-shot sampling; base and new classes."""

import hashlib
import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Item(NamedTuple):
    """One labelled image of a split."""

    image: str  # path inside the data set's image folder, or "train/17" in a rendered data set
    label: int


@dataclass(frozen=True)
class Split:
    """The fixed division of a data set. Labels are 0 .. C-1 without gaps; `classes` is in label order."""

    classes: tuple[str, ...]
    train: tuple[Item, ...]
    val: tuple[Item, ...]
    test: tuple[Item, ...]
    # sha256 of the images themselves, for rendered data sets: their names do not identify the images
    content: str = ""

    @property
    def hash(self) -> str:
        """sha256 of class names, image names, labels and their order (and of rendered images themselves)."""
        digest = hashlib.sha256(repr((self.classes, self.content)).encode())
        for part in (self.train, self.val, self.test):
            digest.update(repr([tuple(item) for item in part]).encode())
        return digest.hexdigest()


def few_shot(
    train: Sequence[Item],
    val: Sequence[Item],
    shots: int,
    seed: int,
    shuffled: Iterable[int] = (),
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """CoOp's few-shot draw: per class `shots` training images, then min(shots, 4) validation images.

    This repeats Dassl's `generate_fewshot_dataset` (`repeat=False`, as in its current version), which CoOp's
    data sets call after `random.seed(seed)`: one generator for both splits, classes in the order of their
    first appearance, `sample` for a class with enough images, and all images (without a draw) for a smaller
    class. Older releases of Dassl drew with replacement from classes smaller than `shots`. Such a draw takes
    numbers from the same generator, so this class and every class after it can differ from runs made with
    those releases.

    shuffled: lengths of the lists that the official loader shuffles with the same generator before the draw,
    in its order (see `loader_shuffles`). Only the lengths matter, because they decide how many random numbers
    are taken.
    """
    rng = random.Random(seed)
    for length in shuffled:
        rng.shuffle(list(range(length)))
    drawn = _sample(train, shots, rng)  # train before val: the order decides what the generator yields
    return drawn, _sample(val, min(shots, 4), rng)


def loader_shuffles(split: Split) -> list[int]:
    """Lengths of the lists that SVHN's official loader shuffles before the draw, in its order.

    The loader of BlackVIP's and ZIP's repositories (datasets/svhn.py) divides the image folders again in
    every run, even if the split file exists. For each class it shuffles all training images (those of train
    and val together), and then the test images.
    """
    tuned = Counter(item.label for item in (*split.train, *split.val))
    scored = Counter(item.label for item in split.test)
    return [count[label] for label in range(len(split.classes)) for count in (tuned, scored)]


def _sample(items: Sequence[Item], shots: int, rng: random.Random) -> tuple[Item, ...]:
    by_class: dict[int, list[Item]] = {}  # classes in the order of their first appearance
    for item in items:
        by_class.setdefault(item.label, []).append(item)
    chosen: list[Item] = []
    for group in by_class.values():
        chosen += rng.sample(group, shots) if len(group) >= shots else group
    return tuple(chosen)


def base_and_new(n_classes: int) -> tuple[range, range]:
    """Labels of the base half (the first ceil(C / 2)) and of the new half (CoCoOp, sec. 4.1)."""
    middle = math.ceil(n_classes / 2)
    return range(middle), range(middle, n_classes)


def only(items: Sequence[Item], labels: range) -> tuple[Item, ...]:
    """The items of these classes, relabelled from 0."""
    return tuple(Item(image, label - labels.start) for image, label in items if label in labels)
