"""Images as bytes, which is how an image file holds them, and back: a byte is read alike everywhere."""

import torch
from torch import Tensor


def to_bytes(images: Tensor) -> Tensor:
    """[.., 3, S, S] in [0, 1] -> uint8, rounded; what is outside is cut off."""
    return (images.detach() * 255).round().clamp(0, 255).to(torch.uint8)


def from_bytes(images: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 -> [0, 1]; divided in float32, as image sets are, before it is made wider."""
    return (images.float() / 255).to(dtype)
