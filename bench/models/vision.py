"""The image tower in two parts: the trunk, which visual tokens do not change, and the rest.

`trunk(pixels)` runs once per batch, `finish(trunk, tokens)` once per candidate:
 - VisionTransformer: the trunk ends with the patch embeddings and their positions. Visual tokens are appended
   there, before the pre-norm (BPT-VLM, IJCAI 2023, sec. 3.2).
 - ModifiedResNet: the trunk is all convolutions and ends with the query, keys and values of the attention
   pool. The keys and values of visual tokens are appended there. This is our extension: the papers tune
   visual tokens only on ViT.
 - any other tower: the trunk is the whole tower, and it takes no visual tokens.
Batch norm is folded into the convolutions. These run in channels-last order, or as matrix products where
PyTorch has no fast convolution (see products.py). All of this is exact up to rounding.
"""

from copy import deepcopy

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import Bottleneck, ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bench import exact
from bench.errors import UserError
from bench.models.block import OpenClip, is_plain, norm, pack_layer
from bench.models.products import by_products


class PlainTower:
    """An image tower that is not divided. width is None, because it takes no visual tokens."""

    width: int | None = None

    def __init__(self, visual: OpenClip, dtype: torch.dtype) -> None:
        own = next(visual.parameters()).dtype
        self.visual = visual if own == dtype else deepcopy(visual).to(dtype)
        self.dtype = dtype

    def trunk(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [B, 3, S, S] -> features [B, e]."""
        return self.visual(pixels.to(self.dtype))

    def finish(self, trunk: Tensor, tokens: Tensor | None) -> Tensor:
        """Features [B, e] -> [1, B, e]. Raises UserError for visual tokens."""
        if tokens is not None:
            raise UserError(
                f"this image tower ({type(self.visual).__name__}) takes no visual tokens; use a ViT or a "
                "ResNet of CLIP, or a method that tunes text or pixels"
            )
        return trunk[None]


class ViTTower:
    """open_clip's VisionTransformer, read at its class token."""

    def __init__(self, visual: OpenClip, dtype: torch.dtype) -> None:
        self.visual = visual
        self.width: int = visual.class_embedding.shape[0]
        own = visual.class_embedding.dtype
        self.pre = norm(visual.ln_pre, own) if isinstance(visual.ln_pre, nn.LayerNorm) else visual.ln_pre
        self.layers = [pack_layer(block, dtype) for block in visual.transformer.resblocks]

    @staticmethod
    def covers(visual: OpenClip) -> bool:
        """Whether this class computes the same as the given tower."""
        return (
            isinstance(visual, VisionTransformer)
            and visual.attn_pool is None
            and visual.pool_type == "tok"
            and not visual.output_tokens
            and all(is_plain(block) for block in visual.transformer.resblocks)
        )

    def trunk(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [B, 3, S, S] -> class token and patches with positions [B, 1 + P, w]."""
        visual = self.visual
        patches = visual.conv1(pixels).flatten(2).transpose(1, 2)
        first = visual.class_embedding.expand(len(patches), 1, -1)
        return torch.cat([first, patches], dim=1) + visual.positional_embedding

    def finish(self, trunk: Tensor, tokens: Tensor | None) -> Tensor:
        """Trunk [B, 1 + P, w] and tokens [K, n, w] or None -> [K, B, e] (K = 1 without tokens)."""
        if tokens is None:
            return self._encode(trunk)[None]
        # One candidate at a time: a batch of images uses the whole machine, and K batches would not fit.
        grown = (torch.cat([trunk, t.expand(len(trunk), -1, -1)], dim=1) for t in tokens.to(trunk.dtype))
        return torch.stack([self._encode(x) for x in grown])

    def _encode(self, x: Tensor) -> Tensor:
        """[B, S, w] -> [B, e]. In the last layer only the class token is needed."""
        x = self.pre(x)
        for layer in self.layers[:-1]:
            q, k, v = layer.split(layer.qkv(layer.norm1(x)))
            x = layer.finish(x, q, k, v, mask=None)
        last = self.layers[-1]
        normed = last.norm1(x)
        (q,), (k, v) = last.split(last.query(normed[:, :1])), last.split(last.keyvalue(normed))
        x = self.visual.ln_post(last.finish(x[:, :1], q, k, v, mask=None)[:, 0])
        return x if self.visual.proj is None else x @ self.visual.proj


class ResNetTower:
    """CLIP's ModifiedResNet: convolutions, then an attention pool from the mean to all places."""

    def __init__(self, visual: OpenClip, dtype: torch.dtype) -> None:
        self.pool = visual.attnpool
        self.width: int = visual.attnpool.positional_embedding.shape[1]
        self.dtype = dtype
        convolutions = fold_batch_norm(visual).to(dtype)
        self.products = dtype == torch.float64 and next(visual.parameters()).device.type == "cpu"
        if self.products:
            self.convolutions = by_products(convolutions)
        else:
            self.convolutions = convolutions.to(memory_format=torch.channels_last)
        positions = visual.attnpool.positional_embedding.detach()
        self.shift = positions[0] - positions[1:].mean(0)  # [w], from the places' mean position to the mean's

    def trunk(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [B, 3, S, S] -> the mean's query, and the keys and values of the mean and the
        places [B, 1 + 2 (1 + P), w].
        """
        pool, places = self.pool, self._convolve(pixels).to(self.pool.positional_embedding.dtype)
        x = torch.cat([places.mean(1, keepdim=True), places], dim=1) + pool.positional_embedding
        keys, values = self._project(pool.k_proj, x), self._project(pool.v_proj, x)
        return torch.cat([pool.q_proj(x[:, :1]), keys, values], dim=1)

    def _convolve(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [B, 3, S, S] -> places [B, P, w]."""
        if self.products:
            return self.convolutions(pixels.permute(1, 2, 3, 0).contiguous()).flatten(1, 2).permute(2, 1, 0)
        pixels = pixels.to(dtype=self.dtype, memory_format=torch.channels_last)
        return self.convolutions(pixels).flatten(2).transpose(1, 2)

    def finish(self, trunk: Tensor, tokens: Tensor | None) -> Tensor:
        """Trunk [B, 1 + 2 (1 + P), w] and tokens [K, n, w] or None -> [K, B, e] (K = 1 without tokens).

        One softmax is taken over the places and the tokens.
        """
        pool, heads = self.pool, self.pool.num_heads
        parts, places = trunk.unflatten(-1, (heads, -1)), trunk.shape[1] // 2
        q, k, v = parts[:, 0], parts[:, 1 : 1 + places], parts[:, 1 + places :]  # [B, (1 + P,) h, w / h]
        scale = q.shape[-1] ** -0.5
        scores = torch.einsum("bhd,bphd->bhp", q * scale, k)[None]  # [1, B, h, 1 + P]
        if tokens is None:
            mixed = torch.einsum("kbhp,bphd->kbhd", scores.softmax(-1), v)
        else:
            tokens = tokens.to(trunk.dtype)
            more_k = pool.k_proj(tokens).unflatten(-1, (heads, -1))  # [K, n, h, w / h]
            more_v = pool.v_proj(tokens).unflatten(-1, (heads, -1))
            more = torch.einsum("bhd,knhd->kbhn", q * scale, more_k)
            weights = torch.cat([scores.expand(len(tokens), -1, -1, -1), more], dim=-1).softmax(-1)
            mixed = torch.einsum("kbhp,bphd->kbhd", weights[..., :places], v)
            mixed = mixed + torch.einsum("kbhn,knhd->kbhd", weights[..., places:], more_v)
        return pool.c_proj(mixed.flatten(2))

    def _project(self, linear: nn.Linear, trunk: Tensor) -> Tensor:
        """linear(trunk) [B, 1 + P, w]. The mean's row is the mean of the places' rows, plus the shift."""
        places = linear(trunk[:, 1:])
        mean = places.mean(1, keepdim=True) + F.linear(self.shift.to(trunk.dtype), linear.weight)
        return torch.cat([mean, places], dim=1)


Tower = PlainTower | ViTTower | ResNetTower


@torch.inference_mode(False)  # weights that are made in inference mode must also work with gradients
@torch.no_grad()
def image_tower(visual: OpenClip, dtype: torch.dtype) -> Tower:
    """The tower in two parts if that is exact, else whole. dtype: of its linear and convolution layers."""
    if ViTTower.covers(visual):
        return ViTTower(visual, dtype)
    if isinstance(visual, ModifiedResNet):
        return ResNetTower(visual, dtype)
    return PlainTower(visual, dtype)


def fold_batch_norm(visual: OpenClip) -> nn.Sequential:
    """A copy of the convolutional part of a ModifiedResNet in evaluation mode, without its batch norms."""
    copy = deepcopy(visual).eval()
    folded = [copy, *(module for module in copy.modules() if isinstance(module, Bottleneck))]
    for module in folded:
        for i in "123":
            setattr(module, f"conv{i}", _fold(getattr(module, f"conv{i}"), getattr(module, f"bn{i}")))
            setattr(module, f"bn{i}", nn.Identity())
        if getattr(module, "downsample", None) is not None:
            pool, conv, bn = module.downsample
            module.downsample = nn.Sequential(pool, _fold(conv, bn))
    stem = [copy.conv1, copy.act1, copy.conv2, copy.act2, copy.conv3, copy.act3, copy.avgpool]
    return nn.Sequential(*stem, copy.layer1, copy.layer2, copy.layer3, copy.layer4)


def _fold(conv: nn.Conv2d, bn: OpenClip) -> nn.Conv2d:
    """The convolution with the batch norm folded in. Folded weights have an identity in its place."""
    return conv if isinstance(bn, nn.Identity) else fuse_conv_bn_eval(conv, bn)


def patch_statistics(visual: OpenClip) -> tuple[float, float]:
    """The mean and standard deviation with which BPT-VLM scales its projection of visual tokens.

    ViT: of the patch embedding's weights. ModifiedResNet: of the attention pool's positions, which have the
    units of its sequence. Any other tower: (0, 1), which is not used.
    """
    if isinstance(visual, VisionTransformer):
        table = visual.conv1.weight
    elif isinstance(visual, ModifiedResNet):
        table = visual.attnpool.positional_embedding
    else:
        return 0.0, 1.0
    wide = table.detach().double()
    return exact.digits(float(wide.mean())), exact.digits(float(wide.std()))


def unit(features: Tensor) -> Tensor:
    """Features -> unit norm, in float64 if they are float64, else in float32."""
    wide = features if features.dtype == torch.float64 else features.float()
    return F.normalize(wide, dim=-1)
