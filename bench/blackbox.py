"""The black box as a method sees it: predictions for queries, never weights, gradients or test labels.

`BlackBox` is the whole of what a method is handed. Behind it stand objects of the harness that no public name
leads to: the meter, the predictor, the scorer and the trace (see bench/trial.py, which builds the box).

What is guarded against: accidents and the obvious. The box has no attribute that can be set, its counters are
read from the meter and the record's figures never come from the box; a batch that the box did not give, a
copy of the box and a prompt beyond the declared access are refused. Python cannot stop a determined cheat in
one process; `bench check` reads a method's file for the ways around (see bench/contract.py), and
bench/isolation.py notices when a cell has changed what later cells use.
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
    """The next call would pass the budget. Raised before the call; ends a method's run, and is no error."""


class AccessDenied(Exception):
    """A method reached for something its declared access does not cover."""


@dataclass(frozen=True)
class ModelSpec:
    """What the provider of a model tells its callers: sizes and statistics, no weights."""

    image_size: int  # pixels a side
    text_width: int  # d, the width of a context vector
    vision_width: int | None  # w, the width of a visual token
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    token_std: float  # of the token embedding table
    patch_mean: float  # of the patch embedding's weights
    patch_std: float
    logit_scale: float  # of the cosines between image and class features


@dataclass(frozen=True)
class Spec(ModelSpec):
    """What a method may know before it asks: the model's sizes, and the task's."""

    shots: int  # training images per class, at most
    train_size: int  # few-shot images
    batch_size: int  # images a query carries at most
    budget: int  # queries
    answers: str = DEFAULT  # how much of its logits the box answers with: see bench/answered.py


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of each candidate: logits [K, B, C], labels [B] -> [K]."""
    flat = F.cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)), reduction="none")
    return flat.view(len(logits), -1).mean(1)


class BlackBox(Protocol):
    """A model, a task and a budget. The unit is the query: one prompt on one batch."""

    # What a method may know

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in words, in label order."""
        ...

    @property
    def template(self) -> str:
        """The data set's hand prompt, with one {} for the class name."""
        ...

    @property
    def spec(self) -> Spec:
        """Sizes and statistics that a method may use."""
        ...

    @property
    def device(self) -> str:
        """Where logits lie and prompts are expected."""
        ...

    @property
    def budget(self) -> int:
        """Queries in all."""
        ...

    @property
    def spent(self) -> int:
        """Queries paid so far."""
        ...

    @property
    def image_queries(self) -> int:
        """Images sent so far, one for each time."""
        ...

    @property
    def remaining(self) -> int:
        """Queries left."""
        ...

    def embed_words(self, words: str) -> Tensor:
        """[m, d] token embeddings of `words`: tokeniser and table are published with every CLIP."""
        ...

    def encoder_width(self, encoder: str) -> int:
        """Length of a feature vector of `encode`."""
        ...

    def encode(self, batch: Batch, encoder: str) -> Tensor:
        """[B, width] features of the caller's own frozen image encoder, which is not the target: no query."""
        ...

    # Training images

    def batches(
        self, size: int | None = None, keep_last: bool = False, crop_scale: Scale | None = None
    ) -> Iterator[Batch]:
        """The seeded, endless stream of training batches: shuffled epochs, a short last batch dropped.

        size: images per batch, at most `batch_size`, which it is by default. keep_last: an epoch ends with
        its short batch. crop_scale: of the random crops, where the cell augments; None: 0.08 to 1.
        """
        ...

    def train_pass(self) -> list[Batch]:
        """The whole train set once, unaugmented, in order: ceil(N / batch_size) batches, always the same."""
        ...

    def frozen_pass(self, crop_scale: Scale | None = None) -> list[Batch]:
        """The whole train set once, in order; where the cell augments, one crop of each image, made once."""
        ...

    # Queries

    def require(self, queries: int) -> None:
        """Raise BudgetSpent unless `queries` more fit: for steps of several calls, refused whole."""
        ...

    def logits(self, batch: Batch, prompts: Sequence[Prompt]) -> Tensor:
        """Predictions [K, B, C] of K prompts on one batch. Costs K queries and K * B image-queries.

        Raises BudgetSpent before the call if it would pass the budget, AccessDenied if a prompt uses more
        than the method declared or the batch is not one of this box, FloatingPointError if a prompt makes the
        model's answer infinite.
        """
        ...

    def features(self, batch: Batch, prompt: Prompt | None = None) -> tuple[Tensor, Tensor]:
        """Features of unit norm, of the images [B, e] and of the classes [C, e]: one query.

        prompt: what is sent; None: the hand template. Raises what `logits` raises; AccessDenied without the
        access level "features".
        """
        ...

    def pass_loss(
        self,
        prompts: Sequence[Prompt],
        loss: Loss = cross_entropy,
        batches: Sequence[Batch] | None = None,
    ) -> Tensor:
        """[K] mean loss of K prompts over one pass of the train set: K * ceil(N / batch_size) queries.

        loss: logits [K, B, C], labels [B] -> [K]. batches: the pass; `train_pass()` by default. Raises
        BudgetSpent unless the whole pass fits.
        """
        ...

    # The deployed prompt

    def report(self, prompt: Prompt) -> None:
        """The deployable prompt now. Scored at the checkpoints, off the meter, unseen by the method.

        Raises TypeError for what is no Prompt, AccessDenied if it uses more than the method declared.
        """
        ...


# What a method may name of its box: the public names above, and nothing else.
PUBLIC = frozenset(name for name in vars(BlackBox) if not name.startswith("_"))
