"""Numbers that do not depend on the processor.

Kernels differ in the order of their sums and in the last digit of their exponentials. In float64 that moves
an answer by about 1e-14. A tuning run feeds answers back and makes such a difference larger at every step, so
it is taken out where numbers enter the run: what a model answers, what is kept of its features, the state
after each step and random normal numbers are rounded, to steps that are far larger than the differences. A
difference survives only where a rounding boundary lies between two kernels' values: for each number with a
probability of about 1e-14 / step.
"""

import torch
from torch import Tensor

ANSWER = 2.0**-16  # step of a logit: about a float32's own precision at 100
FEATURE = 2.0**-20  # step of a kept feature


def answer(logits: Tensor) -> Tensor:
    """Logits in float64, rounded to multiples of ANSWER. A gradient passes as if there were no rounding."""
    wide = logits.double()
    rounded = (wide.detach() / ANSWER).round() * ANSWER
    return rounded + (wide - wide.detach()) if wide.requires_grad else rounded


def kept(features: Tensor) -> Tensor:
    """float64 features to be kept: multiples of FEATURE as float32. Others as they are."""
    return (features / FEATURE).round().mul(FEATURE).float() if features.dtype == torch.float64 else features


def stored(state: Tensor) -> Tensor:
    """A state as a record stores it: float32 numbers, in float64 for what is worked out from them."""
    return state.float().double()


def significant(numbers: Tensor, bits: int) -> Tensor:
    """Rounded to so many significant bits."""
    mantissa, exponent = torch.frexp(numbers)
    return torch.ldexp((mantissa * 2.0**bits).round() / 2.0**bits, exponent)


def digits(number: float) -> float:
    """A statistic of the weights without its last digits, which depend on the order of a sum."""
    return float(f"{number:.9g}")


def normal(*shape: int, rng: torch.Generator) -> Tensor:
    """Standard normal numbers on the CPU. float32 `randn` has another formula on other processors."""
    return stored(torch.randn(*shape, generator=rng, dtype=torch.float64))
