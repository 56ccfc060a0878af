"""The interfaces between the harness and its parts. Any object with these attributes fits, e.g. in a test."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from bench.prompt import Images


class Frozen(Protocol):
    """A frozen image model whose features may be kept."""

    @property
    def identity(self) -> tuple[object, ...]:
        """Everything that decides the features of an image: weights, layers, arithmetic."""
        ...

    @property
    def embed_dim(self) -> int:
        """The length e of a feature vector."""
        ...

    def encode_images(self, images: Tensor) -> Tensor:
        """Pixels [B, 3, S, S] in [0, 1] -> [B, e]."""
        ...

    def encode_clean(self, images: Tensor) -> Tensor:
        """The same for plain images whose features are kept. A precision may save time here."""
        ...

    def encode_crops(self, images: Tensor) -> Tensor:
        """The same for crops that no prompt changes. A precision may save time here, too."""
        ...


class Augmented(Protocol):
    """A batch of crops whose features are needed."""

    @property
    def key(self) -> str:
        """What decides the crops: the images, their order, the crops' seed and scale."""
        ...

    @property
    def images(self) -> Tensor:
        """[B, 3, S, S] in [0, 1], on the device; loaded on first use and kept."""
        ...

    def twin(self) -> "Augmented":
        """The same batch, with nothing loaded."""
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
        """The text tower for these class names."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """N whole texts -> features [N, e] of unit norm."""
        ...

    def embed_words(self, text: str) -> Tensor:
        """[m, d] token embeddings, without SOS and EOT."""
        ...

    def trunk(self, images: Tensor) -> Tensor:
        """The part of the computation that does not depend on visual tokens, for pixels [B, 3, S, S]."""
        ...

    def encode_trunk(self, trunk: Tensor, tokens: Tensor | None = None) -> Tensor:
        """The trunk of B images and visual tokens [K, n, w] -> [K, B, e]; K = 1 without tokens."""
        ...


class Features(Protocol):
    """The features of whole image sets, computed once."""

    def features(self, model: Frozen, images: Images) -> Tensor:
        """[N, e] features of the plain images."""
        ...

    def augmented(self, model: Frozen, batch: Augmented) -> Tensor:
        """[B, e] features of a batch of crops."""
        ...

    def encoder(self, name: str) -> Frozen:
        """The caller's own image encoder of that name, e.g. BlackVIP's. It is not the black box."""
        ...


class TestSet(Protocol):
    """The images on which a prompt is scored. A label is a position in `classes`."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def template(self) -> str: ...
    @property
    def images(self) -> Images: ...


class Task(Protocol):
    """The images that a method trains on, and the test sets. A label is a position in `classes`."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def template(self) -> str: ...
    @property
    def train(self) -> Images: ...
    @property
    def tests(self) -> Mapping[str, TestSet]: ...
