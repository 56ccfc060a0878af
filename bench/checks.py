"""What is wrong with a task before it runs: pictures that cannot be read, classes that read the same.

`faults` keep a cell from running; `notes` are said, and the cell runs.
"""

from collections.abc import Iterator

import numpy as np
import torch

from bench import cache
from bench.data.card import load_card, spoken
from bench.data.images import FileImages, ImageSet
from bench.data.task import Task
from bench.data.texts import cut_by, same_to
from bench.errors import UserError, brief
from bench.models import Backbone
from bench.words import counted


def faults(task: Task, model: Backbone | None) -> Iterator[str]:
    """Everything that keeps a prompt from being tuned or scored on this task, one line each.

    model: None if it is behind an address; then its text tower is not here to be looked at.
    """
    for images in (task.train, *(test.images for test in task.tests.values())):
        try:
            decodes(images)
        except UserError as error:
            yield f"{task.name}: {error}"
    if model is None:
        return
    for test in task.tests.values():
        texts = [test.template.format(name) for name in test.classes]
        for one, other in same_to(model.tokenizer, texts):
            first, second = test.classes[one], test.classes[other]
            if spoken(first) == spoken(second) in map(spoken, _shared(test.name, task.name)):
                continue  # the data set has two classes of this name
            yield (
                f"{task.name}: the classes {brief(first)} and {brief(second)} read the same to the text "
                f"tower of {model.name}, which takes {model.context_length} tokens: shorten or correct them"
            )


def notes(task: Task, model: Backbone | None, shots: int) -> Iterator[str]:
    """What a reader of the results has to know, one line each. model: as of `faults`."""
    counts = torch.bincount(task.train.labels, minlength=len(task.classes))
    fewer = (counts < shots).nonzero().flatten().tolist()
    if fewer:
        name, has = brief(task.classes[fewer[0]]), int(counts[fewer[0]])
        more = counted(len(fewer) - 1, "more class has", "more classes have")
        others = f", and {more} fewer, too" if len(fewer) > 1 else ""
        asked = counted(shots, "shot is asked for", "shots are asked for")
        yield f"{task.name}: {asked}, but class {name} has {counted(has, 'image')}{others}"
    if model is None:
        return
    for test in task.tests.values():
        texts = [test.template.format(name) for name in test.classes]
        if longer := cut_by(model.tokenizer, texts, model.context_length):
            said = counted(len(longer), "text is", "texts are")
            yield (
                f"{task.name}: {said} longer than the {model.context_length} tokens that {model.name} reads, "
                f"which cuts off the rest, e.g. {brief(longer[0])}"
            )


def decodes(images: ImageSet) -> None:
    """Raise UserError if an image of a set on disk cannot be decoded; that all can is kept in the cache."""
    if not isinstance(images, FileImages) or not len(images):
        return

    def look() -> np.ndarray:
        if broken := images.broken():
            raise UserError(f"{len(broken)} of {len(images)} images cannot be decoded, e.g. {broken[0]}")
        return np.array([len(images)])

    cache.kept("decoded", images.key, look)


def _shared(*names: str) -> Iterator[str]:
    for name in dict.fromkeys(names):
        try:
            yield from load_card(name).shared_names
        except UserError:  # a test set of a protocol has no card of its own
            continue
