"""Optimisers of flat vectors, with the methods `ask` and `tell`. They know nothing of budgets and prompts.

They compute in float64, and round the iterate to float32 numbers after each step (see bench/exact.py).

`ask()` returns candidates [K, n]; `tell(losses)` takes their losses [K], in the same order; `x` is the
iterate.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from bench import exact

BITS = 12  # significant bits of each number of a candidate of CMA-ES


def segmented_uniform(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Magnitudes from U[0.5, 1] with random signs.

    The inverse moments of such numbers are bounded, as SPSA needs (Spall 1992).
    """
    magnitude = 0.5 + 0.5 * torch.rand(shape, generator=rng).double()
    return magnitude * (2 * torch.randint(2, shape, generator=rng) - 1)


@dataclass(frozen=True)
class SPSASettings:
    """The constants of SPSA, which a method's Params can inherit.

    Names: Spall 1998; values: ZIP, section 5.1.
    """

    a: float = 0.01  # step a_k = a / (k + offset)^alpha
    c: float = 0.01  # difference c_k = c / k^gamma
    alpha: float = 0.4
    gamma: float = 0.1
    offset: float = 1.0
    directions: int = 5  # N; one step costs 2 N queries
    momentum: float = 0.0  # above 0: SPSA-GC
    clip: str = "none"  # the largest norm of a step: none, sqrt (of the number of parameters), or a number

    def __post_init__(self) -> None:
        clip_norm(self.clip, 1)  # raises ValueError for an unknown word
        if not self.c > 0:
            raise ValueError(f"c is {self.c:g}, but a difference needs a width above 0")


class SPSA:
    """Two-sided simultaneous perturbation. With momentum it is SPSA-GC; with a clip it is ZIP's clipped SPSA.

    g_k = mean_j (L(x + c_k z_j) - L(x - c_k z_j)) / (2 c_k z_j), element by element
    c_k = c / k^gamma, a_k = a / (k + offset)^alpha, k = 1, 2, ...   (names as in Spall 1998)
    m_k = momentum m_{k-1} + g_k; step along g_k + momentum m_k       (BlackVIP, eq. 6-7: look-ahead)
    clip to a norm: x <- x - a_k min(clip / ||step||, 1) step; 'sqrt' means sqrt(n)  (ZIP, sec. 4.2)
    """

    def __init__(self, x: Tensor, rng: torch.Generator, settings: SPSASettings) -> None:
        self.x, self.rng, self.settings = x.double(), rng, settings
        self.clip = clip_norm(settings.clip, x.numel())
        self.k = 0
        self._m = torch.zeros_like(self.x)

    def ask(self) -> Tensor:
        """[2 * directions, n]: first all x + c_k z_j, then all x - c_k z_j."""
        self.k += 1
        s = self.settings
        self._ck = s.c / self.k**s.gamma
        self._z = segmented_uniform((s.directions, self.x.numel()), self.rng).to(self.x)
        return torch.cat([self.x + self._ck * self._z, self.x - self._ck * self._z])

    def gradient(self, losses: Tensor) -> Tensor:
        """The estimate g_k [n] from the losses [2 * directions] of the last candidates."""
        plus, minus = losses.to(self.x).chunk(2)
        gradient: Tensor = ((plus - minus)[:, None] / (2 * self._ck * self._z)).mean(0)
        return gradient

    def tell(self, losses: Tensor) -> None:
        """Move x by one step. losses: of the last candidates."""
        s, g = self.settings, self.gradient(losses)
        self._m = s.momentum * self._m + g
        step = g + s.momentum * self._m
        if self.clip is not None:
            # on the device: reading the norm would wait for a GPU
            step = step * (self.clip / (step.norm() + 1e-12)).clamp(max=1.0)
        self.x = exact.stored(self.x - s.a / (self.k + s.offset) ** s.alpha * step)


def clip_norm(clip: str, n: int) -> float | None:
    """The norm that `clip` means in n dimensions: None, sqrt(n) or the number. Raises ValueError."""
    if clip == "none":
        return None
    if clip == "sqrt":
        return sqrt(n)
    try:
        norm = float(clip)
    except ValueError:
        norm = 0.0
    if not 0 < norm < float("inf"):
        raise ValueError(f"clip is {clip!r}, but must be none, sqrt or a number above 0")
    return norm


def check_cma(population: int, sigma: float) -> None:
    """Raise ValueError for constants with which CMA-ES cannot learn."""
    if population < 2:
        raise ValueError(f"population is {population}, but CMA-ES compares at least 2 candidates")
    if not sigma > 0:
        raise ValueError(f"sigma is {sigma:g}, but the first standard deviation must be above 0")


class RGF:
    """One-sided random gradient-free estimate along unit vectors (BAR, eq. 6).

    g = d / q sum_j u_j (L(x + beta u_j) - L(x)) / beta;  x <- x - step g, with the step given to `tell`.

    drawn: d, the length of u; n by default. It is larger if x is only a part of the vector that the authors
    perturb, and the other part does not change the loss. Then u is a unit vector of length d, and x moves
    along its first n entries. The estimate stays unbiased, because the mean of u u^T is I / d.
    """

    def __init__(
        self, x: Tensor, rng: torch.Generator, *, beta: float, directions: int, drawn: int | None = None
    ) -> None:
        self.x, self.rng = x.double(), rng
        self.beta, self.directions, self.drawn = beta, directions, drawn or x.numel()

    def ask(self) -> Tensor:
        """[1 + directions, n]: the pivot x, then x + beta u_j."""
        u = exact.normal(self.directions, self.drawn, rng=self.rng).to(self.x)
        self._u = (u / u.norm(dim=1, keepdim=True))[:, : self.x.numel()]
        return torch.cat([self.x[None], self.x + self.beta * self._u])

    def gradient(self, losses: Tensor) -> Tensor:
        """The estimate [n] from the losses [1 + directions] of the last candidates."""
        slopes = (losses[1:] - losses[0]).to(self.x) / self.beta
        gradient: Tensor = self.drawn * (self._u * slopes[:, None]).mean(0)
        return gradient

    def tell(self, losses: Tensor, step: float) -> None:
        """Move x by one step. losses: of the last candidates."""
        self.x = exact.stored(self.x - step * self.gradient(losses))


class OpenES:
    """Evolution strategy with antithetic Gaussian directions (Salimans et al. 2017, alg. 1, without ranks).

    g = 1 / (2 N sigma) sum_j (L(x + sigma e_j) - L(x - sigma e_j)) e_j;  x <- x - lr g
    """

    def __init__(self, x: Tensor, rng: torch.Generator, *, lr: float, sigma: float, directions: int) -> None:
        self.x, self.rng = x.double(), rng
        self.lr, self.sigma, self.directions = lr, sigma, directions

    def ask(self) -> Tensor:
        """[2 * directions, n]: first all x + sigma e_j, then all x - sigma e_j."""
        self._e = exact.normal(self.directions, self.x.numel(), rng=self.rng).to(self.x)
        return torch.cat([self.x + self.sigma * self._e, self.x - self.sigma * self._e])

    def gradient(self, losses: Tensor) -> Tensor:
        """The estimate [n] from the losses [2 * directions] of the last candidates."""
        plus, minus = losses.to(self.x).chunk(2)
        return ((plus - minus)[:, None] * self._e).mean(0) / (2 * self.sigma)

    def tell(self, losses: Tensor) -> None:
        """Move x by one step. losses: of the last candidates."""
        self.x = exact.stored(self.x - self.lr * self.gradient(losses))


class CMAES:
    """CMA-ES (Hansen 2016) from the library `cma`, with its own generator instead of numpy's global one.

    The step size follows the path of the mean (CSA), as in Hansen's tutorial and as in the versions of the
    library with which the rows of CraFT and BPT-VLM were made (3.3 and 4.0). Version 4.5 would use another
    rule from 300 dimensions on.

    `ask` returns candidates that are rounded to BITS significant bits; this changes them far less than they
    differ from each other. The library itself keeps its unrounded candidates. turned: see `_draw`.

    separable: the covariance is diagonal, with O(n) instead of O(n^2) memory and time. Measured in 4,000
    dimensions with a population of 15: a full covariance takes 0.2 s per generation and 0.4 GB, a diagonal
    one 5 ms.
    """

    turned = True

    def __init__(
        self,
        x: Tensor,
        seed: int,
        *,
        sigma: float,
        population: int,
        bounds: tuple[float, float] | None = None,
        separable: bool = False,
    ) -> None:
        import cma  # the import takes a second, and only some methods need it
        from cma.sigma_adaptation import CMAAdaptSigmaCSA

        self._like = x.double()
        self._numbers = np.random.default_rng(seed)
        options = {
            "popsize": population,
            "randn": self._draw,
            "seed": float("nan"),  # any number would seed numpy's global generator
            "bounds": list(bounds) if bounds else [None, None],
            "CMA_diagonal": separable,
            "AdaptSigma": CMAAdaptSigmaCSA,
            "verbose": -9,
        }
        self._es = cma.CMAEvolutionStrategy(x.double().cpu().numpy(), sigma, options)
        self.best, self.best_loss = self._like, float("inf")

    def _draw(self, *shape: int) -> np.ndarray:
        """Standard normal numbers, rotated so that the library computes B D B^T z instead of B D z.

        Both have the covariance C. But the eigenvectors B of nearly equal eigenvalues can be any basis of
        their space, and they differ between processors. B D B^T, the root of C, depends on C alone.
        """
        from cma.sampler import GaussFullSampler

        drawn = self._numbers.standard_normal(shape)
        full = self.turned and isinstance(self._es.sm, GaussFullSampler)
        return np.asarray(drawn @ self._es.sm.B) if full else drawn

    @property
    def x(self) -> Tensor:
        """[n] the mean of the distribution, inside the bounds: with noise, the best estimate of a minimum."""
        return self._tensor(self._es.result.xfavorite)

    def ask(self) -> Tensor:
        """[population, n]: new candidates."""
        self._asked = self._es.ask()
        return torch.stack([self._tensor(one) for one in self._asked])

    def sample(self) -> Tensor:
        """[n] the mean of a new population, whose losses are not needed."""
        return torch.stack([self._tensor(one) for one in self._es.ask()]).mean(0)

    def tell(self, losses: Tensor) -> None:
        """Update the distribution, and `best`, the candidate with the lowest loss so far.

        CMA-ES uses the order of the losses alone, and so the library gets ranks. Equal losses, which are
        frequent where a loss counts errors, keep the order of their candidates. The library sorts with
        numpy, which orders equal numbers otherwise on other processors.
        """
        values = [float(loss) for loss in losses]
        order = sorted(range(len(values)), key=values.__getitem__)
        lowest = order[0]
        if values[lowest] < self.best_loss:
            self.best, self.best_loss = self._tensor(self._asked[lowest]), values[lowest]
        self._es.tell(self._asked, np.argsort(order).tolist())  # the rank of each candidate

    def _tensor(self, values: np.ndarray) -> Tensor:
        return exact.significant(torch.as_tensor(np.asarray(values)), BITS).to(self._like)
