"""Manual prompt: the data set's hand template. It has no parameters and asks no query.

Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021.
"""

from torch import Tensor

from bench.method import Method
from bench.prompt import Prompt


class Manual(Method):
    """The hand template, untuned."""

    title = "Manual Prompt"
    paper = "Radford et al., ICML 2021"
    access = ("template",)
    least_answer = "label"
    n_params = 0

    def start(self) -> Tensor | None:
        return None

    def prompt(self, state: Tensor | None) -> Prompt:
        return Prompt()  # an empty prompt means the hand template of each test set

    def tune(self) -> None:
        """There is nothing to tune."""
