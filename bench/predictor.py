"""Predictors: images and prompts -> answers. The model can be in this process, or behind an endpoint."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from bench import exact
from bench.answered import DEFAULT, Level, parse
from bench.blackbox import ModelSpec
from bench.loader import AT_ONCE, Sample
from bench.pixels import from_bytes, to_bytes
from bench.prompt import Prompt
from bench.protocols import Backbone, Features, Frozen, TextTower
from bench.record import Wired
from bench.remembered import Remembered

# The most float64 images that go through the image tower at once: more do not fit into a processor's cache,
# and take longer.
WIDE = 128
TEXT_BYTES = 64 << 20  # of text features that are kept for prompts that are sent again

Answers = Callable[[Sample], Tensor]  # a sample of B images -> predictions [K, B, C]
# A sample -> features of unit norm: of its images [K | 1, B, e], and of the classes [K | 1, C, e].
Encodings = Callable[[Sample], tuple[Tensor, Tensor]]


class Predictor(Protocol):
    """Answers prompts on images. It does not know the budget or the labels."""

    @property
    def device(self) -> str:
        """The device of the answers; prompts must be on it, too."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The type in which images are sent."""
        ...

    @property
    def model(self) -> ModelSpec:
        """The sizes and statistics that the model's provider publishes."""
        ...

    @property
    def level(self) -> Level:
        """How much of its logits it answers with."""
        ...

    @property
    def cost(self) -> Wired | None:
        """What its requests cost so far; None for a model of this process."""
        ...

    def embed_words(self, words: str) -> Tensor:
        """[m, d] token embeddings of `words`."""
        ...

    def prepare(self, prompts: Sequence[Prompt], classes: tuple[str, ...], template: str) -> Answers:
        """The function that answers for these K prompts. The text is encoded here, once.

        An answer is float64, rounded by `bench.exact.answer`.

        classes: C class names. template: the hand template, for prompts without a text of their own.
        Raises ValueError if the prompts are of different kinds.
        """
        ...

    def encode(self, prompts: Sequence[Prompt], classes: tuple[str, ...], template: str) -> Encodings:
        """The function that gives the features behind those answers. The arguments are those of `prepare`.

        Raises AccessDenied if features are not granted.
        """
        ...


class LocalPredictor:
    """The predictor with a model in this process.

    eight_bit: send pixel prompts in bytes, as an API takes them. An API cannot tell such an image from a
    plain one, so their features are rounded alike. trunks: the name under which a sample keeps its trunk.
    """

    def __init__(
        self, backbone: Backbone, features: Features, eight_bit: bool = False, trunks: str = "trunk"
    ) -> None:
        self._backbone, self._features, self._eight_bit = backbone, features, eight_bit
        self._trunks = trunks
        self._towers: dict[tuple[str, ...], TextTower] = {}
        self._worded: dict[tuple[tuple[str, ...], str], Tensor] = {}
        self._texts = Remembered(TEXT_BYTES)
        b = backbone
        self.device, self.dtype, self.level = str(b.device), b.dtype, parse(DEFAULT)
        self.cost: Wired | None = None
        self.model = ModelSpec(
            image_size=b.image_size,
            text_width=b.text_width,
            vision_width=b.vision_width,
            feature_width=b.embed_dim,
            pixel_mean=tuple(b.pixel_mean.flatten().tolist()),
            pixel_std=tuple(b.pixel_std.flatten().tolist()),
            token_std=b.token_std,
            patch_mean=b.patch_mean,
            patch_std=b.patch_std,
            logit_scale=b.logit_scale,
        )

    def embed_words(self, words: str) -> Tensor:
        """[m, d] token embeddings of `words`."""
        return self._backbone.embed_words(words)

    def prepare(self, prompts: Sequence[Prompt], classes: tuple[str, ...], template: str) -> Answers:
        """See Predictor. The text is encoded now, and the images when they are sent."""
        encodings = self.encode(prompts, classes, template)

        def answer(sample: Sample) -> Tensor:
            image, text = encodings(sample)
            return exact.answer(self._backbone.logit_scale * (image @ text.transpose(-1, -2)))

        return answer

    def encode(self, prompts: Sequence[Prompt], classes: tuple[str, ...], template: str) -> Encodings:
        """See Predictor."""
        text = self._text(prompts, classes, template)  # [K | 1, C, e]
        return lambda sample: (self._image(sample, prompts).to(text.dtype), text)

    # Text

    def _text(self, prompts: Sequence[Prompt], classes: tuple[str, ...], template: str) -> Tensor:
        """Text features [K, C, e] (or [1, C, e] if all prompts have the same words).

        Contexts that are sent again, in the next batch or when the prompt is scored, are not encoded again.
        """
        contexts = [p.context for p in prompts if p.context is not None]
        if len(contexts) == len(prompts):
            if classes not in self._towers:
                self._towers[classes] = self._backbone.text_tower(classes)
            sent = torch.stack(contexts)
            if len(sent) > 1 and sent.device.type != "cpu":
                # To look at the values is to wait for the GPU. What methods send again is one prompt.
                return self._towers[classes].encode(sent)
            return self._texts.get(classes, sent, lambda: self._towers[classes].encode(sent))
        if contexts:
            raise ValueError("one call mixes prompts with a text context and prompts without")
        words = [p.template or template for p in prompts]
        unique = list(dict.fromkeys(words))
        features = torch.stack([self._words(classes, word) for word in unique])
        return features if len(unique) == 1 else features[[unique.index(w) for w in words]]

    @torch.no_grad()
    def _words(self, classes: tuple[str, ...], template: str) -> Tensor:
        """[C, e]: the features of the class names in a template, encoded once."""
        key = (classes, template)
        if key not in self._worded:
            self._worded[key] = self._backbone.encode_texts([template.format(name) for name in classes])
        return self._worded[key]

    # Images

    def _image(self, sample: Sample, prompts: Sequence[Prompt]) -> Tensor:
        """Image features [K, B, e] (or [1, B, e] if no prompt changes the image)."""
        moved = [p.pixels for p in prompts if p.pixels is not None]
        tokens = [p.tokens for p in prompts if p.tokens is not None]
        if moved:
            if len(moved) < len(prompts) or tokens:
                raise ValueError("one call mixes prompts that change pixels with prompts of another kind")
            sent = torch.cat([pixels(sample.batch) for pixels in moved])  # [K * B, 3, S, S]
            if self._eight_bit:
                sent = from_bytes(to_bytes(sent), self.dtype)
            at_once = WIDE if self.dtype == torch.float64 else AT_ONCE
            parts = [self._backbone.encode_images(part) for part in torch.split(sent, at_once)]
            found = torch.cat(parts)
            return (exact.kept(found) if self._eight_bit else found).view(len(prompts), len(sample), -1)
        if tokens:
            if len(tokens) != len(prompts):
                raise ValueError("one call mixes prompts with visual tokens and prompts without")
            return self._backbone.encode_trunk(self._trunk(sample), torch.stack(tokens))
        return image_features(self._backbone, sample, "features", self._features, self.device)[None]

    @torch.no_grad()
    def _trunk(self, sample: Sample) -> Tensor:
        """The part of the computation that does not depend on visual tokens, encoded once per sample."""
        if self._trunks not in sample.memo:
            sample.memo[self._trunks] = self._backbone.trunk(sample.images)
        return sample.memo[self._trunks]


@torch.no_grad()
def image_features(model: Frozen, sample: Sample, kind: str, features: Features, device: str) -> Tensor:
    """[B, width] features of a sample. Those of plain images are taken from the features of their whole set.

    Those of crops are computed once for all methods (bench/models/augmented.py).

    kind: the name under which the sample keeps the features.
    """
    if kind not in sample.memo:
        if sample.crop_seed is None:
            sample.memo[kind] = features.features(model, sample.source)[sample.index].to(device)
        else:
            sample.memo[kind] = features.augmented(model, sample).to(device)
    return sample.memo[kind]
