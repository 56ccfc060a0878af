"""BlackVIP: black-box visual prompting for robust transfer learning.

Oh, Hwang, Lee, Lim, Jung, Jung, Choi, Song. CVPR 2023, https://arxiv.org/abs/2303.14773
Section 4.1: the Coordinator, a frozen encoder and a tuned decoder that gives each image its own prompt;
section 4.2: SPSA-GC. Where the values of ZIP's comparison (ICLR 2025) differ, they are used. As in the
authors' code, the encoder gets images normalised for CLIP and is read before its last layer norm
(bench/models/encoder.py).
"""

from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from bench import exact
from bench.blackbox import Batch, cross_entropy
from bench.method import Method
from bench.optim import SPSA, SPSASettings
from bench.prompt import Prompt

BN_MOMENTUM = 0.1  # PyTorch's default, as in the authors' decoder


@dataclass(frozen=True)
class Params(SPSASettings):
    """Values for ViT-B/16 at 224 pixels: 800 trigger entries and 9,120 decoder weights."""

    encoder: str = "vit_base_patch16_224.mae"  # the user's frozen encoder: CLS of ViT-MAE-base, 768 numbers
    cube: int = 32  # channels of the decoder's input [cube, grid, grid]
    grid: int = 7
    channels: tuple[int, ...] = (64, 32, 32, 16)  # output channels of the blocks; each block doubles the side
    eps: float = 1.0  # factor on the prompt, in normalised pixels
    momentum: float = 0.8  # beta; 0.9 in BlackVIP, 0.8 in ZIP's comparison


class BlackVIP(Method):
    """A prompt for each image from a tuned decoder, by SPSA-GC."""

    title = "BlackVIP"
    paper = "Oh et al., CVPR 2023"
    access = ("pixels",)
    difference_bits = 11  # measured: benchmarks/precision.py
    Params = Params

    def setup(self) -> None:
        p, side = self.params, self.box.spec.image_size
        levels = len(p.channels) + 1
        if p.grid * 2**levels != side:
            raise ValueError(f"grid {p.grid} doubled {levels} times is not the image's side, {side} pixels")
        self.std = torch.tensor(self.box.spec.pixel_std, device=self.box.device).view(3, 1, 1)
        self.layout = [("trigger", (p.cube * p.grid**2 - self.box.encoder_width(p.encoder),))]
        width, inner = p.cube, p.channels[0]
        for out in p.channels:  # a 2x2 transposed convolution in groups, then 1x1, then batch norm
            self.layout += [("conv", (width, inner // width, 2, 2)), ("bias", (inner,))]
            self.layout += [("point", (inner, out)), ("scale", (out,)), ("shift", (out,))]
            width = inner = out
        self.layout += [("out", (width, 3, 2, 2))]
        self.places = self.unsorted()
        # running means and variances, which are deployed and not tuned
        self.stats = [c for c in p.channels for _ in range(2)]

    @property
    def n_params(self) -> int:
        return sum(prod(shape) for _, shape in self.layout)

    def start(self) -> Tensor:
        """Trigger U[0, 0.1], the layers as PyTorch initialises them, running means 0 and variances 1."""
        parts, bound = [], 0.0
        for kind, shape in self.layout:
            # U[-b, b] with b = 1 / sqrt(fan in); a bias has the b of its layer.
            if kind in ("conv", "point", "out"):
                bound = prod(shape[1:]) ** -0.5
            uniform = torch.rand(prod(shape), generator=self.rng)
            fixed = {"trigger": 0.1 * uniform, "scale": torch.ones(shape), "shift": torch.zeros(shape)}
            parts.append(fixed.get(kind, bound * (2 * uniform - 1)))
        parts += [torch.full((c,), float(i % 2)) for i, c in enumerate(self.stats)]
        return torch.cat(parts).to(self.box.device)

    def prompt(self, state: Tensor) -> Prompt:
        """The deployed Coordinator, with running statistics, so that an image's prompt depends only on it."""
        params, stats = state.split([self.n_params, sum(self.stats)])

        def pixels(batch: Batch) -> Tensor:
            features = self.box.encode(batch, self.params.encoder)
            return self.add(batch, self.decode(params[None], features, stats)[0])[0]

        return Prompt(pixels=pixels, state=state)

    def add(self, batch: Batch, prompts: Tensor) -> Tensor:
        """clip(image + eps * prompt), prompts [K, B, 3, S, S] in normalised pixels, images in [0, 1]."""
        return (batch.images + self.params.eps * self.std * prompts).clamp(0, 1)

    def tune(self) -> None:
        p = self.params
        x, stats = self.x0.split([self.n_params, sum(self.stats)])
        optimiser = SPSA(x, self.rng, p)
        for batch in self.box.batches():
            self.box.require(2 * p.directions)
            features = self.box.encode(batch, p.encoder)
            drawn, seen = self.decode(optimiser.ask(), features)
            images = self.add(batch, drawn)
            prompts = [Prompt(pixels=lambda _, sent=sent: sent) for sent in images]
            optimiser.tell(cross_entropy(self.box.logits(batch, prompts), batch.labels))
            # Every forward pass updates the running statistics, in the authors' order: plus, minus, plus, ..
            for one in seen.unflatten(0, (2, -1)).transpose(0, 1).flatten(0, 1):
                stats = stats + BN_MOMENTUM * (one - stats)
            stats = exact.stored(stats)
            self.box.report(self.prompt(torch.cat([optimiser.x, stats])))

    def decode(self, states: Tensor, features: Tensor, stats: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """States [K, n], features [B, e] -> prompts [K, B, 3, S, S] and the batch's statistics [K, s].

        All candidates run at once, and batch norm treats each by itself. A 2x2 transposed convolution with
        stride 2 writes every output pixel once, so it is one product together with the 1x1 convolution after
        it. Positions stay in the order [.., a2, b2, a1, b1, B, y, x] until the end. stats: running
        statistics; None: batch norm in training mode.
        """
        K, B, p = len(states), len(features), self.params
        sizes = [prod(shape) for _, shape in self.layout]
        named = zip(self.layout, states.split(sizes, dim=1), strict=True)
        parts = iter([part.view(K, *shape) for (_, shape), part in named])
        trigger = next(parts)[:, None].expand(K, B, -1)
        x = torch.cat([features.expand(K, B, -1), trigger], dim=2).view(K, B, p.cube, -1)
        x = x.transpose(1, 2).reshape(K, p.cube, -1)  # [K, cube, B y x]
        known = iter(stats.split(self.stats)) if stats is not None else None
        seen = []
        for out in p.channels:
            conv, bias, point, scale, shift = (next(parts) for _ in range(5))
            per_input = point.view(K, x.shape[1], -1, out)
            weight = torch.einsum("kipab,kipo->koabi", conv, per_input).reshape(K, 4 * out, -1)
            offset = torch.einsum("ki,kio->ko", bias, point).repeat_interleave(4, 1)[..., None]
            y = torch.baddbmm(offset, weight, x).view(1, K * out, -1)
            if known is None:
                mean, var = y.new_zeros(K * out), y.new_zeros(K * out)
                y = F.batch_norm(y, mean, var, scale.flatten(), shift.flatten(), training=True, momentum=1.0)
                seen += [mean.view(K, out), var.view(K, out)]
            else:
                mean, var = next(known).repeat(K), next(known).repeat(K)
                y = F.batch_norm(y, mean, var, scale.flatten(), shift.flatten())
            x = F.gelu(y).view(K, out, -1)
        weight = next(parts).permute(0, 2, 3, 4, 1).reshape(K, 12, -1)
        drawn = self.sort(weight @ x, B)
        return drawn, torch.cat(seen, dim=1) if seen else drawn.new_empty(K, 0)

    def sort(self, x: Tensor, B: int) -> Tensor:
        """Put pixels in order: [K, 3 a b, .., a1 b1 B y x] -> [K, B, 3, S, S]."""
        K, side = len(x), self.box.spec.image_size
        images = x.view(K, -1, B, self.params.grid**2).transpose(1, 2).reshape(K * B, -1)
        return images.index_select(1, self.places).view(K, B, 3, side, side)

    def unsorted(self) -> Tensor:
        """The index of each pixel of [3, S, S] in [3 a b .. a1 b1 y x]: row y a1 .. a, column x b1 .. b."""
        n, g = len(self.params.channels) + 1, self.params.grid
        shape = (3, *[2] * (2 * n), g, g)
        a = [1 + 2 * (n - level) for level in range(1, n + 1)]
        order = (0, 2 * n + 1, *a, 2 * n + 2, *[i + 1 for i in a])
        return torch.arange(prod(shape)).view(shape).permute(order).flatten().to(self.box.device)
