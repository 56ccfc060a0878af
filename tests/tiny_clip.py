"""Small open_clip models with random weights, and their tokenizer."""

from functools import cache

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import nn

VISION = {
    "vit": {"layers": 2, "width": 48, "head_width": 16, "patch_size": 8, "image_size": 32},
    "resnet": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 32, "image_size": 64},
}
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 3}


def tiny_config(vision: str = "vit", quick_gelu: bool = False) -> dict:
    return {"embed_dim": 16, "vision_cfg": VISION[vision], "text_cfg": TEXT, "quick_gelu": quick_gelu}


def tiny_clip(
    vision: str = "vit", quick_gelu: bool = False, dtype: torch.dtype = torch.float64
) -> open_clip.CLIP:
    """The weights are large enough that attention matters; the batch norms are not the identity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.CLIP(**tiny_config(vision, quick_gelu))
        for name, parameter in model.named_parameters():
            if name.endswith(("bias", "in_proj_weight")) or "embedding" in name:
                nn.init.normal_(parameter, std=0.3)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval().requires_grad_(False).to(dtype)


@cache  # reading the merges takes longer than most tests
def tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer(context_length=TEXT["context_length"])
