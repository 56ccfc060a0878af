"""A head on the logits of the hand template, fitted on one pass over the train set. Nothing else is sent.

This baseline shows how much a caller can gain from answers to the hand template alone. CraFT (ICML 2024,
section 3.3) has such a head beside its prompt. LP++ (CVPR 2024, arXiv 2404.02285) and CLAP (CVPR 2024, arXiv
2312.12730) show how well a probe on features works.

- bias: one factor for all logits, and an offset for each class;
- linear: logits + centred(logits) W + b (see _linear.py); above `most` classes W is of low rank;
- mlp: CraFT's network, logits + V relu(U centred(logits) + u) + v; its last layer starts with zeros.

All three start as the identity. They read centred logits, so they work with log-probabilities as well. A head
works only for the classes on which it was fitted; new classes are answered by the hand template alone.
"""

from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from bench.methods._linear import Factor, centred, fit, matrix
from torch import Tensor

from bench import exact
from bench.method import Method
from bench.prompt import Prompt

KINDS = ("bias", "linear", "mlp")


@dataclass(frozen=True)
class Params:
    """Our own values, except for the network: its size and its learning rate are CraFT's."""

    kind: str = "linear"
    views: int = 1  # passes over the train set; all but the first are augmented if the suite augments
    most: int = 200  # linear: the most classes for which W is a full matrix
    rank: int = 64  # linear: the rank of W for more classes
    hidden: int = 256  # mlp: width of the hidden layer
    lr: float = 1e-3  # mlp: learning rate of Adam
    batch: int = 32  # mlp: images per step, on the caller's side
    epochs: int = 200  # mlp: passes of Adam over the answers

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}, but must be one of {', '.join(KINDS)}")
        if min(self.views, self.most, self.rank, self.hidden, self.batch, self.epochs) < 1:
            raise ValueError("views, most, rank, hidden, batch and epochs must be at least 1")


class Head(Method):
    title = "Logits head"
    paper = "cf. Wang et al., ICML 2024, sec. 3.3"
    access = ("logits head",)
    least_answer = "label"  # the predicted classes alone already show which classes are confused
    Params = Params

    def setup(self) -> None:
        p, C = self.params, len(self.box.classes)
        self.map = Factor() if p.kind == "bias" else matrix(C, C, p.most, p.rank)
        network = [(p.hidden, C), (p.hidden,), (C, p.hidden), (C,)]
        self.shapes = network if p.kind == "mlp" else [*self.map.shapes, (C,)]

    @property
    def sizes(self) -> list[int]:
        return [torch.Size(shape).numel() for shape in self.shapes]

    @property
    def n_params(self) -> int:
        return sum(self.sizes)

    def start(self) -> Tensor:
        """The identity. The first layer of the network starts as in PyTorch."""
        state = torch.zeros(self.n_params, dtype=torch.float64)
        if self.params.kind == "mlp":
            first = sum(self.sizes[:2])
            uniform = torch.rand(first, generator=self.rng, dtype=torch.float64)
            state[:first] = len(self.box.classes) ** -0.5 * (2 * uniform - 1)
        return state.to(self.box.device)

    def refine(self, logits: Tensor, state: Tensor) -> Tensor:
        """Logits [.., C] -> the head's logits [.., C]."""
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
        """The state that is fitted to logits [N, C] and labels [N]."""
        if self.params.kind == "mlp":
            return self.trained(logits, labels)
        parts = fit(self.map, logits, centred(logits), labels, self.rng)
        return exact.stored(torch.cat(parts).to(self.box.device))

    def trained(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The network's weights after training with Adam on logits [N, C] and labels [N]."""
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
