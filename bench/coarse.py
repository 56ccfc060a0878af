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
from bench.record import Wired

REST = 1e-6  # the least probability of a class that a top:K answer does not name
SURE = 0.99  # the probability of the class that an answer with the label alone names


class CoarsePredictor:
    """Reduces the answers of another predictor to a level."""

    def __init__(self, predictor: Predictor, level: Level) -> None:
        self._predictor, self.level = predictor, level
        self.device, self.dtype, self.model = predictor.device, predictor.dtype, predictor.model

    @property
    def cost(self) -> Wired | None:
        """See Predictor."""
        return self._predictor.cost

    def embed_words(self, words: str) -> Tensor:
        """[m, d] token embeddings of `words`."""
        return self._predictor.embed_words(words)

    def prepare(self, prompts: Sequence[Prompt], classes: tuple[str, ...], template: str) -> Answers:
        """See Predictor."""
        answers = self._predictor.prepare(prompts, classes, template)

        def answer(sample: Sample) -> Tensor:
            return coarse(answers(sample), self.level)

        return answer

    def encode(self, prompts: Sequence[Prompt], classes: tuple[str, ...], template: str) -> Encodings:
        """Raises AccessDenied: an API that grants features grants logits as well."""
        raise AccessDenied(f"features need --answers logits, and this run has --answers {self.level}")


def cut(predictor: Predictor, level: Level) -> Predictor:
    """`predictor` with its answers reduced to `level`."""
    return predictor if level == predictor.level else CoarsePredictor(predictor, level)


def coarse(logits: Tensor, level: Level) -> Tensor:
    """Logits [.., C] -> the answer of this level [.., C], rounded by `bench.exact.answer`."""
    return logits if level.kind == "logits" else filled(narrowed(logits.softmax(-1), level), level)


def narrowed(probs: Tensor, level: Level) -> Tensor:
    """Probabilities [.., C] -> what an answer of this level says; NaN for a class it does not mention.

    The result does not change if it is narrowed to the same level again.
    """
    if level.kind == "probs":
        step = None if level.number is None else 10.0**level.number
        return probs if step is None else (probs * step).round() / step
    # equal numbers stay in label order
    ranked = probs.nan_to_num(-1.0).sort(stable=True, dim=-1, descending=True).indices
    best = ranked[..., : 1 if level.kind == "label" else level.number]
    kept = torch.ones_like(probs) if level.kind == "label" else probs
    return torch.full_like(probs, torch.nan).scatter(-1, best, kept.gather(-1, best))


def filled(said: Tensor, level: Level) -> Tensor:
    """An answer of this level, as `narrowed` returns it [.., C] -> log-probabilities of all classes."""
    named, C = ~said.isnan(), said.shape[-1]
    if level.kind == "label":
        probs = torch.where(named, SURE, (1 - SURE) / max(C - 1, 1)).to(said.dtype)
    elif level.kind == "top":
        kept = said.nan_to_num(0.0)
        silent = (~named).sum(-1, keepdim=True).clamp_min(1)
        rest = ((1 - kept.sum(-1, keepdim=True)) / silent).clamp_min(REST)
        some = level.number is not None and level.number < C
        probs = torch.where(named, kept.clamp_min(REST), rest) if some else kept.clamp_min(REST)
    else:
        probs = said if level.number is None else said.clamp_min(10.0**-level.number / 2)
    return exact.answer(probs.clamp_min(torch.finfo(probs.dtype).tiny).log())
