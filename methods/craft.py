"""CraFT: connecting the dots, collaborative fine-tuning for black-box vision-language models.

Wang, Liang, He, Wang, Tan. ICML 2024, https://arxiv.org/abs/2402.04050
Section 3.2: a text context by CMA-ES (see bbt.py); section 3.3: a network on the caller's side that refines
the logits, trained by back-propagation through itself alone; section 3.4: the two held together by KL.

Steps and values are those of the authors' code (main_craft.py, and main_craft_imagenet.py for ImageNet). Its
configs differ by data set: see bench/suites/craft.toml. Candidates are scored on crops that are made once.
After each generation the prompt is the mean of a population drawn for it, and the refinement sees one epoch
of fresh crops, the short last batch included.

It differs in two points. The authors count neither a candidate's passes nor the refinement's batches; here
both are queries. And they train the refinement on image features that are not normalised, but score it on
normalised ones; a black box answers with the latter alone.
"""

from dataclasses import dataclass
from itertools import count, islice
from math import ceil

import torch
import torch.nn.functional as F
from bench.methods.bbt import BBT
from torch import Tensor

from bench import exact
from bench.blackbox import Batch, cross_entropy
from bench.optim import CMAES
from bench.prompt import Prompt


@dataclass(frozen=True)
class Params(BBT.Params):
    """RN50, most data sets."""

    deploy: str = "sample"
    hidden: int = 256  # of the refinement C -> hidden -> C
    lr: float = 1e-3  # Adam
    consistency: float = 0.1  # weight of KL, in the fitness and in the refinement
    warm: float = 0.25  # the refinement keeps its KL term for this share of `evaluations`
    evaluations: int = 0  # candidates of a full run; 0: 8,000, but 4,000 at 2 and 4 shots and 2,000 at 1
    batch: int = 256  # images of the refinement's batches, or fewer where the suite sends fewer
    crop_scale: tuple[float, float] = (0.5, 1.0)  # share of the area, where the suite augments


class CraFT(BBT):
    title = "CraFT"
    paper = "Wang et al., ICML 2024"
    access = ("text context", "logits head")
    least_answer = "top"  # KL reads probabilities
    Params = Params

    def setup(self) -> None:
        super().setup()
        C, h = len(self.box.classes), self.params.hidden
        self.shapes = [(h, C), (h,), (C, h), (C,)]
        self.views = self.box.frozen_pass(self.params.crop_scale)

    @property
    def n_params(self) -> int:
        return self.params.intrinsic + sum(torch.Size(shape).numel() for shape in self.shapes)

    def start(self) -> Tensor:
        """z = 0, and both layers as PyTorch starts them: U[-b, b], b = 1 / sqrt(inputs)."""
        C, h = len(self.box.classes), self.params.hidden
        first = C**-0.5 * (2 * torch.rand(h * C + h, generator=self.rng) - 1)
        last = h**-0.5 * (2 * torch.rand(C * h + C, generator=self.rng) - 1)
        return torch.cat([super().start(), torch.cat([first, last]).to(self.box.device)])

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
        """Cross-entropy of the model's own logits + weight * KL(refined || logits): [K, B, C] -> [K]."""
        refined = self.refine(logits, self.weights)
        return super().fitness(logits, labels) + self.params.consistency * divergence(refined, logits)

    @property
    def warm_candidates(self) -> int:
        """How many candidates are scored before the refinement loses its KL term."""
        by_shots = {1: 2000, 2: 4000, 3: 4000, 4: 4000}
        full = self.params.evaluations or by_shots.get(self.box.spec.shots, 8000)
        return int(full * self.params.warm)

    def tune(self) -> None:
        p, spec = self.params, self.box.spec
        es: CMAES = self.cma()
        self.weights = self.x0[p.intrinsic :].clone()
        adam = torch.optim.Adam([self.weights], lr=p.lr)
        stream = self.box.batches(p.batch, keep_last=True, crop_scale=p.crop_scale)
        epoch = ceil(spec.train_size / min(p.batch, spec.batch_size))
        for generation in count(1):
            self.box.require(p.population * len(self.views) + epoch)  # the refinement's epoch goes with it
            self.generation(es)
            z = self.chosen(es)
            weight = p.consistency if generation * p.population <= self.warm_candidates else 0.0
            for batch in islice(stream, epoch):
                self.improve(batch, super().prompt(z), adam, weight)
            self.box.report(self.prompt(torch.cat([z, self.weights])))

    def improve(self, batch: Batch, prompt: Prompt, adam: torch.optim.Adam, weight: float) -> None:
        """One step of the refinement along cross-entropy + weight * KL(logits || refined). One query."""
        logits = self.box.logits(batch, [prompt])
        weights = self.weights.detach().requires_grad_(True)
        refined = self.refine(logits, weights)
        loss = cross_entropy(refined, batch.labels) + weight * divergence(logits, refined)
        (self.weights.grad,) = torch.autograd.grad(loss.sum(), weights)
        adam.step()
        self.weights.data = exact.stored(self.weights.data)


def divergence(one: Tensor, other: Tensor) -> Tensor:
    """KL(softmax(one) || softmax(other)), mean over images: [K, B, C] twice -> [K]."""
    p, q = one.log_softmax(-1), other.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).mean(-1)
