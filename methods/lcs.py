"""Latent context sharing: one part of a small latent vector for all tokens, one for each token, by CMA-ES.

Kuwana, Goto, Shibata, Irie. Black-Box Forgetting, NeurIPS 2024, https://arxiv.org/abs/2411.00409
The paper makes a model forget classes; its parametrisation serves to tune one as well:

    token i = word i + A [s; u_i],   A [d, shared + own] of entries N(0, std of the token table)

The shared part s and each token's own part u_i are drawn by CMA-ES of their own. Candidate number j of all
parts together is one prompt, and each CMA-ES is told the same losses. Values are those of the authors' code
for CIFAR-10 (scripts/run_cifar10.sh of yusukekwn/Black-Box-Forgetting).

What differs: the loss is the cross-entropy of the few-shot images, and nothing is forgotten. The authors add
A z to the mean of the whole token table, which a box does not give; here it is added to words. They deploy
the candidate that was best on validation images; here it is the one with the lowest loss on the train set.
They end after 400 generations; here the budget ends the run. A candidate costs a query for each batch of its
pass.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.method import Method
from bench.optim import CMAES
from bench.prompt import Prompt


@dataclass(frozen=True)
class Params:
    """The authors' values for 10 classes; for 30 to 1,000 they take 16 tokens, 400 shared and 100 own."""

    words: str = "a photo of a"  # the context to start from, 4 tokens; hand: those of the hand template
    shared: int = 20  # latent dimensions that all tokens have in common
    own: int = 5  # and those of each token
    population: int = 20
    sigma: float = 1.0

    def __post_init__(self) -> None:
        # The package cma has no strategies in one dimension.
        if min(self.shared, self.own) < 2:
            raise ValueError("shared and own must be at least 2")


class LCS(Method):
    """A text context from shared and own latent parts, by several CMA-ES."""

    title = "LCS"
    paper = "Kuwana et al., NeurIPS 2024"
    access = ("text context",)
    least_answer = "label"
    Params = Params

    def setup(self) -> None:
        p, spec = self.params, self.box.spec
        self.words = self.opening(p.words)  # [m, d]
        self.A = self.normal(spec.text_width, p.shared + p.own, std=spec.token_std)

    @property
    def sizes(self) -> list[int]:
        """Lengths of the parts of a state: s, then u_i of each token."""
        return [self.params.shared, *[self.params.own] * len(self.words)]

    @property
    def n_params(self) -> int:
        return sum(self.sizes)

    def start(self) -> Tensor:
        """0: the words."""
        return torch.zeros(self.n_params, dtype=torch.float64, device=self.box.device)

    def prompt(self, state: Tensor) -> Prompt:
        shared, *own = state.split(self.sizes)
        latent = torch.stack([torch.cat([shared, one]) for one in own])  # [m, shared + own]
        return Prompt(context=self.words + latent @ self.A.T, state=state)

    def tune(self) -> None:
        p = self.params
        parts = [
            CMAES(part, self.seed + i, sigma=p.sigma, population=p.population)
            for i, part in enumerate(self.x0.split(self.sizes))
        ]
        best, lowest = self.x0, float("inf")
        while True:
            states = torch.cat([part.ask() for part in parts], dim=1)  # [population, n_params]
            losses = self.box.pass_loss([self.prompt(state) for state in states])
            for part in parts:
                part.tell(losses)
            if losses.min().item() < lowest:
                best, lowest = states[losses.argmin()], losses.min().item()
            self.box.report(self.prompt(best))
