"""What a method sends with a batch of images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from bench.blackbox import Batch

# The access a black box must grant for each part of a prompt; a method declares the ones it needs.
ACCESS = {
    "context": "text context",
    "template": "template",
    "pixels": "pixels",
    "tokens": "visual tokens",
    "head": "logits head",
}
WHITE_BOX = "white box"


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
    pixels: "Callable[[Batch], Tensor] | None" = None
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
