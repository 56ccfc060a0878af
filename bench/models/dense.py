"""A frozen linear layer, as fast as this machine has it.

PyTorch's float32 product on a CPU goes through MKL, which on some processors reaches half of what oneDNN's
product on prepacked weights does, and a tenth less on others. oneDNN's operator has no gradient and no
public name, so it is taken where it exists, agrees with `F.linear` on these very weights, and no gradient
is asked for; everywhere else this is `F.linear`.
"""

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

TOLERANCE = (
    1e-4  # relative to the largest output; float32 sums of 2,048 terms in two orders differ by about 1e-6
)
ACTIVATIONS = {"none": lambda x: x, "gelu": F.gelu, "swish": F.silu}


class Dense:
    """x [..., in] -> activation(x W^T + b) [..., out], W [out, in] and b [out] frozen.

    The activation is "none", "gelu" (exact, with the error function) or "swish" (x sigmoid(x)).
    """

    def __init__(self, weight: Tensor, bias: Tensor, activation: str = "none") -> None:
        self.weight, self.bias, self.activation = weight, bias, activation

    @cached_property
    def _packed(self) -> Tensor | None:
        """The weights in oneDNN's own layout (a copy, made at the first use)."""
        return _prepack(self)

    def __call__(self, x: Tensor) -> Tensor:
        if (x.requires_grad and torch.is_grad_enabled()) or self._packed is None:
            return ACTIVATIONS[self.activation](F.linear(x, self.weight, self.bias))
        return _product(x, self._packed, self.bias, self.activation)


def _product(x: Tensor, packed: Tensor, bias: Tensor, activation: str) -> Tensor:
    algorithm = "none" if activation == "gelu" else ""  # "none": the exact GELU, not its tanh approximation
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, activation, [], algorithm)


def _prepack(dense: Dense) -> Tensor | None:
    """The packed weights, or None where the operator is missing or disagrees with F.linear."""
    weight = dense.weight
    if (weight.device.type, weight.dtype) != (
        "cpu",
        torch.float32,
    ) or not torch.backends.mkldnn.is_available():
        return None
    probe = torch.linspace(-2, 2, 3 * weight.shape[1]).view(3, -1)
    expected = ACTIVATIONS[dense.activation](F.linear(probe, weight, dense.bias))
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        got = _product(probe, packed, dense.bias, dense.activation)
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):  # another PyTorch
        return None
    return packed if (got - expected).abs().max() <= TOLERANCE * expected.abs().max() else None
