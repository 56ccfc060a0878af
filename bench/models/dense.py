"""A frozen linear layer that uses the faster of two implementations.

PyTorch computes float32 products on a CPU with MKL. oneDNN's product on prepacked weights is faster: twice as
fast on some processors, and by a tenth on others. oneDNN's operator has no gradient and no public name. So it
is used only if it exists, if it agrees with `F.linear` on the layer's weights, and if no gradient is needed;
otherwise the layer is `F.linear`.
"""

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

# Relative to the largest output. float32 sums of 2,048 terms in two orders differ by about 1e-6.
TOLERANCE = 1e-4
ACTIVATIONS = {"none": lambda x: x, "gelu": F.gelu, "swish": F.silu}


class Dense:
    """x [..., in] -> activation(x W^T + b) [..., out], W [out, in] and b [out] frozen.

    The activation is "none", "gelu" (exact, with the error function) or "swish" (x sigmoid(x)).
    """

    def __init__(self, weight: Tensor, bias: Tensor, activation: str = "none") -> None:
        self.weight, self.bias, self.activation = weight, bias, activation

    @cached_property
    def _packed(self) -> Tensor | None:
        """A copy of the weights in oneDNN's layout, made when it is first used; None if it cannot be used."""
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
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):  # other versions of PyTorch
        return None
    return packed if (got - expected).abs().max() <= TOLERANCE * expected.abs().max() else None
