"""CraFT: connecting the dots, collaborative fine-tuning for black-box vision-language models.

Wang, Liang, He, Wang, Tan. ICML 2024, https://arxiv.org/abs/2402.04050
Section 3.2: a text context by CMA-ES (see bbt.py); section 3.3: a network on the caller's side that refines
the logits, trained by back-propagation through itself alone; section 3.4: the two held together by KL.

The authors count neither the passes of a candidate nor the refinement's batches; here both are queries. Their
refinement is trained on a fresh sample of the population; here on the distribution's mean, which is what is
deployed.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.blackbox import Batch, cross_entropy
from bench.methods import load_method
from bench.optim import CMAES
from bench.prompt import Prompt

BBT = load_method("bbt")


@dataclass(frozen=True)
class Params(BBT.Params):
    """The paper's values, RN50."""

    hidden: int = 256  # of the refinement C -> hidden -> C
    lr: float = 1e-3  # Adam
    consistency: float = 0.1  # weight of KL(logits, refined logits), in the fitness and in the refinement
    warm: float = 0.25  # share of the budget for which the refinement keeps its KL term


class CraFT(BBT):
    title = "CraFT"
    paper = "Wang et al., ICML 2024"
    access = ("text context", "logits head")
    Params = Params

    def setup(self) -> None:
        super().setup()
        C, h = len(self.box.classes), self.params.hidden
        self.shapes = [(h, C), (h,), (C, h), (C,)]

    @property
    def n_params(self) -> int:
        return self.params.intrinsic + sum(torch.Size(shape).numel() for shape in self.shapes)

    def start(self) -> Tensor:
        """z = 0; PyTorch's default start of the first layer, zeros in the last: the logits as they are."""
        C, h = len(self.box.classes), self.params.hidden
        first = C**-0.5 * (2 * torch.rand(h * C + h, generator=self.rng) - 1)
        return torch.cat([super().start(), torch.cat([first, torch.zeros(C * h + C)]).to(self.box.device)])

    def refine(self, logits: Tensor, weights: Tensor) -> Tensor:
        """logits + MLP(logits), [.., C] -> [.., C]; weights flat."""
        sizes = [torch.Size(shape).numel() for shape in self.shapes]
        parts = zip(weights.split(sizes), self.shapes, strict=True)
        w1, b1, w2, b2 = (part.view(shape) for part, shape in parts)
        return logits + F.linear(F.relu(F.linear(logits, w1, b1)), w2, b2)

    def prompt(self, state: Tensor) -> Prompt:
        z, weights = state.split([self.params.intrinsic, len(state) - self.params.intrinsic])
        context = super().prompt(z).context
        return Prompt(context=context, head=lambda logits: self.refine(logits, weights), state=state)

    def fitness(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the model's own logits + weight * KL(logits, refined logits): [K, B, C] -> [K]."""
        refined = self.refine(logits, self.weights)
        return super().fitness(logits, labels) + self.params.consistency * divergence(logits, refined)

    def tune(self) -> None:
        p = self.params
        es: CMAES = self.cma()
        self.weights = self.x0[p.intrinsic :].clone()
        adam = torch.optim.Adam([self.weights], lr=p.lr)
        stream = self.box.batches()
        passes = len(self.box.train_pass())
        while True:
            self.box.require((p.population + 1) * passes)  # a generation and the refinement behind it
            self.generation(es)
            state = es.x if p.deploy == "mean" else es.best
            for _ in range(passes):  # one epoch, augmented where the suite augments
                self.improve(next(stream), super().prompt(state), adam)
            self.box.report(self.prompt(torch.cat([state, self.weights])))

    def improve(self, batch: Batch, prompt: Prompt, adam: torch.optim.Adam) -> None:
        """One step of the refinement; its batch is a query like any other."""
        logits = self.box.logits(batch, [prompt])
        early = self.box.spent <= self.params.warm * self.box.budget
        weights = self.weights.detach().requires_grad_(True)
        refined = self.refine(logits, weights)
        loss = cross_entropy(refined, batch.labels)
        if early:
            loss = loss + self.params.consistency * divergence(logits, refined)
        (self.weights.grad,) = torch.autograd.grad(loss.sum(), weights)
        adam.step()


def divergence(logits: Tensor, refined: Tensor) -> Tensor:
    """KL(softmax(logits) || softmax(refined)), mean over images: [K, B, C] -> [K]."""
    p, q = logits.log_softmax(-1), refined.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).mean(-1)
