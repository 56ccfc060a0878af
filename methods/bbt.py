"""BBT: CMA-ES on a random subspace of the text context; it is CraFT without the network on the logits.

Sun, Shao, Qian, Huang, Qiu. Black-box tuning for language-model-as-a-service, ICML 2022,
https://arxiv.org/abs/2201.03514. For vision-language models, and with these values, it is the baseline of
CraFT (Wang, Liang, He, Wang, Tan. ICML 2024, https://arxiv.org/abs/2402.04050, section 3.2).

The paper counts a candidate as one query. Here a candidate costs one query per batch of its pass over the
train set.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.blackbox import Batch, cross_entropy
from bench.method import Method
from bench.optim import CMAES, check_cma
from bench.prompt import Prompt


@dataclass(frozen=True)
class Params:
    """The values of CraFT's code for most data sets."""

    words: str = "a photo of a"  # the context to start from; hand: those of the hand template
    intrinsic: int = 512  # length of z
    std: float = 0.2  # of the entries of A; 0: uniform, as PyTorch initialises a linear layer
    population: int = 40
    sigma: float = 1.0
    bound: float = 5.0  # z in [-bound, bound]; 0: no bound
    separable: bool = False
    # mean: the mean of the distribution; best: the best candidate so far; sample: the mean of a new
    # population
    deploy: str = "mean"

    def __post_init__(self) -> None:
        check_cma(self.population, self.sigma)
        if self.deploy not in ("mean", "best", "sample"):
            raise ValueError(f"deploy is {self.deploy!r}, but must be mean, best or sample")


class BBT(Method):
    """The text context from a random subspace, by CMA-ES."""

    title = "BBT"
    paper = "Sun et al., ICML 2022"
    access: tuple[str, ...] = ("text context",)
    least_answer = "label"
    Params = Params

    def setup(self) -> None:
        p = self.params
        self.words = self.opening(p.words)  # [m, d]
        if p.std:
            self.A = self.normal(self.words.numel(), p.intrinsic, std=p.std)
        else:
            drawn = 2 * torch.rand(self.words.numel(), p.intrinsic, generator=self.rng).double() - 1
            self.A = (drawn / p.intrinsic**0.5).to(self.box.device)
        self.views: Sequence[Batch] | None = None  # the pass that is scored; None: the plain one

    @property
    def n_params(self) -> int:
        return self.params.intrinsic

    def start(self) -> Tensor:
        return torch.zeros(self.params.intrinsic, device=self.box.device)

    def prompt(self, state: Tensor) -> Prompt:
        """The context: the embeddings of the words plus A z."""
        return Prompt(context=self.words + (self.A @ state).view_as(self.words), state=state)

    def cma(self) -> CMAES:
        """CMA-ES around z = 0."""
        p = self.params
        bounds = (-p.bound, p.bound) if p.bound else None
        origin = torch.zeros(p.intrinsic, device=self.box.device)
        return CMAES(
            origin, self.seed, sigma=p.sigma, population=p.population, bounds=bounds, separable=p.separable
        )

    def fitness(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of each candidate: logits [K, B, C] -> [K]."""
        return cross_entropy(logits, labels)

    def generation(self, es: CMAES) -> None:
        """One generation: population * ceil(N / batch_size) queries, of which all or none are spent."""
        es.tell(self.box.pass_loss([self.prompt(z) for z in es.ask()], self.fitness, self.views))

    def chosen(self, es: CMAES) -> Tensor:
        """The z to deploy, as `deploy` says."""
        if self.params.deploy == "sample":
            return es.sample()
        return es.x if self.params.deploy == "mean" else es.best

    def tune(self) -> None:
        es = self.cma()
        while True:
            self.generation(es)
            self.box.report(self.prompt(self.chosen(es)))
