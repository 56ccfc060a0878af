"""A frozen vision-language model behind a small interface: features of images, texts and contexts."""

import hashlib
from collections.abc import Callable, Sequence
from copy import copy
from functools import cached_property

import torch
from open_clip.transform import PreprocessCfg
from torch import Tensor, nn

from bench import exact
from bench.errors import UserError
from bench.models.block import OpenClip
from bench.models.fast import Weights
from bench.models.text import (
    TextTower,
    encode_tokens,
    eot_positions,
    is_causal_clip,
    pack,
    reads_eot,
    text_module,
)
from bench.models.vision import Tower, image_tower, patch_statistics, unit
from bench.models.weights import load_model, state_hash
from bench.precision import types_of

TEXTS_AT_ONCE = 256  # texts in one forward pass


def model_dtype(precision: str) -> torch.dtype:
    """The type in which a model computes. Raises UserError for a precision that does not exist."""
    return _dtype(types_of(precision).model)


def _dtype(name: str) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, name)
    return dtype


class Backbone:
    """An open_clip model in evaluation mode, frozen.

    name, precision, device, dtype   dtype is the type of all features: float32 or float64
    image_size, interpolation, resize_mode, pixel_mean, pixel_std [3, 1, 1]   how the model wants its images
    embed_dim (e), text_width (d), vision_width (w, None: no visual tokens), context_length, logit_scale
    token_std   standard deviation of the token embedding table; patch_mean, patch_std: see patch_statistics
    model, tokenizer   the open_clip model; a function from texts to token ids [N, context_length]

    The logit bias of a model such as SigLIP is not used: a constant added to all logits changes neither a
    softmax nor a prediction.
    """

    def __init__(
        self,
        name: str,
        model: OpenClip,
        tokenizer: Callable[[list[str]], Tensor],
        preprocess: PreprocessCfg | None = None,
        device: str | torch.device = "cpu",
        precision: str = "float32",
    ) -> None:
        self._types = types_of(precision)
        self.name, self.precision, self.device = name, precision, torch.device(device)
        self.dtype = _dtype(self._types.model)
        self.model = model.eval().requires_grad_(False).to(device=self.device, dtype=self.dtype)
        self.tokenizer = tokenizer
        preprocess = preprocess or PreprocessCfg(size=_side(model.visual.image_size))
        self.image_size: int = _side(preprocess.size)
        self.interpolation, self.resize_mode = preprocess.interpolation, preprocess.resize_mode
        self.pixel_mean = torch.tensor(preprocess.mean, device=self.device, dtype=self.dtype).view(3, 1, 1)
        self.pixel_std = torch.tensor(preprocess.std, device=self.device, dtype=self.dtype).view(3, 1, 1)
        self.embed_dim = _embed_dim(model)
        table = text_module(model).token_embedding.weight
        self.text_width: int = table.shape[1]
        self.context_length: int = model.context_length
        self.token_std = exact.digits(float(table.double().std()))
        self.patch_mean, self.patch_std = patch_statistics(model.visual)
        self.logit_scale = exact.digits(float(model.logit_scale.double().exp()))

    def __repr__(self) -> str:
        return f"Backbone({self.name!r}, {self.precision}, {self.device})"

    # ---- images

    def trunk(self, images: Tensor) -> Tensor:
        """Pixels [B, 3, S, S] in [0, 1] -> the trunk: the features that visual tokens do not change.

        `encode_trunk` takes the result. Gradients pass to the pixels; the model's weights have none. Use
        torch.no_grad() if no gradient is wanted.
        """
        return self._images.trunk(self._normalised(images))

    def encode_trunk(self, trunk: Tensor, tokens: Tensor | None = None) -> Tensor:
        """A trunk of B images and visual tokens [K, n, w] -> [K, B, e] of unit norm; K = 1 without tokens.

        Raises UserError for tokens of another width, or a model that takes none.
        """
        if tokens is not None:
            tokens = tokens.to(device=self.device, dtype=self.dtype)
            if self.vision_width is not None and (tokens.dim() != 3 or tokens.shape[2] != self.vision_width):
                shape = list(tokens.shape)
                wanted = f"[candidates, tokens, {self.vision_width}]"
                raise UserError(f"visual tokens must have the shape {wanted} for {self.name}, not {shape}")
        return unit(self._images.finish(trunk, tokens))

    def encode_images(self, images: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Pixels [B, 3, S, S] in [0, 1], with visual tokens [n, w] or without -> [B, e] of unit norm."""
        return self.encode_trunk(self.trunk(images), None if tokens is None else tokens[None])[0]

    def encode_clean(self, images: Tensor) -> Tensor:
        """Pixels [B, 3, S, S] of plain images -> [B, e] of unit norm, for features that are kept on disk."""
        return exact.kept(self.encode_crops(images))

    def encode_crops(self, images: Tensor) -> Tensor:
        """Pixels [B, 3, S, S] of crops that no prompt changes -> [B, e] of unit norm.

        Only for images that a method leaves as they are, the image layers may be in bfloat16. Tuned images
        differ from each other by less than bfloat16 can hold.
        """
        trunk = self._kept_images.trunk(self._normalised(images))
        return unit(self._kept_images.finish(trunk, None))[0]

    def _normalised(self, images: Tensor) -> Tensor:
        return (images.to(device=self.device, dtype=self.dtype) - self.pixel_mean) / self.pixel_std

    # ---- texts

    def text_tower(self, class_names: Sequence[str]) -> TextTower:
        """The text tower for the class prompts "{context} {name}." of these names, for any context."""
        weights = self._text_weights if self._causal else None
        return TextTower(self.model, self.tokenizer, class_names, weights)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts -> [N, e] of unit norm. Texts that are too long are cut, as in open_clip."""
        tokens = self.tokenizer(list(texts)).to(self.device)
        return torch.cat([encode_tokens(self.model, part) for part in tokens.split(TEXTS_AT_ONCE)])

    @torch.no_grad()
    def embed_words(self, text: str) -> Tensor:
        """The token embeddings [m, d] of a text, without SOS and EOT: a context to start from.

        Raises UserError for a model whose tokens are not those of CLIP.
        """
        tokens = self.tokenizer([text]).to(self.device)
        if not reads_eot(self.model):
            raise UserError(
                f"{self.name} does not use CLIP's tokens: start from a random context instead of words"
            )
        end = int(eot_positions(self.model, tokens)[0])
        return text_module(self.model).token_embedding(tokens[0, 1:end])

    # ---- identity

    @cached_property
    def weights_hash(self) -> str:
        """sha256 of the state dict's names, types, shapes and bytes; the same in every precision."""
        return state_hash(self.model)

    @cached_property  # because every batch needs it
    def identity(self) -> tuple[object, ...]:
        """Everything that decides an image's features: weights, layers, scale, precision, device, size."""
        layers = hashlib.sha256(repr(self.model.visual).encode()).hexdigest()
        scale = (*self.pixel_mean.flatten().tolist(), *self.pixel_std.flatten().tolist())
        return (self.weights_hash, layers, scale, self.precision, self.device.type, self.image_size)

    # ---- towers, converted once, when they are first used

    @torch.no_grad()
    def warm(self) -> "Backbone":
        """This backbone, with all worked out that it keeps: every path is taken once, on a grey image."""
        grey = torch.full((1, 3, self.image_size, self.image_size), 0.5)
        self.encode_clean(grey)
        trunk = self.trunk(grey)
        self.encode_trunk(trunk)
        if self.vision_width is not None:
            self.encode_trunk(trunk, torch.zeros(1, 1, self.vision_width))
        self.text_tower(["thing"]).encode(torch.zeros(1, 1, self.text_width, dtype=self.dtype))
        self.encode_texts(["a thing"])
        _ = self.identity
        if self.rough is not None:
            self.rough.warm()
        return self

    @cached_property
    def rough(self) -> "Backbone | None":
        """This model with the image layers with which earlier checkpoints are scored; None if with the same.

        It shares everything else with this model.
        """
        if self._types.scored == self._types.moved:
            return None
        _ = self._kept_images  # those of this model
        twin = copy(self)
        vars(twin).update(rough=None, _images=self._tower(self._types.scored))
        return twin

    @cached_property
    def vision_width(self) -> int | None:
        """The width w of a visual token; None if the model takes none."""
        return self._images.width

    @cached_property
    def _causal(self) -> bool:
        return is_causal_clip(self.model)

    @cached_property
    def _images(self) -> Tower:
        return self._tower(self._types.moved)

    @cached_property
    def _kept_images(self) -> Tower:
        return self._images if self._types.kept == self._types.moved else self._tower(self._types.kept)

    def _tower(self, dtype: str) -> Tower:
        return image_tower(self.model.visual, _dtype(dtype))

    @cached_property
    def _text_weights(self) -> Weights:
        return pack(self.model, _dtype(self._types.text))


def load_backbone(
    name: str, device: str | torch.device = "cpu", precision: str = "float32", offline: bool = False
) -> Backbone:
    """The backbone with this name: "mini", "ViT-B-16/openai", "ViT-B-16//path/to/file" (see weights.py).

    offline: do not use the network. Raises UserError for an unknown name, precision or device, and for
    weights that cannot be loaded.
    """
    device = _device(device)
    model_dtype(precision)
    loaded = load_model(name, offline)
    return Backbone(name, loaded.model, loaded.tokenizer, loaded.preprocess, device, precision)


def _device(name: str | torch.device) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"no device {name!r}: use cpu, cuda or cuda:0") from error
    if device.type == "cuda":
        if not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count():
            raise UserError(f"no device {name!r} on this machine: use --device cpu")
        # No TF32: it keeps 10 bits of a float32, and its rounding errors hide finite differences of 0.01.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    return device


def _embed_dim(model: OpenClip) -> int:
    projection = text_module(model).text_projection
    if projection is None:
        return text_module(model).token_embedding.weight.shape[1]
    return projection.out_features if isinstance(projection, nn.Linear) else projection.shape[1]


def _side(size: int | Sequence[int]) -> int:
    """The side of a square image in pixels. Raises UserError for images that are not square."""
    if isinstance(size, int):
        return size
    height, width = size
    if height != width:
        raise UserError(
            f"this model takes images of {height} x {width} pixels, but only square images are supported: "
            "use another backbone"
        )
    return height
