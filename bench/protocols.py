"""What the harness asks of its parts: any object of these shapes will do, a toy in a test included."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from bench.prompt import Images


class Frozen(Protocol):
    """A frozen image model whose features may be kept."""

    @property
    def identity(self) -> tuple[object, ...]:
        """All that decides the features of an image: weights, layers, arithmetic."""
        ...

    @property
    def embed_dim(self) -> int:
        """e, the length of a feature vector."""
        ...

    def encode_images(self, images: Tensor) -> Tensor:
        """Pixels [B, 3, S, S] in [0, 1] -> [B, e]."""
        ...

    def encode_clean(self, images: Tensor) -> Tensor:
        """The same for plain images whose features are kept; here a precision may save time."""
        ...


class TextTower(Protocol):
    """The class prompts "{context} {name}." of some class names."""

    def encode(self, contexts: Tensor) -> Tensor:
        """Contexts [K, m, d] -> unit text features [K, C, e]."""
        ...


class Backbone(Frozen, Protocol):
    """A frozen vision-language model."""

    @property
    def name(self) -> str: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def image_size(self) -> int: ...
    @property
    def text_width(self) -> int: ...
    @property
    def vision_width(self) -> int | None: ...
    @property
    def pixel_mean(self) -> Tensor: ...
    @property
    def pixel_std(self) -> Tensor: ...
    @property
    def token_std(self) -> float: ...
    @property
    def patch_mean(self) -> float: ...
    @property
    def patch_std(self) -> float: ...
    @property
    def logit_scale(self) -> float: ...
    @property
    def weights_hash(self) -> str: ...

    def text_tower(self, class_names: Sequence[str]) -> TextTower:
        """The tower for these class names."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Whole texts -> [N, e] of unit norm."""
        ...

    def embed_words(self, text: str) -> Tensor:
        """[m, d] token embeddings, without SOS and EOT."""
        ...

    def trunk(self, images: Tensor) -> Tensor:
        """What of an image does not move with visual tokens."""
        ...

    def encode_trunk(self, trunk: Tensor, tokens: Tensor | None = None) -> Tensor:
        """A trunk of B images and visual tokens [K, n, w] -> [K, B, e]; K = 1 without tokens."""
        ...


class Features(Protocol):
    """Features of whole image sets, worked out once."""

    def features(self, model: Frozen, images: Images) -> Tensor:
        """[N, e] features of the plain images."""
        ...

    def encoder(self, name: str) -> Frozen:
        """The caller's own image encoder of that name, which is not the black box (BlackVIP's)."""
        ...


class TestSet(Protocol):
    """What a prompt is scored on. Labels index `classes`."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def template(self) -> str: ...
    @property
    def images(self) -> Images: ...


class Task(Protocol):
    """What a method trains on, and the test sets it must not see. Labels index `classes`."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def template(self) -> str: ...
    @property
    def train(self) -> Images: ...
    @property
    def tests(self) -> Mapping[str, TestSet]: ...
