"""Convolutions as matrix products, for towers in float64 on a CPU.

PyTorch has no fast convolution in float64 on a CPU. It takes one image after the other, and where an image
has only a few places, the product waits for the weights. Here a map is [C, H, W, B]: the channels are rows,
and the places of all images are columns. A convolution is then one product [N, K] x [K, H W B] for all
images, with the long side of each matrix in the order of memory. Only the order of the additions differs
from PyTorch's.
"""

from copy import deepcopy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

AT_ONCE = 1 << 19  # numbers in the columns of one product: 4 MiB, which stay in a processor's cache


def by_products(module: nn.Module) -> nn.Module:
    """A copy of a module, for maps [C, H, W, B]. Besides convolutions and mean pooling it may only have
    modules that work on single numbers.
    """
    if isinstance(module, nn.Conv2d):
        return Convolution(module)
    if isinstance(module, nn.AvgPool2d):
        return MeanPool(cast(int, module.kernel_size))
    copy = deepcopy(module)
    for name, child in module.named_children():
        setattr(copy, name, by_products(child))
    return copy


class MeanPool(nn.Module):
    """The mean of squares of k x k places. Rows and columns that do not fill a square are left out."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, x: Tensor) -> Tensor:
        """[C, H, W, B] -> [C, H // k, W // k, B]."""
        k = self.k
        h, w = x.shape[1] // k * k, x.shape[2] // k * k
        parts = [x[:, i:h:k, j:w:k] for i in range(k) for j in range(k)]
        return sum(parts[1:], parts[0]) / k**2


class Convolution(nn.Module):
    """A convolution with a square kernel, a bias and neither groups nor dilation."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        assert conv.bias is not None and conv.groups == 1 and conv.dilation == (1, 1)
        self.conv = conv
        self.k, self.stride, self.padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
        self.weight = conv.weight.detach().flatten(1)  # [N, C k k]
        self.bias = conv.bias.detach()[:, None]
        self._whole: dict[tuple[int, int], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        """[C, H, W, B] -> [N, H', W', B]."""
        c, h, w, b = x.shape
        if self.k == 1 and self.stride == 1:
            return torch.addmm(self.bias, self.weight, x.reshape(c, -1)).view(-1, h, w, b)
        if self.stride == 1 and 2 * self.padding + 1 == self.k and max(h, w) <= self.padding + 1:
            return self._of_whole_map(x)
        p = self.padding
        x = F.pad(x, (0, 0, p, p, p, p))
        fields = x.unfold(1, self.k, self.stride).unfold(2, self.k, self.stride)  # [C, H', W', B, k, k]
        rows = max(1, AT_ONCE // (self.weight.shape[1] * fields.shape[2] * b))
        return torch.cat([self._of_rows(part) for part in fields.split(rows, 1)], 1)

    def _of_rows(self, fields: Tensor) -> Tensor:
        """The fields [C, h, W', B, k, k] of some rows -> [N, h, W', B]."""
        h, w, b = fields.shape[1:4]
        columns = fields.permute(0, 4, 5, 1, 2, 3).reshape(self.weight.shape[1], -1)
        return torch.addmm(self.bias, self.weight, columns).view(-1, h, w, b)

    def _of_whole_map(self, x: Tensor) -> Tensor:
        """For maps so small that each place sees the whole map: one product, without the padding's zeros."""
        c, h, w, b = x.shape
        if (h, w) not in self._whole:
            self._whole[h, w] = self._matrix(c, h, w)
        bias = self.bias.repeat_interleave(h * w, 0)
        return torch.addmm(bias, self._whole[h, w], x.reshape(-1, b)).view(-1, h, w, b)

    @torch.inference_mode(False)  # it must also work with gradients later
    @torch.no_grad()
    def _matrix(self, c: int, h: int, w: int) -> Tensor:
        """[N H W, C H W]: its columns are the convolution's answers to maps with one 1."""
        ones = torch.eye(c * h * w, dtype=self.weight.dtype).view(-1, c, h, w)
        return F.conv2d(ones, self.conv.weight, padding=self.padding).flatten(1).t().contiguous()
