"""CMA-ES on ZIP's parametrisation: is a population that learns curvature better than a noisy gradient?

Hansen, The CMA evolution strategy: a tutorial, 2016, https://arxiv.org/abs/1604.00772
"""

from dataclasses import dataclass

from bench.methods.zip import Zip

from bench.optim import CMAES, check_cma


@dataclass(frozen=True)
class Params(Zip.Params):
    """ZIP's prompt. A candidate's fitness is its mean loss over one pass of the train set."""

    population: int = 15
    sigma: float = 0.1
    separable: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_cma(self.population, self.sigma)


class CMAESZip(Zip):
    """ZIP's prompt, by CMA-ES."""

    title = "CMA-ES (ZIP's prompt)"
    paper = "Hansen, 2016"
    least_answer = "label"
    Params = Params

    def tune(self) -> None:
        p = self.params
        es = CMAES(self.x0, self.seed, sigma=p.sigma, population=p.population, separable=p.separable)
        while True:
            es.tell(self.box.pass_loss([self.prompt(x) for x in es.ask()]))
            self.box.report(self.prompt(es.x))
