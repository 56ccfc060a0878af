"""CBBT: black-box tuning of vision-language models with effective gradient approximation. The text half.

Guo, Wei, Liu, Ji, Bai, Guo, Zuo. Findings of EMNLP 2023, https://arxiv.org/abs/2312.15901
One context vector, which starts as the word "a", is tuned along a one-sided estimate of its gradient:

    g = D / q sum_j u_j (L(x + eps u_j) - L(x)) / eps,   u_j of norm 1,  eps = max(1 / n, 0.001),  D = 1 / eps

n is the number of entries of x. All q + 1 losses of a step are those of one batch. g is clipped to a norm and
given to Adam, whose rate is constant in the first epoch and then falls along a cosine, epoch by epoch. Steps
and values are those of the authors' code (trainers/cooppara.py and configs/trainers/CBBT of guozix/cbbt).

Three points differ here:

- The authors train for 150 epochs and do not count queries; with 10 classes that is 192,750. Here the
  schedule of these epochs is passed through in as many steps as the budget pays for, and in 150 epochs at
  most. So a run of 500 queries is not the beginning of a run of 5,000.
- The last iterate is deployed. The released code scores the test set after each epoch and deploys the epoch
  that was best there; a black box gives no test scores.
- The published step has 257 queries, so 5,000 queries are 19 steps; `q` is for shorter ones.

The other half of the paper, an adapter of the image features, is in cbbt_adapter.py.
"""

from dataclasses import dataclass
from itertools import islice
from math import cos, pi

import torch
from torch import Tensor

from bench import exact
from bench.blackbox import Batch, cross_entropy
from bench.method import Method
from bench.optim import RGF
from bench.prompt import Prompt


@dataclass(frozen=True)
class Params:
    """The values of the authors' scripts, the same for RN50 and ViT-B/16."""

    words: str = "a"  # the context to start from, 1 token; hand: those of the hand template
    q: int = 256  # directions: 1 + q queries a step
    smallest: float = 0.001  # of eps, the length of a perturbation
    clip: float = 5.0  # the norm of an estimate at most
    lr: float = 0.002  # Adam, cosine decay from the second epoch on
    first: float = 1e-5  # the first epoch's learning rate
    decay: float = 5e-4  # Adam's weight decay, which Dassl sets where a configuration says nothing
    epochs: int = 150  # 80 for Stanford Cars, 40 for SUN397, 12 (RN50) or 20 (ViT-B/16) for ImageNet
    batch: int = 32  # images per batch, or fewer if the suite has fewer
    crop_scale: tuple[float, float] = (0.5, 1.0)  # share of the area, if the suite augments

    def __post_init__(self) -> None:
        if min(self.q, self.epochs, self.batch) < 1:
            raise ValueError("q, epochs and batch must be at least 1")


class CBBT(Method):
    """A context vector by Adam, along an estimated gradient."""

    title = "CBBT"
    paper = "Guo et al., EMNLP Findings 2023"
    access: tuple[str, ...] = ("text context",)
    schedule = "budget"
    Params = Params

    def setup(self) -> None:
        self.words = self.opening(self.params.words)  # [m, d]
        self.n = self.words.numel()
        self.eps = max(1 / self.n, self.params.smallest)

    @property
    def n_params(self) -> int:
        return self.n

    def start(self) -> Tensor:
        return self.words.flatten()

    def prompt(self, state: Tensor) -> Prompt:
        return Prompt(context=state.view_as(self.words), state=state)

    @property
    def steps(self) -> int:
        """As many as the budget pays for, and at most those of all epochs."""
        p, spec = self.params, self.box.spec
        per_epoch = max(spec.train_size // min(p.batch, spec.batch_size), 1)
        return min(spec.budget // (p.q + 1), p.epochs * per_epoch)

    def rate(self, k: int) -> float:
        """The learning rate of step k = 0, 1, ..: that of the epoch in which the step lies."""
        p = self.params
        epoch = k * p.epochs // self.steps
        return p.lr * (1 + cos(pi * (epoch - 1) / p.epochs)) / 2 if epoch else p.first

    def tune(self) -> None:
        p, x = self.params, self.x0.clone()
        adam = torch.optim.Adam([x], lr=p.lr, weight_decay=p.decay)
        for k, batch in enumerate(islice(self.box.batches(p.batch, crop_scale=p.crop_scale), self.steps)):
            adam.param_groups[0]["lr"] = self.rate(k)
            x.grad = self.gradient(batch, x)
            adam.step()
            x.data = exact.stored(x.data)
            self.box.report(self.prompt(x.clone()))

    def gradient(self, batch: Batch, x: Tensor) -> Tensor:
        """Of the loss on a batch, at the state x: 1 + q queries."""
        rgf = self.rgf(x)
        logits = self.box.logits(batch, [self.prompt(one) for one in rgf.ask()])
        return self.estimate(rgf, cross_entropy(logits, batch.labels))

    def rgf(self, x: Tensor) -> RGF:
        """The directions around a context x [n]."""
        return RGF(x, self.rng, beta=self.eps, directions=self.params.q)

    def estimate(self, rgf: RGF, losses: Tensor) -> Tensor:
        """g [n] from the losses [1 + q], clipped. RGF scales by n, which is D as long as n is below 1,000."""
        g = rgf.gradient(losses) / (self.eps * self.n)
        return g * min(self.params.clip / (g.norm().item() + 1e-6), 1.0)
