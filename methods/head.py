"""A head on the logits of the hand template, fitted on one pass over the train set: nothing else is sent.

The baseline of a reviewer: what a caller makes of answers that were paid for once. CraFT (ICML 2024, section
3.3) has such a head beside its prompt; LP++ (CVPR 2024, arXiv 2404.02285) and CLAP (CVPR 2024, arXiv
2312.12730) show how far a probe on features goes.

- bias: one factor for all logits, and an offset for each class;
- linear: logits + centred(logits) W + b (see _linear.py); above `most` classes W is of low rank;
- mlp: CraFT's network, logits + V relu(U centred(logits) + u) + v, its last layer zero at the start.

All three start as the identity and read centred logits, so that probabilities serve as well as logits. A head
fits the classes it was fitted on; new classes are answered by the hand template alone.
"""

from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from bench.methods._linear import Factor, Full, LowRank, Map, centred, fit
from torch import Tensor

from bench import exact
from bench.method import Method
from bench.prompt import Prompt

KINDS = ("bias", "linear", "mlp")


@dataclass(frozen=True)
class Params:
    """Ours, but for the network, whose size and rate are CraFT's."""

    kind: str = "linear"
    views: int = 1  # passes over the train set; from the second on they are augmented where the suite does
    most: int = 200  # linear: classes of a full matrix
    rank: int = 64  # linear: of the matrix above that
    hidden: int = 256  # mlp
    lr: float = 1e-3  # mlp: Adam
    batch: int = 32  # mlp: images per step, on the caller's side
    epochs: int = 200  # mlp

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}, but must be one of {', '.join(KINDS)}")
        if min(self.views, self.most, self.rank, self.hidden, self.batch, self.epochs) < 1:
            raise ValueError("views, most, rank, hidden, batch and epochs must be at least 1")


class Head(Method):
    title = "Logits head"
    paper = "cf. Wang et al., ICML 2024, sec. 3.3"
    access = ("logits head",)
    least_answer = "label"  # which class is taken for which tells something, too
    Params = Params

    def setup(self) -> None:
        p, C = self.params, len(self.box.classes)
        self.shapes = {
            "bias": [(1,), (C,)],
            "linear": [(C, C), (C,)] if p.most >= C else [(C, p.rank), (p.rank, C), (C,)],
            "mlp": [(p.hidden, C), (p.hidden,), (C, p.hidden), (C,)],
        }[p.kind]

    @property
    def sizes(self) -> list[int]:
        return [torch.Size(shape).numel() for shape in self.shapes]

    @property
    def n_params(self) -> int:
        return sum(self.sizes)

    def start(self) -> Tensor:
        """The identity; the first layer of a network as PyTorch starts it."""
        state = torch.zeros(self.n_params, dtype=torch.float64)
        if self.params.kind == "mlp":
            first = sum(self.sizes[:2])
            uniform = torch.rand(first, generator=self.rng, dtype=torch.float64)
            state[:first] = len(self.box.classes) ** -0.5 * (2 * uniform - 1)
        return state.to(self.box.device)

    def refine(self, logits: Tensor, state: Tensor) -> Tensor:
        """[.., C] -> [.., C]."""
        parts = [part.view(shape) for part, shape in zip(state.split(self.sizes), self.shapes, strict=True)]
        seen = centred(logits)
        if self.params.kind == "mlp":
            U, u, V, v = parts
            return logits + F.linear(F.relu(F.linear(seen, U, u)), V, v)
        *maps, b = parts
        for M in maps:
            seen = seen * M if self.params.kind == "bias" else seen @ M
        return logits + seen + b

    def prompt(self, state: Tensor) -> Prompt:
        return Prompt(head=lambda logits: self.refine(logits, state), state=state)

    def tune(self) -> None:
        whole, views = self.box.train_pass(), self.params.views
        self.box.require(len(whole) * views)
        more = islice(self.box.batches(keep_last=True), len(whole) * (views - 1))
        answers, labels = [], []
        for batch in (*whole, *more):
            answers.append(self.box.logits(batch, [Prompt()])[0])
            labels.append(batch.labels)
        self.box.report(self.prompt(self.fitted(torch.cat(answers), torch.cat(labels))))

    def fitted(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The state for answers [N, C] and labels [N]."""
        if self.params.kind == "mlp":
            return self.trained(logits, labels)
        parts = fit(self.map(), logits, centred(logits), labels, self.rng)
        return exact.stored(torch.cat(parts).to(self.box.device))

    def map(self) -> Map:
        """What is fitted, of the kinds in _linear.py."""
        p, C = self.params, len(self.box.classes)
        if p.kind == "bias":
            return Factor()
        return Full(C, C) if p.most >= C else LowRank(C, C, p.rank)

    def trained(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The network's weights after Adam on the answers that are kept."""
        p, state = self.params, self.x0.clone()
        adam = torch.optim.Adam([state], lr=p.lr)
        for _ in range(p.epochs):
            for rows in torch.randperm(len(labels), generator=self.rng).split(p.batch):
                weights = state.detach().requires_grad_(True)
                loss = F.cross_entropy(self.refine(logits[rows], weights), labels[rows])
                (state.grad,) = torch.autograd.grad(loss, weights)
                adam.step()
                state.data = exact.stored(state.data)
        return state
