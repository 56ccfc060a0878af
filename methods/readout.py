"""A linear read-out of several templates: K templates are sent, and one linear map reads all their logits.

    answers = logits of the hand template + X W + b,   X [N, K C]: the logits of all templates, centred

The templates describe an image in different words, so K C numbers say more about it than C numbers. The map
is fitted on one pass per template (see _linear.py). The deployed prompt costs K queries per batch. A read-out
works only for the classes on which it was fitted; new classes are answered by the hand template alone.

This method is our own; no paper has this row. The templates were published with the model
(bench/templates.py).
"""

from dataclasses import dataclass

import torch
from bench.methods._linear import centred, fit, matrix
from torch import Tensor

from bench import exact
from bench.method import Method
from bench.prompt import Prompt
from bench.templates import templates


@dataclass(frozen=True)
class Params:
    """Our own values."""

    k: int = 5  # number of templates: the hand template and k - 1 that are drawn from the list
    templates: str = "clip"  # the name of the list: see bench/templates.py
    most: int = 1000  # the largest K C for which W is a full matrix
    rank: int = 64  # the rank of W for a larger K C

    def __post_init__(self) -> None:
        if not 1 <= self.k <= 1 + len(templates(self.templates)):
            raise ValueError(f"k must be 1 to {1 + len(templates(self.templates))}, not {self.k}")
        if min(self.most, self.rank) < 1:
            raise ValueError("most and rank must be at least 1")


class Readout(Method):
    title = "Read-out of templates"
    access = ("template", "logits head")
    least_answer = "label"
    Params = Params

    def setup(self) -> None:
        listed = templates(self.params.templates)
        drawn = torch.randperm(len(listed), generator=self.rng)[: self.params.k - 1].tolist()
        self.parts = (Prompt(), *(Prompt(template=listed[i]) for i in drawn))
        p, C = self.params, len(self.box.classes)
        self.map = matrix(p.k * C, C, p.most, p.rank)
        self.shapes = [*self.map.shapes, (C,)]

    @property
    def sizes(self) -> list[int]:
        return [torch.Size(shape).numel() for shape in self.shapes]

    @property
    def n_params(self) -> int:
        return sum(self.sizes)

    def start(self) -> Tensor:
        """Zeros, which give the hand template's own logits."""
        return torch.zeros(self.n_params, dtype=torch.float64, device=self.box.device)

    def prompt(self, state: Tensor) -> Prompt:
        parts = zip(state.split(self.sizes), self.shapes, strict=True)
        *maps, b = (part.view(shape) for part, shape in parts)

        def head(logits: Tensor) -> Tensor:
            """Logits of all templates [K, B, C] -> the read-out's logits [B, C]."""
            seen = side_by_side(logits)
            for M in maps:
                seen = seen @ M
            return logits[0] + seen + b

        return Prompt(parts=self.parts, head=head, state=state)

    def tune(self) -> None:
        batches = self.box.train_pass()
        self.box.require(len(batches) * len(self.parts))
        answers = torch.cat([self.box.logits(batch, self.parts) for batch in batches], dim=1)  # [K, N, C]
        labels = torch.cat([batch.labels for batch in batches])
        parts = fit(self.map, answers[0], side_by_side(answers), labels, self.rng)
        self.box.report(self.prompt(exact.stored(torch.cat(parts).to(self.box.device))))


def side_by_side(logits: Tensor) -> Tensor:
    """Logits of all templates [K, B, C] -> centred logits [B, K C]."""
    return centred(logits).transpose(0, 1).flatten(1)
