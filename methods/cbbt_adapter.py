"""CBBT with its second half: the text context and an adapter of the image features, tuned together.

Guo et al., Findings of EMNLP 2023, https://arxiv.org/abs/2312.15901; see cbbt.py for the text half.

    f' = (1 - r) f + r A(f),   A(f) = relu(W relu(V f)),   logits = scale cos(f', t)

f is an image's feature, t a class's; r = 0.2 is the value of the authors' scripts. The API has to grant
features, so this is a reference row. Every loss of a step is worked out from features, through the adapter:
the q + 1 losses give the context's gradient, and the pivot's loss gives that of V and W by back-propagation
through the adapter alone. An adapter works on any classes.

The released code has the configurations of this half and not the half itself. Ours are: the form of A, which
is that of CLIP-Adapter (Gao et al., IJCV 2024), with e / 4 hidden units and no offsets, so that it makes no
difference whether a feature has norm one; one Adam with one rate for both halves; losses through the adapter.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from bench.methods.cbbt import CBBT
from torch import Tensor

from bench.blackbox import Batch, cross_entropy
from bench.prompt import Prompt


@dataclass(frozen=True)
class Params(CBBT.Params):
    """Those of the text half, and the adapter's."""

    ratio: float = 0.2  # r
    reduction: int = 4  # the adapter has e / reduction hidden units (ours)


class CBBTAdapter(CBBT):
    """A context vector along an estimated gradient, and an adapter of the features by back-propagation."""

    title = "CBBT (with adapter)"
    access = ("text context", "features")
    Params = Params

    def setup(self) -> None:
        super().setup()
        e = self.box.spec.feature_width
        if not 0 < self.params.reduction <= e:
            raise ValueError(f"reduction must be 1 to {e}, the width of a feature")
        self.e, self.hidden = e, e // self.params.reduction

    @property
    def n_params(self) -> int:
        return self.n + 2 * self.e * self.hidden

    def start(self) -> Tensor:
        """The words, and both layers as PyTorch initialises them: U[-b, b], b = 1 / sqrt(inputs)."""
        size = self.e * self.hidden
        uniform = 2 * torch.rand(2, size, generator=self.rng, dtype=torch.float64) - 1
        V, W = uniform * torch.tensor([[self.e**-0.5], [self.hidden**-0.5]], dtype=torch.float64)
        return torch.cat([super().start(), torch.cat([V, W]).to(self.box.device)])

    def split(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """The context [n] and the adapter's weights [2 e h]."""
        return state[: self.n], state[self.n :]

    def answers(self, image: Tensor, text: Tensor, weights: Tensor) -> Tensor:
        """Features [B, e] and [C, e] -> logits [B, C]."""
        V, W = weights.view(2, -1)
        seen = F.relu(F.relu(image @ V.view(self.e, self.hidden)) @ W.view(self.hidden, self.e))
        r = self.params.ratio
        mixed = F.normalize((1 - r) * image + r * seen, dim=-1)
        return self.box.spec.logit_scale * (mixed @ text.T)

    def prompt(self, state: Tensor) -> Prompt:
        context, weights = self.split(state)
        return Prompt(
            context=context.view_as(self.words),
            adapter=lambda image, text: self.answers(image, text, weights),
            any_classes=True,
            state=state,
        )

    def gradient(self, batch: Batch, x: Tensor) -> Tensor:
        """Of the loss on a batch, at the state x: 1 + q queries, of which all or none are spent."""
        self.box.require(1 + self.params.q)
        context, weights = self.split(x)
        rgf, leaf = self.rgf(context), weights.clone().requires_grad_(True)

        def loss(one: Tensor, weights: Tensor) -> Tensor:
            image, text = self.box.features(batch, Prompt(context=one.view_as(self.words)))
            return cross_entropy(self.answers(image, text, weights)[None], batch.labels)

        asked = rgf.ask()
        pivot = loss(asked[0], leaf)
        losses = torch.cat([pivot.detach(), *(loss(one, weights) for one in asked[1:])])
        (slope,) = torch.autograd.grad(pivot.sum(), leaf)
        return torch.cat([self.estimate(rgf, losses), slope])
