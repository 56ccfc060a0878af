"""BlackVIP: black-box visual prompting for robust transfer learning.

Oh, Hwang, Lee, Lim, Jung, Jung, Choi, Song. CVPR 2023, https://arxiv.org/abs/2303.14773
Section 4.1: the Coordinator, a frozen encoder and a tuned decoder that gives each image its own prompt;
section 4.2: SPSA-GC. Settings of the comparison in ZIP (ICLR 2025), where they differ.
"""

from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.blackbox import Batch, cross_entropy
from bench.method import Method
from bench.optim import SPSA
from bench.prompt import Prompt


@dataclass(frozen=True)
class Params:
    """ViT-B/16 at 224 pixels: 800 trigger entries and 9,120 decoder weights."""

    encoder: str = "vit_base_patch16_224.mae"  # the caller's own frozen encoder: CLS of ViT-MAE-base, 768
    channels: tuple[int, ...] = (64, 64, 32, 32, 16)  # from the first block's inner width to the last's output
    cube: int = 32  # channels of the decoder's input [cube, grid, grid]
    grid: int = 7
    eps: float = 1.0  # on the prompt, in normalised pixels
    a: float = 0.01
    c: float = 0.01
    alpha: float = 0.4
    gamma: float = 0.1
    directions: int = 5
    momentum: float = 0.8  # beta; 0.9 in BlackVIP, 0.8 in ZIP's comparison
    clip: str = "none"


class BlackVIP(Method):
    title = "BlackVIP"
    paper = "Oh et al., CVPR 2023"
    access = ("pixels",)
    Params = Params

    def setup(self) -> None:
        self.std = torch.tensor(self.box.spec.pixel_std, device=self.box.device).view(3, 1, 1)
