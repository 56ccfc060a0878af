"""What a method sends, a prompt, and what it sends it with, a batch of images."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

# The access a black box must grant for each part of a prompt; a method declares the ones it needs.
ACCESS = {
    "context": "text context",
    "template": "template",
    "pixels": "pixels",
    "tokens": "visual tokens",
    "head": "logits head",
}
WHITE_BOX = "white box"

Scale = tuple[float, float]  # of a crop: the smallest and the largest share of the image's area

UNKNOWN = torch.empty(0, dtype=torch.long)  # the labels of images that are being scored


class Images(Protocol):
    """A labelled set of images, as `bench.data` provides it. The harness holds it; a method never does."""

    @property
    def labels(self) -> Tensor:
        """[N] int64, on the CPU."""
        ...

    @property
    def key(self) -> str:
        """Identifies content and preprocessing."""
        ...

    def __len__(self) -> int: ...

    def pixels(self, index: Tensor, size: int | None = None) -> Tensor:
        """[b] -> [b, 3, S, S] in [0, 1]. size: S, straight from the originals; None: the model's."""
        ...

    def crops(
        self,
        index: Tensor,
        generator: torch.Generator,
        size: int | None = None,
        scale: Scale | None = None,
    ) -> Tensor:
        """[b] -> [b, 3, S, S] in [0, 1], augmented. Draws from `generator` alone."""
        ...


@dataclass(frozen=True, eq=False)
class Batch:
    """At most `batch_size` images: what a method sees of them.

    index: [B] positions in their set. labels: [B], or UNKNOWN for images that are being scored. All tensors
    are the method's own copies. memo: a place for what a method works out from the batch and wants to find
    again when it meets the batch again; the harness neither reads nor clears it.
    """

    index: Tensor
    labels: Tensor
    # size in pixels, or None for the model's -> the images: a closure, which leads to nothing else
    load: Callable[[int | None], Tensor] = field(repr=False)
    memo: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def images(self) -> Tensor:
        """[B, 3, S, S] in [0, 1], on the device; loaded on first use and kept."""
        return self.load(None)

    def resampled(self, size: int) -> Tensor:
        """[B, 3, size, size] in [0, 1]: the same images or crops, straight from the originals to `size`."""
        return self.load(size)


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt. A part left out means: the data set's hand template, the image as it is.

    context: [m, d] vectors between SOS and the tokens of "{class name}." (d = text width).
    template: words with one {} for the class name. Not together with `context`.
    pixels: images of a batch -> images [B, 3, S, S] to send instead, in [0, 1].
    tokens: [n, w] visual tokens joined to the image's own (w = vision width).
    head: logits [B, C] -> logits [B, C], worked out on the caller's side.
    state: flat float32 numbers that, with the cell, are enough to build this prompt again.
    """

    context: Tensor | None = None
    template: str | None = None
    pixels: Callable[[Batch], Tensor] | None = None
    tokens: Tensor | None = None
    head: Callable[[Tensor], Tensor] | None = None
    state: Tensor | None = None

    def __post_init__(self) -> None:
        if self.context is not None and self.template is not None:
            raise ValueError("a prompt has a text context or a template, not both")

    @property
    def access(self) -> set[str]:
        """The access levels this prompt makes use of."""
        return {level for part, level in ACCESS.items() if getattr(self, part) is not None}
