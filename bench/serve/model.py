"""The model behind the server: images as bytes and texts -> cosines, and what is answered of them."""

from collections import OrderedDict

import torch
from torch import Tensor

from bench import exact
from bench.answered import Level
from bench.coarse import narrowed
from bench.data.images import View
from bench.loader import AT_ONCE
from bench.pixels import from_bytes
from bench.protocols import Backbone

KEPT = 256  # lists of texts whose features are kept


class Model:
    """A backbone, and how much of its answers is granted. Used by one thread at a time."""

    def __init__(self, backbone: Backbone, level: Level, view: View) -> None:
        self.backbone, self.level, self.view = backbone, level, view
        self._texts: OrderedDict[tuple[str, ...], Tensor] = OrderedDict()

    @torch.no_grad()
    def images(self, pictures: Tensor) -> Tensor:
        """uint8 [B, 3, S, S] -> [B, e] of unit norm."""
        sent = from_bytes(pictures, self.backbone.dtype)
        parts = [self.backbone.encode_images(part) for part in torch.split(sent, AT_ONCE)]
        return exact.kept(torch.cat(parts)).to(self.backbone.dtype)

    @torch.no_grad()
    def texts(self, texts: tuple[str, ...]) -> Tensor:
        """[C, e] of unit norm; those asked for last are kept."""
        found = self._texts.pop(texts, None)
        if found is None:
            found = self.backbone.encode_texts(texts)
        self._texts[texts] = found
        if len(self._texts) > KEPT:
            self._texts.popitem(last=False)
        return found

    def logits(self, cosines: Tensor) -> Tensor:
        """[B, C] float64."""
        return exact.answer(self.backbone.logit_scale * cosines)

    def said(self, cosines: Tensor, level: Level | None = None) -> Tensor:
        """Logits, or probabilities of which NaN are not said: [B, C] float64."""
        level, logits = level or self.level, self.logits(cosines)
        return logits if level.kind == "logits" else narrowed(logits.softmax(-1), level)

    def described(self) -> dict[str, object]:
        """What its provider publishes: sizes, no weights."""
        b = self.backbone
        return {
            "backbone": b.name,
            "weights": b.weights_hash,
            "answers": str(self.level),
            "image_size": b.image_size,
            "resize_mode": self.view.resize_mode,
            "interpolation": self.view.interpolation,
            "pixel_mean": b.pixel_mean.flatten().tolist(),
            "pixel_std": b.pixel_std.flatten().tolist(),
            "logit_scale": b.logit_scale,
        }
