"""A residual attention block of open_clip as plain functions, for the text and the image tower.

Weights are converted once. The residual stream and the layer norms keep the model's precision; the linear
layers may be fp16 or bf16. (On CUDA, fp16 layers with a float32 residual stream keep the direction of finite
differences better than bf16 layers.)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn

from bench.models.dense import Dense

OpenClip = Any  # a module of open_clip; its attributes have no type annotations


@dataclass(frozen=True)
class Layer:
    """One residual attention block as functions of [..., d]."""

    norm1: Callable[[Tensor], Tensor]
    qkv: Dense
    query: Dense  # the query part of qkv, for a last layer of which only few rows are needed
    keyvalue: Dense  # the key and value part of qkv
    out: Dense
    norm2: Callable[[Tensor], Tensor]
    fc: Dense  # the MLP's first layer, with the activation
    proj: Dense
    heads: int

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Split into heads: [K, S, n d] -> n tensors [K, heads, S, d / heads]."""
        width = self.out.weight.shape[0]
        parts = x.view(*x.shape[:2], -1, self.heads, width // self.heads)
        return parts.permute(2, 0, 3, 1, 4).unbind(0)

    def finish(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Attention, its output layer and the MLP: -> [K, S, d].

        x [K, S, d]; q, k and v [K, heads, S or keys, d / heads]; mask additive, [S, keys] or None.
        """
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.proj(self.fc(self.norm2(x)))


def is_plain(block: OpenClip) -> bool:
    """Whether `pack_layer` covers this block: no layer scale, no custom attention, GELU or QuickGELU."""
    return (
        type(block) is ResidualAttentionBlock
        and isinstance(block.ls_1, nn.Identity)
        and isinstance(block.ls_2, nn.Identity)
        and type(block.mlp.gelu) in (QuickGELU, nn.GELU)
        and getattr(block.mlp.gelu, "approximate", "none") == "none"
    )


def pack_layer(block: OpenClip, dtype: torch.dtype) -> Layer:
    """The block with its linear layers in `dtype`."""

    def dense(weight: Tensor, bias: Tensor, activation: str = "none") -> Dense:
        return Dense(weight.detach().to(dtype), bias.detach().to(dtype), activation)

    attn, fc, proj = block.attn, block.mlp.c_fc, block.mlp.c_proj
    w, b, d = attn.in_proj_weight, attn.in_proj_bias, attn.embed_dim
    weights, activation = (fc.weight, fc.bias, proj.weight), "gelu"
    if isinstance(block.mlp.gelu, QuickGELU):
        # x sigmoid(1.702 x) = silu(1.702 x) / 1.702: with scaled weights, one operation does the work of
        # three
        weights, activation = (1.702 * fc.weight, 1.702 * fc.bias, proj.weight / 1.702), "swish"
    return Layer(
        norm1=norm(block.ln_1, dtype),
        qkv=dense(w, b),
        query=dense(w[:d], b[:d]),
        keyvalue=dense(w[d:], b[d:]),
        out=dense(attn.out_proj.weight, attn.out_proj.bias),
        norm2=norm(block.ln_2, dtype),
        fc=dense(weights[0], weights[1], activation),
        proj=dense(weights[2], proj.bias),
        heads=attn.num_heads,
    )


def norm(module: OpenClip, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Layer norm in the precision of its input; the result has the type of the next layer, `dtype`."""
    shape, eps = tuple(module.normalized_shape), module.eps
    weight, bias = module.weight.detach(), module.bias.detach()
    return lambda x: F.layer_norm(x, shape, weight, bias, eps).to(dtype)
