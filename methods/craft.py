"""CraFT: connecting the dots, collaborative fine-tuning for black-box vision-language models.

Wang, Liang, He, Wang, Tan. ICML 2024, https://arxiv.org/abs/2402.04050
Section 3.2: a text context, tuned by CMA-ES (see bbt.py). Section 3.3: a network on the user's side that
refines the logits (the refinement), trained by back-propagation through itself only. Section 3.4: a KL term
that keeps both close to each other.

Steps and values are those of the authors' code (main_craft.py, and main_craft_imagenet.py for ImageNet). Its
configurations differ by data set: see bench/suites/craft.toml. Candidates are scored on crops that are made
once. After each generation the prompt is the mean of a population that is drawn for it, and the refinement is
trained for one epoch on new crops, with the short last batch.

Two points differ here. The authors count neither the passes of a candidate nor the batches of the refinement;
here both are queries. And they train the refinement on image features that are not normalised, but score it
on normalised ones; a black box gives only logits of normalised features.
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
    """The values of the authors' code for RN50 and most data sets."""

    deploy: str = "sample"
    hidden: int = 256  # width of the refinement C -> hidden -> C
    lr: float = 1e-3  # Adam
    consistency: float = 0.1  # weight of KL, in the fitness and in the refinement
    warm: float = 0.25  # the refinement has its KL term for this share of `evaluations`
    # Candidates of a full run; 0: 8,000, but 4,000 with 2 to 4 shots and 2,000 with 1 shot.
    evaluations: int = 0
    batch: int = 256  # images per batch of the refinement, or fewer if the suite has fewer
    crop_scale: tuple[float, float] = (0.5, 1.0)  # share of the area, if the suite augments
    refinement_only: bool = False  # for the ablation: the context keeps its words; bbt is the other half


class CraFT(BBT):
    """The text context by CMA-ES, and a refinement of the logits by Adam."""

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
        """z = 0, and both layers as PyTorch initialises them: U[-b, b], b = 1 / sqrt(inputs)."""
        C, h = len(self.box.classes), self.params.hidden
        first = C**-0.5 * (2 * torch.rand(h * C + h, generator=self.rng) - 1)
        last = h**-0.5 * (2 * torch.rand(C * h + C, generator=self.rng) - 1)
        return torch.cat([super().start(), torch.cat([first, last]).to(self.box.device)])

    def refine(self, logits: Tensor, weights: Tensor) -> Tensor:
        """logits + MLP(logits), [.., C] -> [.., C]. weights: of the MLP, as a flat tensor."""
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
        """The number of candidates that are scored before the refinement loses its KL term."""
        by_shots = {1: 2000, 2: 4000, 3: 4000, 4: 4000}
        full = self.params.evaluations or by_shots.get(self.box.spec.shots, 8000)
        return int(full * self.params.warm)

    def tune(self) -> None:
        p, spec = self.params, self.box.spec
        es: CMAES = self.cma()
        self.weights = self.x0[p.intrinsic :].clone()
        adam = torch.optim.Adam([self.weights], lr=p.lr)
        stream = self.box.batches(p.batch, keep_last=True, crop_scale=p.crop_scale)
        z, passes = self.x0[: p.intrinsic], 0 if p.refinement_only else p.population * len(self.views)
        epoch = ceil(spec.train_size / min(p.batch, spec.batch_size))
        for generation in count(1):
            # A generation and the refinement's epoch after it run together or not at all.
            self.box.require(passes + epoch)
            if passes:
                self.generation(es)
                z = self.chosen(es)
            weight = p.consistency if generation * p.population <= self.warm_candidates else 0.0
            for batch in islice(stream, epoch):
                self.improve(batch, super().prompt(z), adam, weight)
            self.box.report(self.prompt(torch.cat([z, self.weights])))

    def improve(self, batch: Batch, prompt: Prompt, adam: torch.optim.Adam, weight: float) -> None:
        """One step of the refinement on cross-entropy + weight * KL(logits || refined), for one query."""
        logits = self.box.logits(batch, [prompt])
        weights = self.weights.detach().requires_grad_(True)
        refined = self.refine(logits, weights)
        loss = cross_entropy(refined, batch.labels) + weight * divergence(logits, refined)
        (self.weights.grad,) = torch.autograd.grad(loss.sum(), weights)
        adam.step()
        self.weights.data = exact.stored(self.weights.data)


def divergence(one: Tensor, other: Tensor) -> Tensor:
    """KL(softmax(one) || softmax(other)), the mean over images: [K, B, C] and [K, B, C] -> [K]."""
    p, q = one.log_softmax(-1), other.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).mean(-1)
