"""The optimisers, checked by hand, on linear functions (no bias) and on quadratic ones (they descend)."""

from math import sqrt

import numpy as np
import pytest
import torch

from bench.optim import CMAES, RGF, SPSA, OpenES, SPSASettings, clip_norm, segmented_uniform

N = 20
SLOPE = torch.linspace(-1, 1, N, dtype=torch.float64)
ZERO = torch.zeros(N, dtype=torch.float64)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_segmented_uniform_has_magnitudes_from_one_half_to_one_and_fair_signs() -> None:
    z = segmented_uniform((200, 500), rng())
    assert z.abs().min() >= 0.5 and z.abs().max() <= 1
    assert abs((z > 0).double().mean() - 0.5) < 4 * 0.5 / sqrt(z.numel())


def estimates(optimiser: SPSA | RGF | OpenES, rounds: int) -> torch.Tensor:
    """[rounds, N] gradient estimates of the linear function SLOPE . x + 3."""
    return torch.stack([optimiser.gradient(optimiser.ask() @ SLOPE + 3) for _ in range(rounds)])


@pytest.mark.parametrize(
    "optimiser",
    [
        SPSA(ZERO, rng(), SPSASettings(directions=5)),
        RGF(ZERO, rng(), beta=0.01, directions=5),
        RGF(ZERO, rng(), beta=0.01, directions=5, drawn=4 * N),
        OpenES(ZERO, rng(), lr=0.1, sigma=0.01, directions=5),
    ],
    ids=["spsa", "rgf", "rgf of a part", "openes"],
)
def test_the_estimate_is_unbiased_on_a_linear_function(optimiser: SPSA | RGF | OpenES) -> None:
    g = estimates(optimiser, 4000)
    error = (g.mean(0) - SLOPE) / (g.std(0) / sqrt(len(g)))
    assert error.abs().max() < 4.5  # in standard errors; there are 20 numbers
    assert g.std(0).min() > 0.01  # the estimate varies, so the test can fail


def test_spsa_by_hand() -> None:
    """One direction, x = (1, 2), f = x1^2 + 3 x2: g_i = (f(x + c z) - f(x - c z)) / (2 c z_i)."""
    settings = SPSASettings(directions=1, a=0.5, c=0.1, alpha=0.4, gamma=0.1)
    spsa = SPSA(torch.tensor([1.0, 2.0], dtype=torch.float64), rng(), settings)
    plus, minus = spsa.ask()
    z = (plus - minus) / 0.2  # c_1 = c
    losses = torch.stack([x[0] ** 2 + 3 * x[1] for x in (plus, minus)])
    expected = (4 * 0.1 * z[0] + 6 * 0.1 * z[1]) / (2 * 0.1 * z)
    torch.testing.assert_close(spsa.gradient(losses), expected)
    spsa.tell(losses)
    torch.testing.assert_close(spsa.x, torch.tensor([1.0, 2.0]).double() - 0.5 / 2**0.4 * expected)


def test_spsa_gains_decay_as_in_the_paper() -> None:
    spsa = SPSA(ZERO, rng(), SPSASettings(c=0.01, directions=2))
    for k in range(1, 6):
        candidates = spsa.ask()
        radius = (candidates[0] - candidates[2]).abs().max() / 2
        assert 0.5 * 0.01 / k**0.1 <= radius <= 0.01 / k**0.1
        spsa.tell(torch.zeros(4))


def test_momentum_looks_ahead() -> None:
    """m_k = beta m_{k-1} + g_k, step along g_k + beta m_k: two steps with a known estimate."""
    spsa = SPSA(ZERO, rng(), SPSASettings(directions=1, a=1.0, alpha=0.0, momentum=0.5))
    spsa.gradient = lambda losses: torch.ones(N, dtype=torch.float64)  # type: ignore[method-assign]
    spsa.ask(), spsa.tell(torch.zeros(2))
    torch.testing.assert_close(spsa.x, ZERO - 1.5)  # m = 1, step 1 + 0.5
    spsa.ask(), spsa.tell(torch.zeros(2))
    torch.testing.assert_close(spsa.x, ZERO - 1.5 - 1.75)  # m = 1.5, step 1 + 0.75


@pytest.mark.parametrize(("clip", "norm"), [("sqrt", sqrt(N)), ("2.5", 2.5)])
def test_a_long_step_is_clipped_and_a_short_one_is_not(clip: str, norm: float) -> None:
    for length in (100.0, 0.5):
        spsa = SPSA(ZERO, rng(), SPSASettings(directions=1, a=1.0, alpha=0.0, clip=clip))
        step = length * SLOPE / SLOPE.norm()
        spsa.gradient = lambda losses, step=step: step  # type: ignore[method-assign]
        spsa.ask(), spsa.tell(torch.zeros(2))
        assert spsa.x.norm().item() == pytest.approx(min(length, norm))


def test_clip_names() -> None:
    assert clip_norm("none", 417) is None
    assert clip_norm("sqrt", 417) == sqrt(417)
    assert clip_norm("1.5", 417) == 1.5
    with pytest.raises(ValueError):
        clip_norm("srqt", 417)


@pytest.mark.parametrize("name", ["spsa", "spsa-gc", "rgf", "openes", "cmaes", "sep-cmaes"])
def test_it_descends_a_quadratic(name: str) -> None:
    start = torch.ones(N, dtype=torch.float64)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return ((x - SLOPE) ** 2).sum(-1)

    optimiser = {
        "spsa": lambda: SPSA(start, rng(), SPSASettings(a=0.05)),
        "spsa-gc": lambda: SPSA(start, rng(), SPSASettings(a=0.01, momentum=0.8)),
        "rgf": lambda: RGF(start, rng(), beta=0.01, directions=5),
        "openes": lambda: OpenES(start, rng(), lr=0.02, sigma=0.05, directions=5),
        "cmaes": lambda: CMAES(start, 0, sigma=0.3, population=12),
        "sep-cmaes": lambda: CMAES(start, 0, sigma=0.3, population=12, separable=True),
    }[name]()
    for _ in range(300):
        losses = loss(optimiser.ask())
        optimiser.tell(losses, 0.02) if isinstance(optimiser, RGF) else optimiser.tell(losses)
    assert loss(optimiser.x) < 0.05 * loss(start)


def test_cmaes_does_not_use_numpys_global_generator_and_gives_the_same_result_twice() -> None:
    def candidates() -> torch.Tensor:
        es = CMAES(torch.zeros(5), 7, sigma=1.0, population=6, bounds=(-5, 5))
        first = es.ask()
        es.tell(first.square().sum(1))
        return torch.cat([first, es.ask()])

    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    one, two = candidates(), candidates()
    assert (np.random.get_state()[1] == before).all()
    assert torch.equal(one, two)
    assert one.abs().max() <= 5


def test_cmaes_keeps_the_best_candidate_of_all() -> None:
    es = CMAES(torch.zeros(3), 1, sigma=1.0, population=8)
    seen = []
    for _ in range(5):
        x = es.ask()
        losses = x.square().sum(1)
        seen += list(zip(losses.tolist(), x.tolist(), strict=True))
        es.tell(losses)
    assert es.best_loss == pytest.approx(min(seen)[0])
    assert es.best.tolist() == min(seen)[1]


@pytest.mark.parametrize("separable", [False, True])
def test_equal_losses_keep_the_order_of_their_candidates(separable: bool) -> None:
    """Numpy sorts equal numbers otherwise on other processors. A loss that counts errors has many of them."""
    counts = torch.tensor([3.0, 1.0, 3.0, 2.0] * 10)  # with more than 16 numbers numpy no longer inserts
    order = sorted(range(40), key=counts.tolist().__getitem__)
    places = torch.empty(40)
    places[order] = torch.arange(40.0)
    found = []
    for losses in (counts, places):
        optimiser = CMAES(torch.zeros(6), seed=1, sigma=0.5, population=40, separable=separable)
        for _ in range(3):
            optimiser.ask()
            optimiser.tell(losses)
        found.append(optimiser.x)
    assert torch.equal(*found)
