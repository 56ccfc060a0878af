"""The black box that a method gets: it answers queries, and shows no weights, gradients or test labels.

A method gets a `BlackBox` and nothing else. No public name of the box leads to the objects of the harness
behind it: the meter, the predictor, the scorer and the trace (see bench/trial.py, which builds the box).

The box protects against mistakes and simple cheats. No attribute of the box can be set. Its counts are read
from the meter, and the counts in the record never come from the box. The box refuses a batch that it did not
give, a copy of itself, and a prompt beyond the declared access. Python cannot stop every cheat inside one
process. So `bench check` also reads a method's file (see bench/contract.py), and bench/isolation.py detects
when a cell has changed what later cells use.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from bench.answered import DEFAULT
from bench.prompt import Batch, Prompt, Scale

__all__ = ["AccessDenied", "Batch", "BlackBox", "BudgetSpent", "Loss", "ModelSpec", "Spec", "cross_entropy"]

Loss = Callable[[Tensor, Tensor], Tensor]  # logits [K, B, C], labels [B] -> [K]


class BudgetSpent(Exception):
    """The next call would exceed the budget. Raised before the call; it ends a run, and is not a failure."""


class AccessDenied(Exception):
    """A method used something that its declared access does not cover."""


@dataclass(frozen=True)
class ModelSpec:
    """What the provider of a model publishes: sizes and statistics, no weights."""

    image_size: int  # pixels per side
    text_width: int  # d, the width of a context vector
    vision_width: int | None  # w, the width of a visual token
    feature_width: int  # e, the width of an image's or a class's feature
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    token_std: float  # of the token embedding table
    patch_mean: float  # of the patch embedding's weights
    patch_std: float
    logit_scale: float  # of the cosines between image and class features


@dataclass(frozen=True)
class Spec(ModelSpec):
    """What a method may know before its first query: the sizes of the model and of the task."""

    shots: int  # the most training images per class
    train_size: int  # number of few-shot images
    batch_size: int  # the most images of a query
    budget: int  # queries
    answers: str = DEFAULT  # how much of its logits the box returns: see bench/answered.py


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy of each candidate: logits [K, B, C], labels [B] -> [K]."""
    flat = F.cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)), reduction="none")
    return flat.view(len(logits), -1).mean(1)


class BlackBox(Protocol):
    """A model, a task and a budget. The unit is the query: one prompt on one batch."""

    # What a method may know

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names as words, in label order."""
        ...

    @property
    def template(self) -> str:
        """The data set's hand template, with one {} for the class name."""
        ...

    @property
    def spec(self) -> Spec:
        """The sizes and statistics that a method may use."""
        ...

    @property
    def device(self) -> str:
        """The device of the logits; prompts must be on it, too."""
        ...

    @property
    def budget(self) -> int:
        """Queries that the run may spend."""
        ...

    @property
    def spent(self) -> int:
        """Queries paid so far."""
        ...

    @property
    def image_queries(self) -> int:
        """Images sent so far; an image counts each time it is sent."""
        ...

    @property
    def remaining(self) -> int:
        """Queries left."""
        ...

    def embed_words(self, words: str) -> Tensor:
        """[m, d] token embeddings of `words`; every CLIP is published with its tokeniser and this table."""
        ...

    def encoder_width(self, encoder: str) -> int:
        """The length of a feature vector from `encode`."""
        ...

    def encode(self, batch: Batch, encoder: str) -> Tensor:
        """[B, width] features of the caller's own frozen image encoder, not of the target. Costs no query."""
        ...

    # Training images

    def batches(
        self, size: int | None = None, keep_last: bool = False, crop_scale: Scale | None = None
    ) -> Iterator[Batch]:
        """Training batches without end, in shuffled epochs that the cell's seed determines.

        size: images per batch, by default and at most `batch_size`. keep_last: keep the short last batch of
        an epoch, which is dropped by default. crop_scale: the scale of random crops, if the cell augments;
        None: 0.08 to 1. Raises ValueError for a wrong size or scale.
        """
        ...

    def train_pass(self) -> list[Batch]:
        """The whole train set once, in order and not augmented, in ceil(N / batch_size) batches.

        The batches are the same at each call.
        """
        ...

    def frozen_pass(self, crop_scale: Scale | None = None) -> list[Batch]:
        """The whole train set once, in order; if the cell augments, with one fixed crop of each image."""
        ...

    # Queries

    def require(self, queries: int) -> None:
        """Raise BudgetSpent unless `queries` more fit. A step of several calls asks this first."""
        ...

    def logits(self, batch: Batch, prompts: Sequence[Prompt]) -> Tensor:
        """Predictions [K, B, C] of K prompts on one batch. Costs K queries and K * B image-queries.

        Raises BudgetSpent before the call if it would exceed the budget, AccessDenied if a prompt uses more
        than the method declared or if the batch is not from this box, FloatingPointError if a prompt makes
        the model's answer infinite.
        """
        ...

    def features(self, batch: Batch, prompt: Prompt | None = None) -> tuple[Tensor, Tensor]:
        """Features of unit norm: of the images [B, e] and of the classes [C, e]. Costs one query.

        prompt: the prompt to send; None: the hand template. Raises the same errors as `logits`, and
        AccessDenied without the access level "features".
        """
        ...

    def pass_loss(
        self,
        prompts: Sequence[Prompt],
        loss: Loss = cross_entropy,
        batches: Sequence[Batch] | None = None,
    ) -> Tensor:
        """[K] mean losses of K prompts over one pass of the train set: K * ceil(N / batch_size) queries.

        loss: logits [K, B, C], labels [B] -> [K]. batches: the pass, by default `train_pass()`. Raises
        BudgetSpent before the first query unless the whole pass fits.
        """
        ...

    # The deployed prompt

    def report(self, prompt: Prompt) -> None:
        """Report the prompt that the method would deploy now.

        The harness scores it at the checkpoints. This costs no query, and the method does not see the score.
        Raises TypeError if it is not a Prompt, AccessDenied if it uses more than the method declared.
        """
        ...


# The names of the box that a method may use: the public names above, and no others.
PUBLIC = frozenset(name for name in vars(BlackBox) if not name.startswith("_"))
