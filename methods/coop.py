"""CoOp: learning to prompt for vision-language models. White box: a reference row, never ranked.

Zhou, Yang, Loy, Liu. IJCV 2022, https://arxiv.org/abs/2109.01134
The context vectors by back-propagation through the text tower. Its "queries" are its forward passes; what it
learns from one, a gradient, no black-box method gets.
"""

from dataclasses import dataclass
from math import cos, pi

import torch
from torch import Tensor

from bench.blackbox import cross_entropy
from bench.method import Method
from bench.prompt import WHITE_BOX, Prompt


@dataclass(frozen=True)
class Params:
    """The paper's: 16 shots."""

    m: int = 16
    std: float = 0.02  # of the start
    lr: float = 0.002  # SGD, cosine decay, the first epoch at 1e-5
    momentum: float = 0.9
    decay: float = 5e-4
    epochs: int = 200  # 100 at 2-4 shots and 50 at 1 shot in the paper; fewer when the budget ends before


class CoOp(Method):
    title = "CoOp"
    paper = "Zhou et al., IJCV 2022"
    access = ("text context", WHITE_BOX)
    Params = Params
    schedule = "budget"  # the cosine ends where the budget does

    @property
    def n_params(self) -> int:
        return self.params.m * self.box.spec.text_width

    def start(self) -> Tensor:
        return self.normal(self.n_params, std=self.params.std)

    def prompt(self, state: Tensor) -> Prompt:
        return Prompt(context=state.view(self.params.m, -1), state=state)

    def tune(self) -> None:
        p, spec = self.params, self.box.spec
        epoch = max(spec.train_size // spec.batch_size, 1)  # batches
        steps = min(p.epochs * epoch, self.box.budget)
        x = self.x0.clone().requires_grad_(True)
        sgd = torch.optim.SGD([x], lr=p.lr, momentum=p.momentum, weight_decay=p.decay)
        for k, batch in zip(range(steps), self.box.batches(), strict=False):
            rate = 1e-5 if k < epoch else p.lr * (1 + cos(pi * k / steps)) / 2
            sgd.param_groups[0]["lr"] = rate
            loss = cross_entropy(self.box.logits(batch, [self.prompt(x)]), batch.labels).sum()
            (x.grad,) = torch.autograd.grad(loss, x)
            sgd.step()
            self.box.report(self.prompt(x.detach().clone()))
