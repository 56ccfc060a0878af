"""A linear probe: logistic regression on image features. Reads features: a reference row.

Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021, section 3.2.

    logits = base + scale f W + b,   f an image's feature, of norm one

fitted on one pass over the train set (see _linear.py). With base = 0 it is the paper's probe, which does not
know the classes' names. With the hand template's answers as base, W is added to the class features and starts
at zero; that is the idea of LP++ (Huang et al., CVPR 2024, arXiv 2404.02285), which tunes a factor for each
class feature besides and has an optimiser of its own.

Radford et al. choose the strength of the penalty on validation images; here it is chosen by
cross-validation, which costs no query. A probe fits the classes it was fitted on; new classes are answered by
the hand template.
"""

from dataclasses import dataclass

import torch
from bench.methods._linear import Full, fit
from torch import Tensor

from bench import exact
from bench.method import Method
from bench.prompt import Prompt

BASES = ("template", "none")


@dataclass(frozen=True)
class Params:
    """Ours."""

    base: str = "template"  # what the probe is added to: the hand template's answers, or none

    def __post_init__(self) -> None:
        if self.base not in BASES:
            raise ValueError(f"base is {self.base!r}, but must be one of {', '.join(BASES)}")


class Probe(Method):
    """Logistic regression on image features."""

    title = "Linear probe"
    paper = "cf. Radford et al., ICML 2021, sec. 3.2"
    access = ("features",)
    Params = Params

    @property
    def shape(self) -> tuple[int, int]:
        """Of W."""
        return self.box.spec.feature_width, len(self.box.classes)

    @property
    def n_params(self) -> int:
        e, C = self.shape
        return e * C + C

    def start(self) -> Tensor:
        return torch.zeros(self.n_params, dtype=torch.float64, device=self.box.device)

    def seen(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """What the probe is added to [B, C], and what it reads [B, e]."""
        scale = self.box.spec.logit_scale
        base = scale * (image @ text.T)
        return base if self.params.base == "template" else torch.zeros_like(base), scale * image

    def prompt(self, state: Tensor) -> Prompt:
        """Before the fit, the hand template's answers, whatever the base."""
        if not state.any():
            return Prompt(state=state)
        e, C = self.shape
        W, b = state[: e * C].view(e, C), state[e * C :]

        def adapter(image: Tensor, text: Tensor) -> Tensor:
            base, X = self.seen(image, text)
            return base + X @ W + b

        return Prompt(adapter=adapter, state=state)

    def tune(self) -> None:
        batches = self.box.train_pass()
        self.box.require(len(batches))
        found = [self.seen(*self.box.features(batch)) for batch in batches]
        base, X = (torch.cat(part) for part in zip(*found, strict=True))
        labels = torch.cat([batch.labels for batch in batches])
        parts = fit(Full(*self.shape), base, X, labels, self.rng)
        self.box.report(self.prompt(exact.stored(torch.cat(parts).to(self.box.device))))
