"""Manual prompt: the data set's hand template. No parameters, no queries; the row to beat.

Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021.
"""

from torch import Tensor

from bench.method import Method
from bench.prompt import Prompt


class Manual(Method):
    title = "Manual Prompt"
    paper = "Radford et al., ICML 2021"
    access = ("template",)
    least_answer = "label"
    n_params = 0

    def start(self) -> Tensor | None:
        return None

    def prompt(self, state: Tensor | None) -> Prompt:
        return Prompt()  # each test set's own hand template

    def tune(self) -> None:
        """Nothing to tune."""
