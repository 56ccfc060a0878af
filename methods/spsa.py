"""SPSA on the whole context: ZIP without its parametrisation and its clipping. Are these needed?

Spall, Implementation of the simultaneous perturbation algorithm for stochastic optimization, IEEE TAES 1998.
Constants: ZIP (ICLR 2025).
"""

from dataclasses import dataclass

from torch import Tensor

from bench.blackbox import cross_entropy
from bench.method import Method
from bench.optim import SPSA, SPSASettings
from bench.prompt import Prompt


@dataclass(frozen=True)
class Params(SPSASettings):
    """m context vectors, of which every entry is tuned: m * d parameters (4,096 on ViT-B/16)."""

    m: int = 8
    std: float = 0.02  # of the first context vectors
    init: str = "random"  # or the words to start from, which set m; hand: the template's


class PlainSPSA(Method):
    """The whole text context, by SPSA."""

    title = "SPSA (full context)"
    paper = "Spall, 1998"
    access = ("text context",)
    Params = Params

    @property
    def n_params(self) -> int:
        return self.theta0.numel()

    def setup(self) -> None:
        """The first context: N(0, 0.02^2), as in ZIP, or words."""
        p, d = self.params, self.box.spec.text_width
        self.theta0 = self.normal(p.m, d, std=p.std) if p.init == "random" else self.opening(p.init)

    def start(self) -> Tensor:
        return self.theta0.flatten()

    def prompt(self, state: Tensor) -> Prompt:
        return Prompt(context=state.view_as(self.theta0), state=state)

    def tune(self) -> None:
        optimiser = SPSA(self.x0, self.rng, self.params)
        for batch in self.box.batches():
            prompts = [self.prompt(x) for x in optimiser.ask()]
            optimiser.tell(cross_entropy(self.box.logits(batch, prompts), batch.labels))
            self.box.report(self.prompt(optimiser.x))
