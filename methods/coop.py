"""CoOp: learning to prompt for vision-language models. White box: a reference row, never ranked.

Zhou, Yang, Loy, Liu. IJCV 2022, https://arxiv.org/abs/2109.01134
The context vectors are tuned by back-propagation through the text tower, as in the authors' code: batches of
32, and a learning rate that is set once per epoch. Its "queries" are its forward passes. Each one gives it a
gradient, which no black-box method gets. It ends after its epochs or with the budget; the schedule is not
shortened.
"""

from dataclasses import dataclass
from itertools import islice
from math import cos, pi

import torch
from torch import Tensor

from bench import exact
from bench.access import WHITE_BOX
from bench.blackbox import cross_entropy
from bench.method import Method
from bench.prompt import Prompt


@dataclass(frozen=True)
class Params:
    """The values of the paper."""

    m: int = 16
    std: float = 0.02  # of the first context vectors
    init: str = "random"  # or the words to start from, which set m; hand: the template's
    lr: float = 0.002  # SGD, cosine decay from the second epoch on
    first: float = 1e-5  # the first epoch's learning rate
    momentum: float = 0.9
    decay: float = 5e-4
    batch: int = 32  # images per batch, or fewer if the suite has fewer
    epochs: int = 0  # 0: 200, but 100 with 2 to 4 shots and 50 with 1 shot; on ImageNet the authors take 50


class CoOp(Method):
    """The text context by SGD with the model's gradients (white box)."""

    title = "CoOp"
    paper = "Zhou et al., IJCV 2022"
    access = ("text context", WHITE_BOX)
    Params = Params

    @property
    def n_params(self) -> int:
        return self.first.numel()

    def setup(self) -> None:
        p, d = self.params, self.box.spec.text_width
        self.first = self.normal(p.m, d, std=p.std) if p.init == "random" else self.opening(p.init)

    def start(self) -> Tensor:
        return self.first.flatten()

    def prompt(self, state: Tensor) -> Prompt:
        return Prompt(context=state.view_as(self.first), state=state)

    @property
    def epochs(self) -> int:
        """The number of passes over the train set."""
        by_shots = {1: 50, 2: 100, 3: 100, 4: 100}
        return self.params.epochs or by_shots.get(self.box.spec.shots, 200)

    def rate(self, epoch: int) -> float:
        """The learning rate of epoch 0, 1, ..: the first one is small, and the cosine starts after it."""
        p = self.params
        return p.lr * (1 + cos(pi * (epoch - 1) / self.epochs)) / 2 if epoch else p.first

    def tune(self) -> None:
        p, spec = self.params, self.box.spec
        per_epoch = max(spec.train_size // min(p.batch, spec.batch_size), 1)
        x = self.x0.clone().requires_grad_(True)
        sgd = torch.optim.SGD([x], lr=p.lr, momentum=p.momentum, weight_decay=p.decay)
        stream = islice(self.box.batches(p.batch), self.epochs * per_epoch)
        for k, batch in enumerate(stream):
            sgd.param_groups[0]["lr"] = self.rate(k // per_epoch)
            loss = cross_entropy(self.box.logits(batch, [self.prompt(x)]), batch.labels).sum()
            (x.grad,) = torch.autograd.grad(loss, x)
            sgd.step()
            x.data = exact.stored(x.data)
            self.box.report(self.prompt(x.detach().clone()))
