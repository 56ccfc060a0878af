"""A template ensemble: it averages the logits of many templates. Nothing is tuned, and no query is spent.

Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021, section
3.1.4. They average the text features of 80 templates. An API that returns predictions gives no text features,
so this method averages the logits. The deployed prompt costs one query per template and batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.method import Method
from bench.prompt import Prompt
from bench.templates import templates


@dataclass(frozen=True)
class Params:
    """The 80 templates of the paper."""

    templates: str = "clip"  # the name of the list: see bench/templates.py
    count: int = 80  # the most templates; if the list is longer, they are drawn from it at random

    def __post_init__(self) -> None:
        templates(self.templates)
        if self.count < 1:
            raise ValueError(f"count must be at least 1, not {self.count}")


class Ensemble(Method):
    title = "Template ensemble"
    paper = "Radford et al., ICML 2021"
    access = ("template", "logits head")
    least_answer = "label"
    n_params = 0
    Params = Params

    def setup(self) -> None:
        listed = templates(self.params.templates)
        chosen = torch.randperm(len(listed), generator=self.rng)[: self.params.count].sort().values
        self.parts = tuple(Prompt(template=listed[i]) for i in chosen.tolist())

    def start(self) -> Tensor | None:
        return None

    def prompt(self, state: Tensor | None) -> Prompt:
        return Prompt(parts=self.parts, head=lambda logits: logits.mean(0), any_classes=True)

    def tune(self) -> None:
        """There is nothing to tune."""
