"""ZIP: an efficient zeroth-order prompt tuning for black-box vision-language models.

Park, Jeong, Kim, Lee, Lee. ICLR 2025, https://openreview.net/forum?id=2OegVbwvY2
Section 4.1: the context has a low-dimensional, low-rank form. Section 4.2: SPSA, clipped at sqrt(delta).
"""

from dataclasses import dataclass, field
from math import ceil, log2

import torch
from torch import Tensor

from bench import exact
from bench.blackbox import cross_entropy
from bench.method import Method
from bench.optim import SPSA, SPSASettings
from bench.prompt import Prompt


@dataclass(frozen=True)
class Params(SPSASettings):
    """The paper's values for ViT-B/16 (its section 5.1 and appendix)."""

    m: int = 8  # context tokens
    intrinsic: int = 500  # intrinsic dimension, divided among the tokens: q = floor(intrinsic / m)
    rank: int = field(default=5, metadata={"least": 0})  # r; 0: no factorisation, one free vector per token
    share: bool = True  # the vector u added to every token ("feature sharing")
    projection: str = "fastfood"  # or "gaussian"
    scale: float = 1.0  # factor on the projections; 1 in the paper
    init: str = (
        "random"  # theta0 ~ N(0, 0.02^2); or the words to start from, which set m; hand: the template's
    )
    clip: str = "sqrt"  # clip the gradient's norm at sqrt(delta)


class Zip(Method):
    """A low-rank text context, by clipped SPSA."""

    title = "ZIP"
    paper = "Park et al., ICLR 2025"
    access = ("text context",)
    Params = Params

    def setup(self) -> None:
        p, d = self.params, self.box.spec.text_width
        if p.init == "random":
            self.theta0 = self.normal(p.m, d, std=0.02)
        else:
            self.theta0 = self.opening(p.init)
        self.m = len(self.theta0)
        self.q = p.intrinsic // self.m
        if p.init != "random":  # a word or two cannot use the whole intrinsic dimension
            self.q = min(self.q, 2 ** ceil(log2(d)))
        project = {"fastfood": self.fastfood, "gaussian": self.gaussian}[p.projection]
        self.M = p.scale * torch.stack([project(d) for _ in range(self.m)])  # [m, d, q]

    @property
    def sizes(self) -> list[int]:
        """Lengths of the parts of a state: U [q, r], s [r], V [m, r], u [q]; with rank 0 Xi [q, m], u [q]."""
        q, m, r = self.q, self.m, self.params.rank
        return [*([q * r, r, m * r] if r else [q * m]), *([q] if self.params.share else [])]

    @property
    def n_params(self) -> int:
        return sum(self.sizes)

    def start(self) -> Tensor:
        """U ~ N(0, 1), s = 1, V = 0, u = 0: the first prompt is theta0 and its gradient is not zero."""
        state = torch.zeros(self.n_params, dtype=torch.float64, device=self.box.device)
        if r := self.params.rank:
            state[: self.q * r] = self.normal(self.q * r)
            state[self.q * r : self.q * r + r] = 1.0
        return state

    def context(self, states: Tensor) -> Tensor:
        """[K, delta] -> [K, m, d]: theta0_i + M_i w_i with [w_1 .. w_m] = U diag(s) V^T + u 1^T."""
        k, q, m, r = len(states), self.q, self.m, self.params.rank
        parts = states.split(self.sizes, dim=1)
        if r:
            U, s, V = parts[0].view(k, q, r), parts[1], parts[2].view(k, m, r)
            w = (U * s[:, None]) @ V.transpose(1, 2)  # [K, q, m]
        else:
            w = parts[0].view(k, q, m)
        if self.params.share:
            w = w + parts[-1][:, :, None]
        return self.theta0 + torch.einsum("mdq,kqm->kmd", self.M, w)

    def prompt(self, state: Tensor) -> Prompt:
        return Prompt(context=self.context(state[None])[0], state=state)

    def tune(self) -> None:
        optimiser = SPSA(self.x0, self.rng, self.params)
        for batch in self.box.batches():
            prompts = [Prompt(context=context) for context in self.context(optimiser.ask())]
            optimiser.tell(cross_entropy(self.box.logits(batch, prompts), batch.labels))
            self.box.report(self.prompt(optimiser.x))

    def fastfood(self, d: int) -> Tensor:
        """The Fastfood transform H G P H B [d, q] (Le et al., ICML 2013), q <= L = 2^ceil(log2 d).

        H is Walsh-Hadamard, G Gaussian, P a permutation, B signs. The first d entries are taken and divided
        by sqrt(L sum G^2) sqrt(d / L), so that columns have norm one in expectation.
        """
        L = 2 ** ceil(log2(d))
        if self.q > L:
            raise ValueError(f"intrinsic / m = {self.q} does not fit the padded text width {L}")
        signs = 2.0 * torch.randint(2, (L,), generator=self.rng) - 1
        order = torch.randperm(L, generator=self.rng)
        G = exact.normal(L, rng=self.rng)
        H = hadamard(L)
        M = (H[:d] * G) @ (H * signs)[order, : self.q]
        return (M / (L * G.square().sum()).sqrt() / (d / L) ** 0.5).to(self.box.device)

    def gaussian(self, d: int) -> Tensor:
        """A [d, q] matrix of entries N(0, 1 / d), so that columns have norm one in expectation."""
        return self.normal(d, self.q, std=d**-0.5)


def hadamard(n: int) -> Tensor:
    """The [n, n] Walsh-Hadamard matrix of entries +1 and -1 (Sylvester), n a power of two."""
    H = torch.ones(1, 1, dtype=torch.float64)
    while len(H) < n:
        H = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64), H)
    return H
