"""Convolutions as matrix products: equal to PyTorch's own, with gradients."""

import pytest
import torch
from torch import Tensor, nn

from bench.models import load_backbone
from bench.models.products import Convolution, by_products
from bench.models.vision import fold_batch_norm


def last(images: Tensor) -> Tensor:
    """[B, C, H, W] -> [C, H, W, B]."""
    return images.permute(1, 2, 3, 0)


KERNELS = [(3, 1, 1), (3, 2, 1), (1, 1, 0), (1, 2, 0), (5, 1, 2), (2, 2, 0)]  # kernel, stride, padding
SIDES = [(1, 1), (2, 2), (2, 3), (4, 4), (7, 5), (16, 16)]


@pytest.mark.parametrize(
    "kernel, stride, padding, side",
    [(k, s, p, side) for k, s, p in KERNELS for side in SIDES if min(side) + 2 * p >= k],
)
def test_a_convolution_equals_pytorchs(kernel: int, stride: int, padding: int, side: tuple[int, int]) -> None:
    conv = nn.Conv2d(3, 5, kernel, stride, padding, dtype=torch.float64).requires_grad_(False)
    images = torch.randn(4, 3, *side, dtype=torch.float64)
    torch.testing.assert_close(Convolution(conv)(last(images)), last(conv(images)), rtol=0, atol=1e-13)


def test_many_images_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = nn.Conv2d(3, 5, 3, padding=1, dtype=torch.float64).requires_grad_(False)
    images = last(torch.randn(4, 3, 16, 16, dtype=torch.float64))
    whole = Convolution(conv)(images)
    for numbers in (1, 3 * 27 * 16 * 4, 5 * 27 * 16 * 4):  # one row, three (of 16) and five rows at once
        monkeypatch.setattr("bench.models.products.AT_ONCE", numbers)
        torch.testing.assert_close(Convolution(conv)(images), whole, rtol=0, atol=1e-13)


@pytest.mark.parametrize("side", [4, 5])
def test_mean_pooling_equals_pytorchs(side: int) -> None:
    images = torch.randn(2, 3, side, side, dtype=torch.float64)
    pool = nn.AvgPool2d(2)
    torch.testing.assert_close(by_products(pool)(last(images)), last(pool(images)), rtol=0, atol=1e-14)


def test_the_mini_tower_in_products_equals_its_convolutions_and_so_do_the_gradients() -> None:
    convolutions = fold_batch_norm(load_backbone("mini", precision="float64").model.visual)
    products = by_products(convolutions)
    with torch.inference_mode():  # what is kept here must also work with gradients
        products(torch.zeros(3, 32, 32, 1, dtype=torch.float64))
    one = torch.randn(3, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    other = one.detach().clone().requires_grad_()
    expected, found = convolutions(one), products(last(other))
    torch.testing.assert_close(found, last(expected), rtol=0, atol=1e-12)
    expected.sin().sum().backward()
    found.sin().sum().backward()
    assert one.grad is not None
    torch.testing.assert_close(other.grad, one.grad, rtol=0, atol=1e-11)
