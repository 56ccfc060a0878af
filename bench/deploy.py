"""How a deployed prompt answers: what is sent for it, and what its caller computes from the answers."""

from collections.abc import Callable

import torch
from torch import Tensor

from bench import exact
from bench.loader import Sample
from bench.predictor import Predictor
from bench.prompt import Prompt


def deployed(
    prompt: Prompt, predictor: Predictor, classes: tuple[str, ...], template: str, tuned_on: tuple[str, ...]
) -> Callable[[Sample], Tensor]:
    """The function with which a deployed prompt answers on some classes: a sample -> logits [B, C].

    The text of each part is encoded here, once. classes: C names. tuned_on: the classes on which the prompt
    was tuned. The function raises ValueError if a local model returns another shape.
    """
    fits = prompt.any_classes or classes == tuned_on
    if fits and (local := prompt.local) is not None:
        return lambda sample: _all_classes(local(sample.batch), len(sample), len(classes))
    if fits and (adapter := prompt.adapter) is not None:
        encodings = predictor.encode([prompt], classes, template)

        def adapted(sample: Sample) -> Tensor:
            image, text = encodings(sample)
            return exact.answer(adapter(image[0], text[0]))

        return adapted
    sent = prompt.parts or (prompt,)
    answers = [predictor.prepare([part], classes, template) for part in sent[: None if fits else 1]]
    if not fits or prompt.head is None:
        return lambda sample: answers[0](sample)[0]
    head = prompt.head
    if not prompt.parts:
        return lambda sample: head(answers[0](sample)[0])
    return lambda sample: head(torch.cat([answer(sample) for answer in answers]))


def _all_classes(answers: Tensor, images: int, classes: int) -> Tensor:
    if answers.shape != (images, classes):
        raise ValueError(f"a local model has to return [{images}, {classes}], not {list(answers.shape)}")
    return exact.answer(answers)
