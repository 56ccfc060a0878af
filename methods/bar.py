"""BAR: transfer learning without knowing, reprogramming black-box models with scarce data.

Tsai, Chen, Ho. ICML 2020, https://arxiv.org/abs/2007.08714
Section 3: the image inside a tuned frame; one-sided gradient-free estimate, eq. 6. Values of the comparison
in ZIP (ICLR 2025). The authors' code scales the estimate by 3 * 224^2, entries under the image included; here
by the live ones, as the theory has it (`count_dead` for the other).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.blackbox import Batch
from bench.method import Method
from bench.optim import RGF
from bench.prompt import Prompt


@dataclass(frozen=True)
class Params:
    """ViT-B/16 at 224 pixels: 3 (224^2 - 194^2) = 37,620 live entries."""

    inner: int = 194  # pixels a side of the image in the frame
    beta: float = 0.01  # length of a perturbation
    directions: int = 5  # 1 + 5 queries a step
    step: float = 10.0  # decays to `last` as (1 - k / steps)^power
    last: float = 0.1
    power: float = 0.9
    focal: float = 2.0  # gamma of the focal loss; 0: cross-entropy
    count_dead: bool = False


class BAR(Method):
    title = "BAR"
    paper = "Tsai et al., ICML 2020"
    access = ("pixels",)
    Params = Params
    schedule = "budget"  # the step decays until the budget ends

    def setup(self) -> None:
        side, inner = self.box.spec.image_size, self.params.inner
        if not 0 < inner < side:
            raise ValueError(f"inner {inner} does not leave a frame in an image of {side} pixels")
        first = (side - inner) // 2
        self.window = slice(first, first + inner)
        self.frame = torch.ones(3, side, side, dtype=torch.bool, device=self.box.device)
        self.frame[:, self.window, self.window] = False

    @property
    def n_params(self) -> int:
        return int(self.frame.sum())

    def start(self) -> Tensor:
        """W ~ N(0, 1)."""
        return self.normal(self.n_params)

    def prompt(self, state: Tensor) -> Prompt:
        def pixels(batch: Batch) -> Tensor:
            """[B, 3, S, S]: sigmoid(W) on the frame, the image resized into the window."""
            key = f"bar {self.params.inner}"
            if key not in batch.memo:
                size = (self.params.inner, self.params.inner)
                small = F.interpolate(batch.images, size, mode="bicubic", antialias=True).clamp(0, 1)
                batch.memo[key] = small
            sent = torch.zeros_like(batch.images)
            sent[:, self.frame] = state.sigmoid()
            sent[:, :, self.window, self.window] = batch.memo[key]
            return sent

        return Prompt(pixels=pixels, state=state)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Focal loss (Lin et al. 2017): mean of -(1 - p)^gamma log p. [K, B, C] -> [K]."""
        log_p = logits.log_softmax(-1)[:, torch.arange(len(labels)), labels]
        return (-((1 - log_p.exp()) ** self.params.focal) * log_p).mean(1)

    def tune(self) -> None:
        p = self.params
        scale = float(self.frame.numel() if p.count_dead else self.n_params)
        optimiser = RGF(self.x0, self.rng, beta=p.beta, directions=p.directions, scale=scale)
        steps = max(self.box.budget // (1 + p.directions), 1)
        for k, batch in enumerate(self.box.batches()):
            logits = self.box.logits(batch, [self.prompt(x) for x in optimiser.ask()])
            step = p.last + (p.step - p.last) * max(1 - k / steps, 0.0) ** p.power
            optimiser.tell(self.loss(logits, batch.labels), step)
            self.box.report(self.prompt(optimiser.x))
