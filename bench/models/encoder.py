"""The frozen image encoder that BlackVIP uses beside the black box (CVPR 2023, sec. 3.2)."""

from difflib import get_close_matches
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor, nn
from torchvision.transforms import Normalize

from bench import exact
from bench.errors import NotHere, UserError
from bench.models.weights import first_line, hub, seeded, state_hash


class Encoder:
    """A frozen encoder: one vector of `embed_dim` numbers for each image in [0, 1]."""

    def __init__(
        self,
        name: str,
        module: nn.Module,
        width: int,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.name, self.embed_dim, self.device, self.dtype = name, width, torch.device(device), dtype
        self.module = module.eval().requires_grad_(False).to(self.device, dtype)

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """Images [B, 3, S, S] in [0, 1], not normalised -> features [B, embed_dim]."""
        return self.module(images.to(self.device, self.dtype))

    def encode_clean(self, images: Tensor) -> Tensor:
        """The same for unchanged images, whose features are kept on disk."""
        return exact.kept(self.encode_images(images))

    def encode_crops(self, images: Tensor) -> Tensor:
        """The same for crops of images."""
        return self.encode_images(images)

    @cached_property
    def identity(self) -> tuple[object, ...]:
        """Everything that decides the features of an image."""
        return (self.name, state_hash(self.module), str(self.dtype), self.device.type)


class ClassToken(nn.Module):
    """A timm ViT, read at the class token of its last block, before the last layer norm.

    This follows BlackVIP's code: it takes the last hidden state, and it gives the encoder images that are
    normalised for CLIP, whatever the encoder was trained with.
    """

    def __init__(self, vit: Any, size: int) -> None:
        super().__init__()
        self.vit, self.size = vit, size
        self.vit.norm = nn.Identity()
        self.normalise = Normalize(OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, S, S] in [0, 1] -> features [B, width]."""
        if images.shape[-1] != self.size:
            images = F.interpolate(images, size=(self.size, self.size), mode="bicubic", antialias=True)
        return self.vit.forward_features(self.normalise(images))[:, 0]


def load_encoder(
    name: str, device: str | torch.device = "cpu", offline: bool = False, dtype: torch.dtype = torch.float32
) -> Encoder:
    """The encoder with this name.

    name: "mini" (part of the package), a timm ViT such as "vit_base_patch16_224.mae", or "<timm ViT>:random"
    for tests. offline: do not use the network. Raises UserError for a name that timm does not have, a model
    without a class token, and weights that cannot be loaded.
    """
    if name == "mini":
        from bench.mini.model import load_encoder as load_mini  # imported only if it is needed

        module = load_mini()
        return Encoder(name, module, module.width, device, dtype)
    import timm
    from timm.data.config import resolve_model_data_config

    arch, _, tag = name.partition(":")
    if not timm.is_model(arch):
        close = get_close_matches(arch, ["mini", *timm.list_models(), *timm.list_pretrained()], n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise UserError(f"no image encoder {arch!r}: it is neither 'mini' nor one of timm's models.{hint}")
    if tag not in ("", "random"):
        raise UserError(
            f"no weights {tag!r} for the image encoder {arch!r}: write {arch!r} or '{arch}:random'"
        )
    try:
        with hub(offline), seeded():
            vit: Any = timm.create_model(arch, pretrained=tag != "random", num_classes=0)
    except Exception as error:  # timm, the hub and its HTTP client raise many kinds
        what = f"the image encoder {name!r}"
        message = (
            f"{what} cannot be loaded ({first_line(error)}); run once with network to download its weights"
        )
        raise NotHere(what, message) if offline else UserError(message) from error
    if getattr(vit, "cls_token", None) is None:
        raise UserError(
            f"the image encoder {arch!r} has no class token; use a ViT such as vit_base_patch16_224.mae"
        )
    size = resolve_model_data_config(vit)["input_size"][1]
    return Encoder(name, ClassToken(vit, size), vit.num_features, device, dtype)
