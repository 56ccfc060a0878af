"""Text features of class prompts: by the fast path if it is exact, else by open_clip's own path."""

import warnings
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import UserError
from bench.models.block import OpenClip, is_plain, norm, pack_layer
from bench.models.fast import BLOCK, FastPath, Weights

Tokenizer = Callable[[list[str]], Tensor]  # texts -> token ids [N, context_length]


def text_module(model: OpenClip) -> OpenClip:
    """The module of the text tower: the model itself (CLIP) or its `.text` (CustomTextCLIP).

    Raises UserError for a tower without a token embedding, because it cannot take a context.
    """
    text = getattr(model, "text", model)
    if not isinstance(getattr(text, "token_embedding", None), nn.Embedding):
        raise UserError(
            f"this model's text tower ({type(text).__name__}) has no token embedding that a learned context "
            "can replace; use a CLIP or SigLIP model of open_clip, or a method that tunes pixels"
        )
    return text


def is_causal_clip(model: OpenClip) -> bool:
    """Whether the fast path is exact for this model: causal, read at EOT, plain residual attention blocks."""
    text = text_module(model)
    mask = getattr(text, "attn_mask", None)
    return (
        mask is not None
        and torch.equal(mask, torch.full_like(mask, float("-inf")).triu(1))
        and reads_eot(model)
        and getattr(text, "cls_emb", None) is None
        and all(is_plain(block) for block in text.transformer.resblocks)
    )


def reads_eot(model: OpenClip) -> bool:
    """Whether the text feature is read at EOT, as in every CLIP. The tokens are SOS, words, EOT, padding."""
    return _pool_type(text_module(model)) in ("argmax", "eos")


def _pool_type(text: OpenClip) -> str:
    return str(getattr(text, "text_pool_type", None) or getattr(text, "pool_type", ""))


def eot_positions(model: OpenClip, tokens: Tensor) -> Tensor:
    """Token ids [N, L] -> the position [N] at which each text ends, found as in open_clip."""
    text = text_module(model)
    if _pool_type(text) == "eos":
        eos = getattr(text, "text_eos_id", None) or text.eos_id
        return (tokens == eos).int().argmax(dim=-1)
    return tokens.argmax(dim=-1)


def encode_tokens(model: OpenClip, tokens: Tensor) -> Tensor:
    """Token ids [N, L] -> features [N, e] of unit norm: `model.encode_text`, cut at EOT if that is exact."""
    if not is_causal_clip(model):
        return F.normalize(model.encode_text(tokens), dim=-1)
    text, eot = text_module(model), eot_positions(model, tokens)
    length = int(eot.max()) + 1
    x = text.token_embedding(tokens[:, :length]) + text.positional_embedding[:length]
    x = text.transformer(x, attn_mask=text.attn_mask[:length, :length])
    x = text.ln_final(x[torch.arange(len(x), device=x.device), eot])
    return F.normalize(_projection(text)(x), dim=-1)


@torch.inference_mode(False)  # weights that are made in inference mode must also work with gradients
@torch.no_grad()
def pack(model: OpenClip, dtype: torch.dtype | None = None) -> Weights:
    """The weights of a text tower for the fast path. dtype: of the linear layers; None: the model's own."""
    text = text_module(model)
    cast = dtype or text.token_embedding.weight.dtype
    return Weights(
        layers=tuple(pack_layer(block, cast) for block in text.transformer.resblocks),
        embedding=text.token_embedding.weight.detach(),
        positions=text.positional_embedding.detach(),
        final=norm(text.ln_final, text.token_embedding.weight.dtype),
        project=_projection(text),
    )


def _projection(text: OpenClip) -> Callable[[Tensor], Tensor]:
    projection = text.text_projection
    if projection is None:
        return lambda x: x
    return projection if isinstance(projection, nn.Linear) else lambda x: x @ projection


class TextTower:
    """Text features of the class prompts of one list of class names, for any context.

    `encode` maps contexts [K, m, d] of K candidates to features [K, C, e] of unit norm. It is exact (to 1e-10
    in float64) and differentiable in the contexts. `fast` says whether the fast path is exact for the model.
    If it is not (e.g. for a tower that is not causal), there is a warning, and `encode` is the same as
    `plain`.

    max_tokens, block, stacked  see FastPath; the first one limits the memory
    Raises UserError for a context that does not fit before the longest class name.
    """

    def __init__(
        self,
        model: OpenClip,
        tokenizer: Tokenizer,
        class_names: Sequence[str],
        weights: Weights | None = None,
        max_tokens: int | None = None,
        block: int = BLOCK,
        stacked: bool | None = None,
    ) -> None:
        if not class_names:
            raise UserError("a text tower needs at least one class name")
        self.model, self.class_names = model, tuple(class_names)
        text = text_module(model)
        self.width: int = text.token_embedding.weight.shape[1]
        self.context_length: int = model.context_length
        self.fast = is_causal_clip(model)
        device = text.token_embedding.weight.device
        # The whole text is tokenised, because the full stop merges with the end of some names.
        self.tokens = tokenizer([f"{name}." for name in class_names]).to(device)  # [C, L]
        # the number of SOS tokens
        self.start = 1 if reads_eot(model) or hasattr(tokenizer, "sot_token_id") else 0
        self.ends = self._ends()
        self.room = max(0, self.context_length - 1 - int(self.ends.max()))  # tokens left for the context
        self._fast: FastPath | None = None
        if self.fast:
            packed = weights or pack(model)
            self._fast = FastPath(packed, self.tokens, self.ends, max_tokens, block, stacked)
        else:
            kind = type(text).__name__
            warnings.warn(
                f"{kind} is not a plain causal CLIP tower: prompts run at full length, which is slow",
                stacklevel=2,
            )

    def encode(self, contexts: Tensor) -> Tensor:
        """Contexts [K, m, d] -> [K, C, e] of unit norm."""
        contexts = self._check(contexts)
        return self.plain(contexts) if self._fast is None else self._fast(contexts)

    def plain(self, contexts: Tensor) -> Tensor:
        """As `encode`, by the model's own `encode_text` at its full length, one candidate after the other."""
        contexts = self._check(contexts)
        m, start = contexts.shape[1], self.start
        length = self.tokens.shape[1]
        places = self.tokens[:, start : start + 1].expand(-1, m)  # any token, because the context replaces it
        tokens = torch.cat([self.tokens[:, :start], places, self.tokens[:, start:]], dim=1)[:, :length]
        embedding = text_module(self.model).token_embedding
        features = []
        for context in contexts:
            x = embedding(tokens)
            rows = context.to(x.dtype).expand(len(x), -1, -1)
            x = torch.cat([x[:, :start], rows, x[:, start + m :]], dim=1)
            with embedding.register_forward_hook(lambda *_, x=x: x):
                features.append(self.model.encode_text(tokens))
        return F.normalize(torch.stack(features), dim=-1)

    def _check(self, contexts: Tensor) -> Tensor:
        if contexts.dim() != 3 or contexts.shape[2] != self.width or contexts.shape[1] < 1:
            shape = list(contexts.shape)
            raise UserError(
                f"contexts must have the shape [candidates, tokens, {self.width}] for this model, not {shape}"
            )
        m = contexts.shape[1]
        if m > self.room:
            name = self.class_names[int(self.ends.argmax())]
            raise UserError(
                f"a context of {m} tokens does not fit before class {name!r}: the model takes "
                f"{self.context_length} tokens in all, which leaves {self.room}; shorten the context or the "
                "name"
            )
        return contexts.to(self.tokens.device)

    def _ends(self) -> Tensor:
        """The last position [C] of each text that is needed: EOT, or the token before the padding."""
        if reads_eot(self.model):
            return eot_positions(self.model, self.tokens)
        padding = self.tokens[:, -1:]  # padding repeats the last token; a full row has no padding
        real = (self.tokens != padding).int()
        last = self.tokens.shape[1] - 1 - real.flip(1).argmax(dim=1)
        return (last + 1).clamp(max=self.tokens.shape[1] - 1)
