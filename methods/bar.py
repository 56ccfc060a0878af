"""BAR: transfer learning without knowing, reprogramming black-box models with scarce data.

Tsai, Chen, Ho. ICML 2020, https://arxiv.org/abs/2007.08714
Section 3: the image is put into a tuned frame; one-sided gradient-free estimate, eq. 6. Steps and values are
those of the code with which ZIP's authors (ICLR 2025) made their comparison (trainers/bar.py of ZIP's
repository):

- A direction is a unit vector over all 3 * 224^2 entries, and the estimate is scaled by their number,
  although the entries under the image change nothing. This is unbiased, and the frame's share of a
  perturbation is beta / 2.
- The step decays over 0.9 of 1,000 epochs, whatever the budget, so a short run begins as a long one.
- The images are resampled, or cropped, directly to the size of the window.

Here only the entries of the frame are kept. The last iterate is deployed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.blackbox import Batch
from bench.method import Method
from bench.optim import RGF
from bench.prompt import Prompt


@dataclass(frozen=True)
class Params:
    """Values for ViT-B/16 at 224 pixels: the frame has 3 (224^2 - 194^2) = 37,620 entries."""

    inner: int = 194  # pixels per side of the image in the frame
    beta: float = 0.01  # length of a perturbation
    directions: int = 5  # 1 + 5 queries per step
    step: float = 10.0  # decays to `last` as (1 - k / steps)^power, k = 1, 2, ..
    last: float = 0.1
    power: float = 0.9
    epochs: int = 1000  # steps = decay * epochs * batches per epoch
    decay: float = 0.9
    focal: float = 2.0  # gamma of the focal loss; 0: cross-entropy


class BAR(Method):
    """The image inside a tuned frame, by one-sided gradient-free steps."""

    title = "BAR"
    paper = "Tsai et al., ICML 2020"
    access = ("pixels",)
    Params = Params

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
            """Images [B, 3, S, S]: sigmoid(W) in the frame, the image in the window."""
            small = batch.resampled(self.params.inner)
            sent = small.new_zeros(len(batch), *self.frame.shape)
            sent[:, self.frame] = state.sigmoid().to(sent)
            sent[:, :, self.window, self.window] = small
            return sent

        return Prompt(pixels=pixels, state=state)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Focal loss (Lin et al. 2017): mean of -(1 - p)^gamma log p. [K, B, C] -> [K]."""
        log_p = logits.log_softmax(-1)[:, torch.arange(len(labels)), labels]
        return (-((1 - log_p.exp()) ** self.params.focal) * log_p).mean(1)

    def step(self, k: int) -> float:
        """The length of step k = 1, 2, .."""
        p, spec = self.params, self.box.spec
        steps = p.decay * p.epochs * max(spec.train_size // spec.batch_size, 1)
        return p.last + (p.step - p.last) * max(1 - k / steps, 0.0) ** p.power

    def tune(self) -> None:
        p = self.params
        everywhere = self.frame.numel()
        optimiser = RGF(self.x0, self.rng, beta=p.beta, directions=p.directions, drawn=everywhere)
        for k, batch in enumerate(self.box.batches(), 1):
            logits = self.box.logits(batch, [self.prompt(x) for x in optimiser.ask()])
            optimiser.tell(self.loss(logits, batch.labels), self.step(k))
            self.box.report(self.prompt(optimiser.x))
