"""Linear read-outs of logits: multinomial logistic regression that starts from a prompt's own answers.

    answers = base + g(X) + b,   loss = mean cross-entropy + l2 (|w|^2 + |b|^2),   w the weights of g

base [N, C]: the logits of a prompt. X [N, F]: the logits of one or several prompts, each centred over the
classes. So a constant that is added to all logits of an image changes nothing (probabilities do not show such
a constant). g is one of the maps below; g(X) and b are 0 at the start. The strength l2 is chosen by
cross-validation on the same answers, which costs no query.

The fit uses L-BFGS in float64 (Byrd et al. 1995, in scipy). For a map that is linear in its weights, a few
steps of Newton's method follow. They bring the weights within about 1e-12 of the minimum, which is the same
on every processor. The weights are rounded to multiples of STEP, which is far larger than this distance and
far too small to change a prediction.
"""

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, cg
from torch import Tensor

STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)  # from strong to weak; if several are equally good, the first one
FOLDS = 4
NEWTON = 3  # number of steps; each step squares the distance to the minimum
STEP = 2.0**-12  # rounding step of a weight
DECIMALS = 6  # decimals of a loss that is compared with others


@dataclass(frozen=True)
class Accuracy:
    """When a search ends: iterations, a relative fall of the loss, the largest entry of the slope."""

    iterations: int
    loss: float
    slope: float


ROUGH = Accuracy(100, 1e-7, 1e-6)  # in cross-validation
FINE = Accuracy(1000, 0.0, 1e-9)  # of the fit itself


class Map(Protocol):
    """A function X [N, F] -> [N, C] with flat weights w."""

    @property
    def size(self) -> int:
        """The number of weights."""
        ...

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the parts of these weights."""
        ...

    @property
    def linear(self) -> bool:
        """Whether the map is linear in its weights, so that the loss has one minimum."""
        ...

    def start(self) -> np.ndarray:
        """The first weights. With them, the map gives 0 for every X."""
        ...

    def __call__(self, X: np.ndarray, w: np.ndarray) -> np.ndarray: ...

    def slope(self, X: np.ndarray, w: np.ndarray, G: np.ndarray) -> np.ndarray:
        """The gradient of a loss in w. G: [N, C], the gradient of this loss in the map's value."""
        ...


@dataclass(frozen=True)
class Factor:
    """s X, with one number s for all classes (F = C)."""

    size, shapes, linear = 1, [(1,)], True

    def start(self) -> np.ndarray:
        return np.zeros(1)

    def __call__(self, X: np.ndarray, w: np.ndarray) -> np.ndarray:
        return w * X

    def slope(self, X: np.ndarray, w: np.ndarray, G: np.ndarray) -> np.ndarray:
        return np.atleast_1d((X * G).sum())


@dataclass(frozen=True)
class Full:
    """X W, with W [F, C]."""

    F: int
    C: int
    linear = True

    @property
    def size(self) -> int:
        return self.F * self.C

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [(self.F, self.C)]

    def start(self) -> np.ndarray:
        return np.zeros(self.size)

    def __call__(self, X: np.ndarray, w: np.ndarray) -> np.ndarray:
        return X @ w.reshape(self.F, self.C)

    def slope(self, X: np.ndarray, w: np.ndarray, G: np.ndarray) -> np.ndarray:
        return (X.T @ G).ravel()


@dataclass(frozen=True)
class LowRank:
    """X A B, with A [F, r] and B [r, C]: for many classes, where W would have too many numbers to fit.

    A starts with orthonormal columns, the first r discrete cosines. B starts with zeros.
    """

    F: int
    C: int
    r: int
    linear = False

    @property
    def size(self) -> int:
        return self.r * (self.F + self.C)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [(self.F, self.r), (self.r, self.C)]

    def start(self) -> np.ndarray:
        k, n = np.arange(self.r), np.arange(self.F)
        A = np.cos(np.pi * (n[:, None] + 0.5) * k / self.F) * (2 / self.F) ** 0.5
        return np.concatenate([A.ravel(), np.zeros(self.r * self.C)])

    def parts(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        A, B = np.split(w, [self.F * self.r])
        return A.reshape(self.F, self.r), B.reshape(self.r, self.C)

    def __call__(self, X: np.ndarray, w: np.ndarray) -> np.ndarray:
        A, B = self.parts(w)
        return (X @ A) @ B

    def slope(self, X: np.ndarray, w: np.ndarray, G: np.ndarray) -> np.ndarray:
        A, B = self.parts(w)
        return np.concatenate([(X.T @ (G @ B.T)).ravel(), ((X @ A).T @ G).ravel()])


def matrix(F: int, C: int, most: int, rank: int) -> Map:
    """X W with W [F, C]: in full up to F = `most`, of this rank for more."""
    return Full(F, C) if most >= F else LowRank(F, C, rank)


@dataclass(frozen=True)
class Data:
    """The data of a fit: base [N, C], X [N, F] and labels [N]."""

    base: np.ndarray
    X: np.ndarray
    labels: np.ndarray

    def part(self, rows: np.ndarray) -> "Data":
        """The data of some images. rows: which ones."""
        return Data(self.base[rows], self.X[rows], self.labels[rows])


def centred(logits: Tensor) -> Tensor:
    """Logits [.., C] minus their mean over the classes."""
    return logits - logits.mean(-1, keepdim=True)


def fit(g: Map, base: Tensor, X: Tensor, labels: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The weights of g, and b [C]. base, X: see the top of this file. labels: [N]. rng: draws the folds."""
    data = Data(base.cpu().double().numpy(), X.cpu().double().numpy(), labels.cpu().numpy())
    l2 = strength(g, data, torch.randperm(len(labels), generator=rng).numpy())
    found = solve(g, data, l2, FINE)
    w, b = np.split(polished(found, g, data, l2) if g.linear else found, [g.size])
    return _rounded(w), _rounded(b)


def _rounded(weights: np.ndarray) -> Tensor:
    return (torch.from_numpy(weights) / STEP).round() * STEP


def strength(g: Map, data: Data, order: np.ndarray) -> float:
    """The l2 with the least mean loss on the images that were left out of a fit.

    order: a random order of the images. Each class is spread evenly over the folds.
    """
    if len(order) < FOLDS:
        return STRENGTHS[0]
    fold = np.empty(len(order), dtype=int)
    fold[order[np.argsort(data.labels[order], kind="stable")]] = np.arange(len(order)) % FOLDS

    losses = dict.fromkeys(STRENGTHS, 0.0)
    for k in range(FOLDS):
        seen, unseen = data.part(fold != k), data.part(fold == k)
        w = None
        for l2 in STRENGTHS:  # each fit starts where the stronger one ended
            w = solve(g, seen, l2, ROUGH, w)
            losses[l2] += objective(w, g, unseen, 0.0)[0]
    return min(STRENGTHS, key=lambda l2: round(losses[l2] / FOLDS, DECIMALS))


def solve(g: Map, data: Data, l2: float, accuracy: Accuracy, start: np.ndarray | None = None) -> np.ndarray:
    """The weights of g, then b, with the least loss. start: where the search starts; None: at g's start."""
    if start is None:
        start = np.concatenate([g.start(), np.zeros(data.base.shape[1])])
    most = accuracy.iterations
    options = {"maxiter": most, "maxfun": 2 * most, "ftol": accuracy.loss, "gtol": accuracy.slope}
    found = minimize(objective, start, (g, data, l2), method="L-BFGS-B", jac=True, options=options)
    return np.asarray(found.x)


def polished(w: np.ndarray, g: Map, data: Data, l2: float) -> np.ndarray:
    """w (the weights of g, then b), moved to the minimum by Newton's method with conjugate gradients.

    w must be near the minimum at the start.
    """
    for _ in range(NEWTON):
        P = np.exp(log_softmax(data.base + g(data.X, w[: g.size]) + w[g.size :]))
        curved = partial(curvature, w, g, data, l2, P)
        H = LinearOperator((len(w), len(w)), matvec=curved, dtype=np.float64)
        w = w + cg(H, -objective(w, g, data, l2)[1], rtol=1e-8, maxiter=1000)[0]
    return w


def curvature(w: np.ndarray, g: Map, data: Data, l2: float, P: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The Hessian of the loss at w, times v, for a map that is linear in its weights.

    P [N, C]: the probabilities at w.
    """
    A = P * (g(data.X, v[: g.size]) + v[g.size :])
    G = (A - P * A.sum(1, keepdims=True)) / len(P)
    return np.concatenate([g.slope(data.X, w[: g.size], G), G.sum(0)]) + 2 * l2 * v


def log_softmax(answers: np.ndarray) -> np.ndarray:
    """Logits [N, C] -> log-probabilities [N, C]."""
    shifted = answers - answers.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def objective(w: np.ndarray, g: Map, data: Data, l2: float) -> tuple[float, np.ndarray]:
    """The loss at w (the weights of g, then b), and its gradient."""
    rows = np.arange(len(data.labels))
    log_probs = log_softmax(data.base + g(data.X, w[: g.size]) + w[g.size :])
    loss = float(-log_probs[rows, data.labels].mean() + l2 * (w**2).sum())
    G = np.exp(log_probs)
    G[rows, data.labels] -= 1
    G /= len(rows)
    return loss, np.concatenate([g.slope(data.X, w[: g.size], G), G.sum(0)]) + 2 * l2 * w
