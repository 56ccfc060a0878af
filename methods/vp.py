"""VP with SPSA-GC: a tuned border added to the image, without gradients.

The prompt of Bahng et al. (Exploring Visual Prompts, 2022, https://arxiv.org/abs/2203.17274) with the
optimiser of BlackVIP (Oh et al., CVPR 2023, https://arxiv.org/abs/2303.14773), where it is the baseline
"VP w/ SPSA-GC". The defaults are the values that BlackVIP's repository lists for most data sets
(docs/configuration.md); the zip suite has the values of each data set.

As in the authors' code (trainers/vpour.py), the sum of image and border is not clamped, so it can leave the
range of pixels. An API that takes image files cannot receive such pixels; `clamp` is for such an API. With
`clamp` the method needs much smaller steps, because the loss is flat where a pixel is clamped.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.blackbox import Batch, cross_entropy
from bench.method import Method
from bench.optim import SPSA, SPSASettings
from bench.prompt import Prompt


@dataclass(frozen=True)
class Params(SPSASettings):
    """Values for 224 pixels: a border of 30 pixels has 3 (224^2 - 164^2) = 69,840 entries."""

    border: int = 30  # pixels
    a: float = 10.0  # 10 or 20 in the authors' table
    momentum: float = 0.3
    clamp: bool = False  # clamp to the range of pixels, as an image file does


class VP(Method):
    """A border added to the image, by SPSA-GC."""

    title = "VP (SPSA-GC)"
    paper = "Oh et al., CVPR 2023"
    access = ("pixels",)
    difference_bits = 11  # measured: benchmarks/precision.py
    Params = Params

    def setup(self) -> None:
        side, border = self.box.spec.image_size, self.params.border
        if not 0 < 2 * border < side:
            raise ValueError(f"a border of {border} pixels does not fit an image of {side}")
        self.std = torch.tensor(self.box.spec.pixel_std, device=self.box.device).view(3, 1, 1)
        self.frame = torch.ones(3, side, side, dtype=torch.bool, device=self.box.device)
        self.frame[:, border:-border, border:-border] = False

    @property
    def n_params(self) -> int:
        return int(self.frame.sum())

    def start(self) -> Tensor:
        """N(0, 1), in normalised pixels."""
        return self.normal(self.n_params)

    def prompt(self, state: Tensor) -> Prompt:
        """The image in [0, 1] plus the border, which is in normalised pixels."""

        def pixels(batch: Batch) -> Tensor:
            border = torch.zeros_like(batch.images[0])
            border[self.frame] = state.to(border)
            sent = batch.images + self.std * border
            return sent.clamp(0, 1) if self.params.clamp else sent

        return Prompt(pixels=pixels, state=state)

    def tune(self) -> None:
        optimiser = SPSA(self.x0, self.rng, self.params)
        for batch in self.box.batches():
            prompts = [self.prompt(x) for x in optimiser.ask()]
            optimiser.tell(cross_entropy(self.box.logits(batch, prompts), batch.labels))
            self.box.report(self.prompt(optimiser.x))
