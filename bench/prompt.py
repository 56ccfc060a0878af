"""The two parts of a query: a prompt and a batch of images."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from bench.access import ACCESS

Scale = tuple[float, float]  # the smallest and the largest share of the image's area in a crop

UNKNOWN = torch.empty(0, dtype=torch.long)  # the labels of images that are being scored


class Images(Protocol):
    """A labelled set of images from `bench.data`. Only the harness holds it; a method never gets it."""

    @property
    def labels(self) -> Tensor:
        """[N] int64, on the CPU."""
        ...

    @property
    def key(self) -> str:
        """A key that identifies the content and the preprocessing."""
        ...

    def __len__(self) -> int: ...

    def pixels(self, index: Tensor, size: int | None = None) -> Tensor:
        """[b] -> [b, 3, S, S] in [0, 1]. size: S, resampled from the originals; None: the model's size."""
        ...

    def crops(
        self,
        index: Tensor,
        generator: torch.Generator,
        size: int | None = None,
        scale: Scale | None = None,
    ) -> Tensor:
        """[b] -> [b, 3, S, S] in [0, 1], augmented. It draws only from `generator`."""
        ...


@dataclass(frozen=True, eq=False)
class Batch:
    """At most `batch_size` images, as a method sees them.

    index: [B] positions in their set. labels: [B], or UNKNOWN for images that are being scored. All tensors
    are the method's own copies. memo: a place where a method can keep what it computes from the batch, until
    it gets the same batch again. The harness neither reads nor clears it.
    """

    index: Tensor
    labels: Tensor
    # A size in pixels, or None for the model's -> the images. It is a closure and leads to nothing else.
    load: Callable[[int | None], Tensor] = field(repr=False)
    memo: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def images(self) -> Tensor:
        """[B, 3, S, S] in [0, 1], on the device; loaded on first use and kept."""
        return self.load(None)

    def resampled(self, size: int) -> Tensor:
        """[B, 3, size, size] in [0, 1]: the same images or crops, resampled from the originals to `size`."""
        return self.load(size)


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt. Without a text it uses the data set's hand template; without images it sends them unchanged.

    context: [m, d] vectors between SOS and the tokens of "{class name}." (d = text width).
    template: words with one {} for the class name. Not together with `context`.
    pixels: images of a batch -> the images [B, 3, S, S] that are sent instead, in [0, 1].
    tokens: [n, w] visual tokens that are added to the image's own tokens (w = vision width).
    parts: K prompts, each of which is sent and costs a query. They hold the texts and the images; this prompt
        holds the head.
    head: logits [B, C] -> logits [B, C], computed on the caller's side; for a prompt with parts, the logits
        of the parts [K, B, C] -> [B, C].
    adapter: image features [B, e] and class features [C, e], both of unit norm -> logits [B, C], computed on
        the caller's side from an API that grants features.
    local: images of a batch -> logits [B, C] from the caller's own model. Nothing is sent.
    any_classes: whether head, adapter and local also work for classes on which they were not tuned. If not,
        new classes are answered by the prompt without them, or by its first part.
    state: flat float32 numbers which, with the cell, are enough to build this prompt again.
    """

    context: Tensor | None = None
    template: str | None = None
    pixels: Callable[[Batch], Tensor] | None = None
    tokens: Tensor | None = None
    head: Callable[[Tensor], Tensor] | None = None
    adapter: Callable[[Tensor, Tensor], Tensor] | None = None
    local: Callable[[Batch], Tensor] | None = None
    parts: tuple["Prompt", ...] = ()
    any_classes: bool = False
    state: Tensor | None = None

    def __post_init__(self) -> None:
        if self.context is not None and self.template is not None:
            raise ValueError("a prompt has a context and a template: leave one of them out")
        if sum(part is not None for part in (self.head, self.adapter, self.local)) > 1:
            raise ValueError("a prompt has several of head, adapter and local: leave all but one out")
        if self.parts:
            self._check_parts()

    def _check_parts(self) -> None:
        if self.head is None:
            raise ValueError("a prompt with parts needs a head that makes one answer of their answers")
        if any(getattr(self, name) is not None for name in TEXT_AND_IMAGES):
            raise ValueError("a prompt with parts cannot hold text or images itself: put them into a part")
        for part in self.parts:
            if part.parts or part.head or part.adapter or part.local:
                raise ValueError("a part of a prompt cannot have parts, head, adapter or local: remove them")

    @property
    def access(self) -> set[str]:
        """The access levels that this prompt uses."""
        own = {level for part, level in ACCESS.items() if getattr(self, part) is not None}
        return own.union(*(part.access for part in self.parts))

    @property
    def sent(self) -> tuple["Prompt", ...]:
        """The prompts that are sent with each batch, and cost a query each, when this prompt is deployed."""
        return () if self.local is not None else self.parts or (self,)


TEXT_AND_IMAGES = ("context", "template", "pixels", "tokens")  # the parts of a prompt that are sent
