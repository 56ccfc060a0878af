"""CLIP's text tower on learned contexts: exact, and without work that cannot change the result.

A class prompt is SOS, m context vectors, the tokens of "{name}.", EOT. The tower is causal, so
 - tokens after EOT change nothing and are cut;
 - SOS and the context are the same for every class: they run once per candidate, and all classes attend to
   them;
 - all candidates run in one forward pass; the linear layers get only real tokens and no padding;
 - the class tokens enter the first layer unchanged by the context: their queries, keys and values are
   constants;
 - in the last layer only the EOT rows are needed.

The tokens of several classes are put one after the other into one sequence, a *block*. A mask lets each token
see SOS, the context, and the earlier tokens of its own class. So there is one attention per block, and not
one per length of a class name. This is faster for a small model, where calling an operation costs more than
its arithmetic, and for a large one, where many small products are slow. Blocks are short, because the masked
part of an attention is computed for nothing.

On a CPU one block runs after the other. On a GPU starting an operation takes longer than a block's share of
it, so the blocks are padded to one length and run as rows of one batch: for 1,000 classes, one operation
instead of about 40.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.models.block import Layer

Cache = list[tuple[Tensor, Tensor]]  # the keys and the values of every layer, each [K, heads, S, d / heads]

MAX_TOKENS = (
    4096  # tokens in one forward pass; this limits the memory (about 100 MB of activations at width 512)
)
STACKED_TOKENS = 65_536  # the same for stacked blocks, with the padding
BLOCK = 128  # class tokens in one sequence; longer sequences compute more masked pairs


@dataclass(frozen=True)
class Weights:
    """The weights of a causal text tower, converted once; its linear layers may be fp16 (see block.py)."""

    layers: tuple[Layer, ...]
    embedding: Tensor  # [vocabulary, d]
    positions: Tensor  # [context_length, d]
    final: Callable[[Tensor], Tensor]  # the last layer norm
    project: Callable[[Tensor], Tensor]  # [..., d] -> [..., e]


@dataclass(frozen=True)
class Block:
    """The tokens of some classes in one sequence, for one context length m."""

    x: Tensor  # [T, d] embeddings with positions
    qkv: Tensor  # [T, 3d] queries, keys and values of the first layer
    mask: Tensor  # [T, 1 + m + T] additive: SOS, context, and the earlier tokens of the same class
    last: Tensor  # [classes] positions of the EOTs


@dataclass(frozen=True)
class Stack:
    """n blocks as rows of one batch, padded to T tokens and c classes.

    Padding tokens see SOS and the context, so that their numbers are finite. No token of a class sees them.
    """

    x: Tensor  # [n, T, d]
    qkv: Tensor  # [n, T, 3d]
    mask: Tensor  # [n, 1, T, 1 + m + T]
    last: Tensor  # [n, c]
    places: Tensor  # [classes] where they are in the n c rows of `last`

    @staticmethod
    def of(blocks: Sequence[Block]) -> "Stack":
        longest, most = max(len(b.x) for b in blocks), max(len(b.last) for b in blocks)
        masks = []
        for b in blocks:
            pad = longest - len(b.x)
            mask = F.pad(b.mask, (0, pad), value=float("-inf"))
            masks.append(F.pad(mask, (0, 0, 0, pad), value=float("-inf")))
            masks[-1][:, : b.mask.shape[1] - len(b.x)] = 0.0  # SOS and the context
        places = [i * most + torch.arange(len(b.last), device=b.x.device) for i, b in enumerate(blocks)]
        return Stack(
            x=torch.stack([F.pad(b.x, (0, 0, 0, longest - len(b.x))) for b in blocks]),
            qkv=torch.stack([F.pad(b.qkv, (0, 0, 0, longest - len(b.x))) for b in blocks]),
            mask=torch.stack(masks)[:, None],
            last=torch.stack([F.pad(b.last, (0, most - len(b.last))) for b in blocks]),
            places=torch.cat(places),
        )


@dataclass(frozen=True)
class Plan:
    """The layout of the classes after a context of m tokens."""

    causal: Tensor  # [1 + m, 1 + m] additive
    blocks: tuple[Block, ...]
    stack: Stack | None  # several blocks, on a GPU

    @property
    def tokens(self) -> int:
        """Tokens of a candidate that are in one forward pass: SOS, context, and the longest block or all."""
        longest = max(block.mask.shape[1] for block in self.blocks)
        return longest if self.stack is None else longest * len(self.blocks)


class FastPath:
    """Contexts [K, m, d] -> text features [K, C, e] of unit norm.

    tokens: token ids [C, L] of the class names. ends: positions [C] of their EOTs. max_tokens: tokens in one
    forward pass. block: class tokens in one sequence. stacked: run blocks as rows of one batch, as on a GPU;
    None: on a GPU.
    """

    def __init__(
        self,
        weights: Weights,
        tokens: Tensor,
        ends: Tensor,
        max_tokens: int | None = None,
        block: int = BLOCK,
        stacked: bool | None = None,
    ) -> None:
        self.stacked = tokens.device.type != "cpu" if stacked is None else stacked
        self.max_tokens = max_tokens or (STACKED_TOKENS if self.stacked else MAX_TOKENS)
        self.weights, self.block = weights, block
        self.sos = int(tokens[0, 0])
        self.suffixes = [row[1 : end + 1] for row, end in zip(tokens, ends.tolist(), strict=True)]
        self._plan = lru_cache(maxsize=4)(self._lay_out)

    def __call__(self, contexts: Tensor) -> Tensor:
        plan = self._plan(contexts.shape[1])
        rows = max(1, self.max_tokens // plan.tokens)
        eots = torch.cat([self._eots(part, plan) for part in contexts.split(rows)])
        return F.normalize(self.weights.project(self.weights.final(eots)), dim=-1)

    @torch.inference_mode(False)  # a plan that is made in inference mode must also work with gradients later
    @torch.no_grad()
    def _lay_out(self, m: int) -> Plan:
        """The classes in order, in blocks of at most `self.block` tokens, but at least one class each."""
        groups: list[list[Tensor]] = [[]]
        for suffix in self.suffixes:
            if groups[-1] and sum(map(len, groups[-1])) + len(suffix) > self.block:
                groups.append([])
            groups[-1].append(suffix)
        blocks = tuple(self._make_block(group, m) for group in groups)
        causal = torch.ones(1 + m, 1 + m, dtype=torch.bool, device=self.suffixes[0].device).tril()
        stack = Stack.of(blocks) if self.stacked and len(blocks) > 1 else None
        return Plan(_additive(causal, blocks[0].qkv.dtype), blocks, stack)

    def _make_block(self, suffixes: list[Tensor], m: int) -> Block:
        weights, device = self.weights, suffixes[0].device
        lengths = torch.tensor([len(suffix) for suffix in suffixes], device=device)
        places = torch.cat([torch.arange(len(suffix), device=device) for suffix in suffixes]) + 1 + m
        owner = torch.repeat_interleave(torch.arange(len(suffixes), device=device), lengths)
        own = (owner[:, None] == owner[None]).tril()
        x = weights.embedding[torch.cat(suffixes)] + weights.positions[places]
        qkv = weights.layers[0].qkv(weights.layers[0].norm1(x))
        mask = _additive(F.pad(own, (1 + m, 0), value=True), qkv.dtype)
        return Block(x, qkv, mask, lengths.cumsum(0) - 1)

    def _eots(self, contexts: Tensor, plan: Plan) -> Tensor:
        """Contexts [K, m, d] -> the rows at the EOTs [K, C, d], before the final norm."""
        x, qkv = self._prefix(contexts)
        if len(plan.blocks) > 1:
            _, past = self._run(x, qkv, plan.causal)
            if plan.stack is not None:
                return self._stacked(len(x), plan.stack, past)
            eots = [
                self._run(_each(block.x, len(x)), _each(block.qkv, len(x)), block.mask, block.last, past)[0]
                for block in plan.blocks
            ]
            return torch.cat(eots, dim=1)
        # SOS, context and all classes in one sequence: half as many calls, which makes a small model faster.
        (block,) = plan.blocks
        prefix = F.pad(plan.causal, (0, len(block.x)), value=float("-inf"))
        x, qkv = torch.cat([x, _each(block.x, len(x))], 1), torch.cat([qkv, _each(block.qkv, len(x))], 1)
        return self._run(x, qkv, torch.cat([prefix, block.mask]), block.last + len(prefix))[0]

    def _stacked(self, k: int, stack: Stack, past: Cache) -> Tensor:
        """The rows at the EOTs [K, C, d]. The n blocks of each of K candidates are K n sequences."""
        x, qkv = stack.x.repeat(k, 1, 1), stack.qkv.repeat(k, 1, 1)
        mask, last = stack.mask.repeat(k, 1, 1, 1), stack.last.repeat(k, 1)
        eots, _ = self._run(x, qkv, mask, last, past)  # [K n, c, d]
        return eots.reshape(k, -1, eots.shape[-1])[:, stack.places]

    def _prefix(self, contexts: Tensor) -> tuple[Tensor, Tensor]:
        """SOS and context [K, m, d] -> embeddings [K, 1 + m, d], and the first layer's qkv [K, 1 + m, 3d]."""
        weights, (k, m, _) = self.weights, contexts.shape
        sos = weights.embedding[self.sos].expand(k, 1, -1)
        x = torch.cat([sos, contexts.to(sos.dtype)], dim=1) + weights.positions[: 1 + m]
        return x, weights.layers[0].qkv(weights.layers[0].norm1(x))

    def _run(
        self, x: Tensor, qkv: Tensor, mask: Tensor, last: Tensor | None = None, past: Cache | None = None
    ) -> tuple[Tensor, Cache]:
        """Run all layers on x [K, S, d].

        qkv: the first layer's queries, keys and values [K, S, 3d]. past: keys and values of P tokens before
        x. The additive mask is [S, P + S] or [K, 1, S, P + S]. last: [n], the same for all sequences, or
        [K, n]. Returns the rows `last` of the output, [K, n, d], and no keys. With `last` None the keys and
        values of every layer are returned instead, and the last layer stops after them.
        """
        cache: Cache = []
        for i, layer in enumerate(self.weights.layers):
            ending = layer is self.weights.layers[-1]
            rows = last if ending else None
            if i == 0:
                q, k, v = layer.split(qkv)
                q = q if rows is None else _rows(q, rows)
            elif rows is None:
                q, k, v = layer.split(layer.qkv(layer.norm1(x)))
            else:
                normed = layer.norm1(x)
                (q,) = layer.split(layer.query(_rows(normed, rows)))
                k, v = layer.split(layer.keyvalue(normed))
            if past is not None:
                before_k, before_v = (_repeated(one, len(k)) for one in past[i])
                k, v = torch.cat([before_k, k], dim=2), torch.cat([before_v, v], dim=2)
            if last is None:
                cache.append((k, v))
            if ending and last is None:
                break
            x, mask = (x, mask) if rows is None else (_rows(x, rows), _rows(mask, rows))
            x = layer.finish(x, q, k, v, mask)
        return x, cache


def _rows(x: Tensor, rows: Tensor) -> Tensor:
    """[.., S, d] -> [.., n, d]. rows: [n], the same everywhere, or [K, n] for x [K, .., S, d]."""
    if rows.dim() == 1:
        return x[..., rows, :]
    index = rows.view(len(rows), *[1] * (x.dim() - 3), -1, 1)
    return x.gather(-2, index.expand(*x.shape[:-2], rows.shape[1], x.shape[-1]))


def _repeated(x: Tensor, rows: int) -> Tensor:
    """[K, ..] -> [rows, ..]: each candidate's row, once for each of its sequences."""
    return x if len(x) == rows else x.repeat_interleave(rows // len(x), 0)


def _each(x: Tensor, k: int) -> Tensor:
    """[T, d] -> [k, T, d]: the same for each of k candidates."""
    return x.expand(k, -1, -1)


def _additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """An additive mask: True (attend) -> 0, False -> -inf."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(~allowed, float("-inf"))
