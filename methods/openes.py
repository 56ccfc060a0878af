"""OpenES on ZIP's parametrisation: is SPSA, with its clipping, the better estimator?

Salimans, Ho, Chen, Sidor, Sutskever. Evolution strategies as a scalable alternative to reinforcement
learning, 2017, https://arxiv.org/abs/1703.03864
"""

from dataclasses import dataclass

from bench.methods.zip import Zip

from bench.blackbox import cross_entropy
from bench.optim import OpenES
from bench.prompt import Prompt


@dataclass(frozen=True)
class Params(Zip.Params):
    """ZIP's prompt, with 2 * 5 queries per step."""

    lr: float = 0.01
    sigma: float = 0.01


class OpenESZip(Zip):
    """ZIP's prompt, by OpenES."""

    title = "OpenES (ZIP's prompt)"
    paper = "Salimans et al., 2017"
    Params = Params

    def tune(self) -> None:
        p = self.params
        optimiser = OpenES(self.x0, self.rng, lr=p.lr, sigma=p.sigma, directions=p.directions)
        for batch in self.box.batches():
            prompts = [Prompt(context=context) for context in self.context(optimiser.ask())]
            optimiser.tell(cross_entropy(self.box.logits(batch, prompts), batch.labels))
            self.box.report(self.prompt(optimiser.x))
