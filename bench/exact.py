"""Numbers that do not depend on the processor.

Kernels differ in the order of their sums and in the last digit of their exponentials. In float64 this changes
an answer by about 1e-14. A tuning run computes its next candidates from the answers, so such a difference
grows at every step. To prevent this, numbers are rounded where they enter the run: the model's answers, the
kept features, the state after each step, and random normal numbers. The rounding steps are far larger than
the differences. A difference remains only if a rounding boundary lies between the values of two kernels. The
probability of this is about 1e-14 / step for each number.
"""

import torch
from torch import Tensor

ANSWER = 2.0**-16  # step of a logit: about the precision of float32 at 100
FEATURE = 2.0**-20  # step of a feature that is kept


def answer(logits: Tensor) -> Tensor:
    """Logits in float64, rounded to multiples of ANSWER. The gradient is that without rounding."""
    wide = logits.double()
    rounded = (wide.detach() / ANSWER).round() * ANSWER
    return rounded + (wide - wide.detach()) if wide.requires_grad else rounded


def kept(features: Tensor) -> Tensor:
    """Features to keep: float64 features as float32 multiples of FEATURE, other features unchanged."""
    return (features / FEATURE).round().mul(FEATURE).float() if features.dtype == torch.float64 else features


def stored(state: Tensor) -> Tensor:
    """A state as a record stores it: float32 numbers, in a float64 tensor for further computation."""
    return state.float().double()


def significant(numbers: Tensor, bits: int) -> Tensor:
    """The numbers, rounded to `bits` significant bits."""
    mantissa, exponent = torch.frexp(numbers)
    return torch.ldexp((mantissa * 2.0**bits).round() / 2.0**bits, exponent)


def digits(number: float) -> float:
    """A statistic of the weights, with 9 significant digits: the others depend on the order of a sum."""
    return float(f"{number:.9g}")


def normal(*shape: int, rng: torch.Generator) -> Tensor:
    """Standard normal numbers, drawn on the CPU in float64.

    In float32, `randn` uses different formulas on different processors.
    """
    return stored(torch.randn(*shape, generator=rng, dtype=torch.float64))
