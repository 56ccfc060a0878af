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
    """A data set's fixed division. Labels are 0 .. C-1 without gaps; `classes` is in label order."""

    classes: tuple[str, ...]
    train: tuple[Item, ...]
    val: tuple[Item, ...]
    test: tuple[Item, ...]
    # sha256 of the images themselves, for rendered sets: a name alone would not identify their images
    content: str = ""

    @property
    def hash(self) -> str:
        """sha256 of class names, image names, labels and their order (and of the images, if rendered)."""
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
    """CoOp's few-shot draw: `shots` training images a class, then min(shots, 4) validation images a class.

    Repeats Dassl's `generate_fewshot_dataset` (`repeat=False`, as in its current version) called by CoOp's
    data sets after `random.seed(seed)`: one generator for both splits, classes in order of first
    appearance, `sample` for a class with enough images, all of them (and no draw) for a smaller one.
    Releases of Dassl before that default drew with replacement for classes smaller than `shots`. That draw
    takes numbers from the same generator, so such a class and every class after it can differ from runs made
    with them.

    shuffled: lengths of lists that the official loader shuffles on the same generator before the draw, in
    its order (see `loader_shuffles`). What is shuffled does not matter; how many numbers are taken does.
    """
    rng = random.Random(seed)
    for length in shuffled:
        rng.shuffle(list(range(length)))
    drawn = _sample(train, shots, rng)  # train before val: the order decides what the generator yields
    return drawn, _sample(val, min(shots, 4), rng)


def loader_shuffles(split: Split) -> list[int]:
    """Lengths of the lists that SVHN's official loader shuffles before the draw, in its order.

    The loader of BlackVIP's and ZIP's repositories (datasets/svhn.py) divides the image folders anew in every
    run, also where the split file is there: class by class it shuffles all training images, which the split
    shares out to train and val, and then the test images.
    """
    tuned = Counter(item.label for item in (*split.train, *split.val))
    scored = Counter(item.label for item in split.test)
    return [count[label] for label in range(len(split.classes)) for count in (tuned, scored)]


def _sample(items: Sequence[Item], shots: int, rng: random.Random) -> tuple[Item, ...]:
    by_class: dict[int, list[Item]] = {}  # insertion order = order of first appearance
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
