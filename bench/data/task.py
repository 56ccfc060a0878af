"""load_task: what one cell trains on and is scored on, for each of the four protocols."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.cell import ELSEWHERE, PROTOCOLS, SCORES
from bench.data.card import Card, joint_hash, load_card
from bench.data.dataset import Dataset, open_dataset
from bench.data.images import ImageSet, View
from bench.data.split import Item, base_and_new, few_shot, loader_shuffles, only
from bench.errors import UserError, did_you_mean
from bench.paths import data_root


@dataclass(frozen=True)
class TestSet:
    """The images and classes that a prompt is scored on. Labels index `classes`."""

    __test__ = False  # pytest must not collect this class because of its name

    name: str
    classes: tuple[str, ...]
    template: str
    images: ImageSet


@dataclass(frozen=True)
class Task:
    """What a method trains on, and the test sets, which it must not see. Labels index `classes`."""

    name: str
    classes: tuple[str, ...]  # class names, with spaces for underscores
    template: str
    train: ImageSet  # `shots` images per class
    val: ImageSet  # min(shots, 4) images per class; empty if the data set has no validation split
    tests: dict[str, TestSet]  # keys: "test", or "base" and "new", or the names of the target data sets
    split_hash: str
    card_hash: str


def load_task(
    dataset: str,
    protocol: str,
    seed: int,
    shots: int,
    view: View,
    root: Path | str | None = None,
    score: str = "test",
    targets: Sequence[str] = (),
    device: torch.device | str = "cpu",
) -> Task:
    """The task of one cell.

    dataset: the data set to tune on. protocol: one of PROTOCOLS. seed: of the few-shot draw. shots: training
    images per class. view: how the backbone wants its images. root: the data root (default: BENCH_DATA, else
    ./data). score: "test", or "val" to score on the validation split. targets: the data sets to score on, for
    "cross-dataset" and "ood"; `dataset` may be one of them. device: of the pixels and crops.

    Raises UserError for an unknown name, for data that is missing or contradicts its card, and for a
    validation split that does not exist.
    """
    if protocol not in PROTOCOLS:
        raise UserError(f"no protocol {protocol!r}. {did_you_mean(protocol, PROTOCOLS)}")
    if score not in SCORES:
        raise UserError(f"score is {score!r}, but must be 'test' or 'val'.")
    if shots < 1:
        raise UserError(f"shots is {shots}, but must be at least 1.")
    elsewhere = protocol in ELSEWHERE
    if elsewhere != bool(targets):
        need = "needs at least one target data set" if elsewhere else "takes no target data sets"
        raise UserError(f"protocol {protocol!r} {need}.")

    loader = _Loader(view, Path(root) if root else data_root(), score, device)
    card, opened = loader.open(dataset)
    split = opened.split
    shuffled = loader_shuffles(split) if card.shuffled else ()
    # The draw comes before the classes are halved, as in CoOp.
    train, val = few_shot(split.train, split.val, shots, seed, shuffled)
    if not train:
        raise UserError(
            f"{dataset} has no training images, so no method can be tuned on it: use it only as a target."
        )
    classes = split.classes
    if elsewhere:
        tests = {name: loader.test(name) for name in targets}
    elif protocol == "few-shot":
        tests = {"test": loader.test(dataset)}
    else:
        base, new = base_and_new(len(classes))
        tests = {"base": loader.test(dataset, base), "new": loader.test(dataset, new)}
        train, val, classes = only(train, base), only(val, base), classes[: base.stop]
    return Task(
        name=dataset,
        classes=words(classes),
        template=card.template,
        train=opened.images(train, view, keep=True, device=device),
        val=opened.images(val, view, keep=True, device=device),
        tests=tests,
        split_hash=joint_hash(one.split.hash for _, one in loader.opened.values()),
        card_hash=joint_hash(card.hash for card, _ in loader.opened.values()),
    )


class _Loader:
    """Opens each data set of a task once."""

    def __init__(self, view: View, root: Path, score: str, device: torch.device | str) -> None:
        self.view, self.root, self.score, self.device = view, root, score, device
        self.opened: dict[str, tuple[Card, Dataset]] = {}

    def open(self, name: str) -> tuple[Card, Dataset]:
        if name not in self.opened:
            card = load_card(name)
            self.opened[name] = card, open_dataset(card, self.root)
        return self.opened[name]

    def test(self, name: str, labels: range | None = None) -> TestSet:
        """The test images of the classes `labels`, relabelled from 0.

        labels: None for all classes. With score="val" these are the images of the whole validation split.
        """
        card, opened = self.open(name)
        split = opened.split
        items: tuple[Item, ...] = split.test if self.score == "test" else split.val
        if not items:
            raise UserError(f"{name} has no validation images: score on test images (--score test).")
        labels = range(len(split.classes)) if labels is None else labels
        images = opened.images(only(items, labels), self.view, keep=False, device=self.device)
        return TestSet(name, words(split.classes[labels.start : labels.stop]), card.template, images)


def words(classes: Sequence[str]) -> tuple[str, ...]:
    """Class names as a text tower reads them, with spaces for underscores."""
    return tuple(name.replace("_", " ") for name in classes)
