"""Loads the mini CLIP, its tokenizer and the small frozen encoder from files beside this module."""

import json
from itertools import pairwise
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bench.mini import vocabulary
from bench.mini.files import FILES, check

MEAN = torch.tensor((0.48145466, 0.4578275, 0.40821073))[:, None, None]  # CLIP's, as in open_clip
STD = torch.tensor((0.26862954, 0.26130258, 0.27577711))[:, None, None]


def load() -> tuple[open_clip.CLIP, SimpleTokenizer]:
    """The model (evaluation mode, float32), and its tokenizer: list[str] -> int64 [N, context_length].

    Raises UserError if a file is missing or damaged.
    """
    for name in ("clip", "config", "merges"):
        check(FILES[name])
    model = open_clip.CLIP(**json.loads(FILES["config"].read_text()))
    model.load_state_dict(load_file(FILES["clip"]))
    return model.eval(), vocabulary.tokenizer(FILES["merges"])


def load_encoder() -> "Encoder":
    """The frozen encoder (evaluation mode, float32). Raises UserError if its file is missing or damaged."""
    check(FILES["encoder"])
    encoder = Encoder()
    encoder.load_state_dict(load_file(FILES["encoder"]))
    fold_batch_norms(encoder.eval())
    return encoder.to(memory_format=torch.channels_last).eval()


def fold_batch_norms(module: nn.Module) -> None:
    """Fold every batch norm into the convolution before it, in place, in all submodules."""
    children = list(module.named_children())
    for (name, layer), (after, norm) in pairwise(children):
        if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(layer, norm))
            setattr(module, after, nn.Identity())
    for _, child in children:
        fold_batch_norms(child)


class Encoder(nn.Module):
    """Four strided convolutions and a mean: images [B, 3, S, S] in [0, 1] -> features [B, width]."""

    width = 128

    def __init__(self) -> None:
        super().__init__()
        channels = (3, 16, 32, 64, self.width)
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(True)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images [B, 3, S, S] in [0, 1] -> features [B, width]."""
        return self.layers(images * 4 - 2).mean((2, 3))


def config() -> dict[str, Any]:
    """The configuration for open_clip's model; the vocabulary's size follows from the merges file."""
    vocab_size = vocabulary.tokenizer(FILES["merges"]).vocab_size
    return {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64},
        "text_cfg": {
            "context_length": vocabulary.CONTEXT_LENGTH, "vocab_size": vocab_size,
            "width": 128, "heads": 4, "layers": 2,
        },
    }  # fmt: skip
