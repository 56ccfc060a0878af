"""BBT: CMA-ES on a random subspace of the text context; CraFT's prompt half alone.

Sun, Shao, Qian, Huang, Qiu. Black-box tuning for language-model-as-a-service, ICML 2022,
https://arxiv.org/abs/2201.03514; for vision-language models and with these values as the baseline of
CraFT (Wang, Liang, He, Wang, Tan. ICML 2024, https://arxiv.org/abs/2402.04050, section 3.2).

The paper counts a candidate as one query; here it pays for its pass over the train set, batch by batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.blackbox import cross_entropy
from bench.method import Method
from bench.optim import CMAES
from bench.prompt import Prompt


@dataclass(frozen=True)
class Params:
    """CraFT's values."""

    words: str = "a photo of a"  # the context to start from: 4 tokens
    intrinsic: int = 512  # length of z
    std: float = 0.2  # of the entries of A
    population: int = 40
    sigma: float = 1.0
    bound: float = 5.0  # z in [-bound, bound]
    separable: bool = False
    deploy: str = "mean"  # of the distribution, or best: the candidate with the lowest fitness so far

    def __post_init__(self) -> None:
        if self.deploy not in ("mean", "best"):
            raise ValueError(f"deploy is {self.deploy!r}, but must be mean or best")


class BBT(Method):
    title = "BBT"
    paper = "Sun et al., ICML 2022"
    access: tuple[str, ...] = ("text context",)
    Params = Params

    def setup(self) -> None:
        p = self.params
        self.words = self.box.embed_words(p.words)  # [m, d]
        self.A = self.normal(self.words.numel(), p.intrinsic, std=p.std)

    @property
    def n_params(self) -> int:
        return self.params.intrinsic

    def start(self) -> Tensor:
        return torch.zeros(self.params.intrinsic, device=self.box.device)

    def prompt(self, state: Tensor) -> Prompt:
        """The words' embeddings plus A z."""
        return Prompt(context=self.words + (self.A @ state).view_as(self.words), state=state)

    def cma(self) -> CMAES:
        p = self.params
        bounds = (-p.bound, p.bound)
        origin = torch.zeros(p.intrinsic, device=self.box.device)
        return CMAES(
            origin, self.seed, sigma=p.sigma, population=p.population, bounds=bounds, separable=p.separable
        )

    def fitness(self, logits: Tensor, labels: Tensor) -> Tensor:
        """[K, B, C] -> [K]."""
        return cross_entropy(logits, labels)

    def generation(self, es: CMAES) -> None:
        """population * ceil(N / batch_size) queries, refused whole."""
        es.tell(self.box.pass_loss([self.prompt(z) for z in es.ask()], self.fitness))

    def tune(self) -> None:
        es = self.cma()
        while True:
            self.generation(es)
            self.box.report(self.prompt(es.x if self.params.deploy == "mean" else es.best))
