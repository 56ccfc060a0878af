"""Answers cut down to what an API gives: the levels of bench/answered.py, worked out from logits."""

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
SURE = 0.99  # what a label alone counts as


class CoarsePredictor:
    """Another predictor whose answers are cut down to a level."""

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
        """Refused: whoever grants features grants logits as well."""
        raise AccessDenied(f"the answers are {self._level}; features come with logits only")


def cut(predictor: Predictor, level: Level) -> Predictor:
    """`predictor` with its answers cut down to `level`."""
    return predictor if level.kind == "logits" else CoarsePredictor(predictor, level)


def coarse(logits: Tensor, level: Level) -> Tensor:
    """Logits [.., C] -> what is answered in their place [.., C], on the grid of `bench.exact.answer`."""
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
    """[.., C] -> SURE for the first of the largest, the rest shared out."""
    others = torch.full_like(logits, (1 - SURE) / max(logits.shape[-1] - 1, 1))
    return others.scatter(-1, _ranked(logits)[..., :1], SURE)


def _top(probs: Tensor, k: int) -> Tensor:
    """[.., C] -> the k largest as they are, the rest shared out evenly."""
    C = probs.shape[-1]
    if k >= C:
        return probs.clamp_min(REST)
    best = _ranked(probs)[..., :k]
    kept = probs.gather(-1, best)
    rest = ((1 - kept.sum(-1, keepdim=True)) / (C - k)).clamp_min(REST)
    return rest.expand_as(probs).scatter(-1, best, kept)


def _ranked(numbers: Tensor) -> Tensor:
    """[.., C] -> classes from the largest number to the smallest; equal ones in their own order."""
    return numbers.sort(stable=True, dim=-1, descending=True).indices
