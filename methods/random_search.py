"""Random search on ZIP's parametrisation: every optimiser should be better than this.

Candidates are drawn around the start. Each one is scored on one pass over the train set, and the best is
deployed.
"""

from dataclasses import dataclass

from bench.methods.zip import Zip


@dataclass(frozen=True)
class Params(Zip.Params):
    """ZIP's prompt, drawn at random."""

    sigma: float = 0.5  # std of a candidate around the start
    at_once: int = 10  # candidates per step


class RandomSearch(Zip):
    """ZIP's prompt, by random search."""

    title = "Random search"
    paper = ""
    least_answer = "label"
    Params = Params

    def tune(self) -> None:
        p = self.params
        best, lowest = self.x0, float("inf")
        while True:
            states = self.x0 + self.normal(p.at_once, self.n_params, std=p.sigma)
            if lowest == float("inf"):
                # The start is a candidate too; otherwise the first draw would replace it without a
                # comparison.
                states[0] = self.x0
            losses = self.box.pass_loss([self.prompt(state) for state in states])
            if losses.min().item() < lowest:
                lowest, best = losses.min().item(), states[losses.argmin()]
            self.box.report(self.prompt(best))
