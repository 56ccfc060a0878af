"""Reduces logits to what an API returns: the levels of bench/answered.py."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bench import exact
from bench.answered import Level
from bench.blackbox import AccessDenied
from bench.loader import Sample
from bench.predictor import Answers, Encodings, Predictor
from bench.prompt import Prompt

REST = 1e-6  # the least probability of a class that a top:K answer does not name
SURE = 0.99  # the probability of the class that an answer with the label alone names


class CoarsePredictor:
    """Reduces the answers of another predictor to a level."""

    def __init__(self, predictor: Predictor, level: Level) -> None:
        self._predictor, self._level = predictor, level
        self.device, self.dtype, self.model = predictor.device, predictor.dtype, predictor.model

    def embed_words(self, words: str) -> Tensor:
        """[m, d] token embeddings of `words`."""
        return self._predictor.embed_words(words)

    def prepare(self, prompts: Sequence[Prompt], classes: tuple[str, ...], template: str) -> Answers:
        """See Predictor."""
        answers = self._predictor.prepare(prompts, classes, template)

        def answer(sample: Sample) -> Tensor:
            return coarse(answers(sample), self._level)

        return answer

    def encode(self, prompts: Sequence[Prompt], classes: tuple[str, ...], template: str) -> Encodings:
        """Raises AccessDenied: an API that grants features grants logits as well."""
        raise AccessDenied(f"features need --answers logits, and this run has --answers {self._level}")


def cut(predictor: Predictor, level: Level) -> Predictor:
    """`predictor` with its answers reduced to `level`."""
    return predictor if level.kind == "logits" else CoarsePredictor(predictor, level)


def coarse(logits: Tensor, level: Level) -> Tensor:
    """Logits [.., C] -> the answer of this level [.., C], rounded by `bench.exact.answer`."""
    if level.kind == "logits":
        return logits
    if level.kind == "label":
        return exact.answer(_label(logits).log())
    if level.kind == "top":
        assert level.number is not None
        return exact.answer(_top(logits.softmax(-1), level.number).log())
    if level.number is None:
        return exact.answer(logits.log_softmax(-1))
    step = 10.0**-level.number
    rounded = (logits.softmax(-1) / step).round() * step
    return exact.answer(rounded.clamp_min(step / 2).log())


def _label(logits: Tensor) -> Tensor:
    """Logits [.., C] -> probabilities [.., C]: SURE for the best class; the others share the rest equally."""
    others = torch.full_like(logits, (1 - SURE) / max(logits.shape[-1] - 1, 1))
    return others.scatter(-1, _ranked(logits)[..., :1], SURE)


def _top(probs: Tensor, k: int) -> Tensor:
    """Probabilities [.., C] -> [.., C]: the k largest unchanged; the other classes share the rest equally."""
    C = probs.shape[-1]
    if k >= C:
        return probs.clamp_min(REST)
    best = _ranked(probs)[..., :k]
    kept = probs.gather(-1, best)
    rest = ((1 - kept.sum(-1, keepdim=True)) / (C - k)).clamp_min(REST)
    return rest.expand_as(probs).scatter(-1, best, kept)


def _ranked(numbers: Tensor) -> Tensor:
    """[.., C] -> the classes from the largest number to the smallest; with equal numbers, in label order."""
    return numbers.sort(stable=True, dim=-1, descending=True).indices
