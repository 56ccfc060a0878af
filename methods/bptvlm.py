"""BPT-VLM: black-box prompt tuning for vision-language model as a service.

Yu, Chen, Yao, Sun, Wang, Huang. IJCAI 2023, https://www.ijcai.org/proceedings/2023/187
Text and visual tokens from two random subspaces, tuned together by CMA-ES. Values of ZIP's comparison
(ICLR 2025). Each batch of a candidate is a query. There are two codes; `fitness` chooses one:

- plain, the authors' own code: a candidate's fitness is its mean loss over one pass of the whole train set
  without augmentation; the best of all candidates is deployed.
- port, the code in ZIP's repository (trainers/bptvlm.py), with which its published rows were made: each
  candidate has its own epoch, shuffled and augmented, without the short last batch. That is 1 query per
  candidate on EuroSAT instead of 2. After every batch, the candidate's mean loss so far is compared with the
  lowest one of the run, so a candidate can be deployed because its first batch was easy.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from bench.blackbox import Batch, cross_entropy
from bench.method import Method
from bench.optim import CMAES, check_cma
from bench.prompt import Prompt

# The number of weights of one ViT-B/32 patch filter (3 x 32 x 32); the authors use it for every backbone.
PATCH_WEIGHTS = 3072


@dataclass(frozen=True)
class Params:
    """4,000 parameters, whatever the backbone."""

    text_tokens: int = 5
    visual_tokens: int = 5
    text_dim: int = 2000  # length of v_L
    visual_dim: int = 2000  # length of v_V
    population: int = 15
    sigma: float = 1.0
    separable: bool = False  # a full covariance takes 0.2 s and 0.4 GB per generation at 4,000 parameters
    fitness: str = "plain"  # or "port": see above

    def __post_init__(self) -> None:
        check_cma(self.population, self.sigma)
        if self.fitness not in ("plain", "port"):
            raise ValueError(f"fitness is {self.fitness!r}, but must be plain or port")


class BPTVLM(Method):
    """Text and visual tokens from random subspaces, by CMA-ES."""

    title = "BPT-VLM"
    paper = "Yu et al., IJCAI 2023"
    access = ("text context", "visual tokens")
    difference_bits = 11  # measured: benchmarks/precision.py
    least_answer = "label"
    Params = Params

    def setup(self) -> None:
        """A_L has std s / (sqrt(dim) sigma); A_V has mean mu 3072 / dim and std t sqrt(3072 / dim) sigma.

        s: std of the token embeddings. mu, t: mean and std of the patch embedding's weights.
        """
        p, spec = self.params, self.box.spec
        if spec.vision_width is None:
            raise ValueError("this backbone's image tower takes no visual tokens")
        text, visual = p.text_tokens * spec.text_width, p.visual_tokens * spec.vision_width
        ratio = PATCH_WEIGHTS / p.visual_dim
        self.A_L = self.normal(text, p.text_dim, std=spec.token_std / (p.text_dim**0.5 * p.sigma))
        self.A_V = self.normal(visual, p.visual_dim, std=spec.patch_std * ratio**0.5 * p.sigma)
        self.A_V += spec.patch_mean * ratio

    @property
    def n_params(self) -> int:
        return self.params.text_dim + self.params.visual_dim

    def start(self) -> Tensor:
        return torch.zeros(self.n_params, device=self.box.device)

    def prompt(self, state: Tensor) -> Prompt:
        v_L, v_V = state.split([self.params.text_dim, self.params.visual_dim])
        context = (self.A_L @ v_L).view(self.params.text_tokens, -1)
        tokens = (self.A_V @ v_V).view(self.params.visual_tokens, -1)
        return Prompt(context=context, tokens=tokens, state=state)

    def tune(self) -> None:
        p = self.params
        es = CMAES(self.x0, self.seed, sigma=p.sigma, population=p.population, separable=p.separable)
        if p.fitness == "port":
            self.tune_like_the_port(es)
        while True:
            es.tell(self.box.pass_loss([self.prompt(v) for v in es.ask()]))
            self.box.report(self.prompt(es.best))

    def tune_like_the_port(self, es: CMAES) -> None:
        """The code in ZIP's repository (fitness "port"). It runs until the budget is spent."""
        stream, spec = self.box.batches(), self.box.spec
        per_epoch = max(spec.train_size // spec.batch_size, 1)
        self.lowest = float("inf")
        while True:
            means = [self.epoch(v, islice(stream, per_epoch)) for v in es.ask()]
            es.tell(torch.tensor(means, dtype=torch.float64))

    def epoch(self, v: Tensor, batches: Iterator[Batch]) -> float:
        """A candidate's mean loss over its epoch; reports it if its mean so far is the lowest of the run."""
        prompt, total, mean = self.prompt(v), 0.0, 0.0
        for n, batch in enumerate(batches, 1):
            total += cross_entropy(self.box.logits(batch, [prompt]), batch.labels).item()
            mean = total / n
            if mean < self.lowest:
                self.lowest = mean
                self.box.report(prompt)
        return mean
