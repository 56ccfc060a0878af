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


class PlainSPSA(Method):
    """The whole text context, by SPSA."""

    title = "SPSA (full context)"
    paper = "Spall, 1998"
    access = ("text context",)
    Params = Params

    @property
    def n_params(self) -> int:
        return self.params.m * self.box.spec.text_width

    def start(self) -> Tensor:
        """N(0, 0.02^2), as in ZIP."""
        return self.normal(self.n_params, std=self.params.std)

    def prompt(self, state: Tensor) -> Prompt:
        return Prompt(context=state.view(self.params.m, -1), state=state)

    def tune(self) -> None:
        optimiser = SPSA(self.x0, self.rng, self.params)
        for batch in self.box.batches():
            prompts = [self.prompt(x) for x in optimiser.ask()]
            optimiser.tell(cross_entropy(self.box.logits(batch, prompts), batch.labels))
            self.box.report(self.prompt(optimiser.x))
