"""Random resized crop and horizontal flip, as tensors.

Bicubic resampling is linear and separable, so a crop, its resize and its flip are two small matrices: out = R
@ image @ C^T. A batch of images of one size then takes two matrix products. For small images (rendered ones
have 32 x 32 pixels) this is faster, because calling an operation costs more than its arithmetic. The matrices
hold the antialiased bicubic filter of Pillow and of `F.interpolate(antialias=True)`.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

SCALE = (0.08, 1.0)  # share of the image's area, if the method does not choose another
RATIO = (3 / 4, 4 / 3)  # width / height
TRIES = 10  # rectangles that are tried for each crop
DRAWS = 2 * TRIES + 3  # random numbers per crop: area and ratio of each try, top, left, flip


def draw(n: int, generator: torch.Generator) -> Tensor:
    """The random numbers of n crops, float64 [n, DRAWS] on the CPU.

    Every image takes the same number of them, whatever its size, so a stream of crops depends on the
    generator alone. Use a CPU generator to get the same stream on every machine.
    """
    return torch.rand(n, DRAWS, generator=generator, dtype=torch.float64, device=generator.device).cpu()


def rectangles(draws: Tensor, height: int, width: int, scale: tuple[float, float] | None = None) -> Tensor:
    """Crops (top, left, height, width) in pixels, int64 [n, 4], of images of one size.

    draws: see `draw`. scale: the smallest and the largest share of the image's area; None: SCALE.

    As torchvision's RandomResizedCrop: an area share and a log-uniform aspect ratio are drawn up to TRIES
    times, until the rectangle fits. If none fits, the largest central crop with a permitted ratio is taken.
    """
    least, most = scale or SCALE
    area = height * width * (least + (most - least) * draws[:, :TRIES])  # [n, TRIES]
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    ratio = torch.exp(low + (high - low) * draws[:, TRIES : 2 * TRIES])
    w, h = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.int().argmax(1, keepdim=True)  # 0 when none fits
    some = fits.any(1)
    wide, tall = _fallback(height, width)
    w = torch.where(some, w.gather(1, first)[:, 0], torch.tensor(float(wide), dtype=w.dtype))
    h = torch.where(some, h.gather(1, first)[:, 0], torch.tensor(float(tall), dtype=h.dtype))
    top = torch.where(some, (draws[:, -3] * (height - h + 1)).floor(), (height - h).div(2).floor())
    left = torch.where(some, (draws[:, -2] * (width - w + 1)).floor(), (width - w).div(2).floor())
    return torch.stack([top, left, h, w], 1).long()


def flips(draws: Tensor) -> Tensor:
    """Which images are mirrored: bool [n], by draws [n, DRAWS]."""
    return draws[:, -1] < 0.5


def _fallback(height: int, width: int) -> tuple[int, int]:
    """Width and height in pixels of the largest crop with a permitted ratio."""
    if width / height < RATIO[0]:
        return width, round(width / RATIO[0])
    if width / height > RATIO[1]:
        return round(height * RATIO[1]), height
    return width, height


def resample(images: Tensor, boxes: Tensor, mirrored: Tensor, size: int) -> Tensor:
    """Crops [b, 3, size, size] float32 in [0, 1] of uint8 images [b, 3, H, W]; boxes [b, 4], mirrored [b]."""
    boxes, mirrored = boxes.to(images.device), mirrored.to(images.device)
    rows = _filter(boxes[:, 0], boxes[:, 2], images.shape[2], size)  # [b, size, H]
    columns = _filter(boxes[:, 1], boxes[:, 3], images.shape[3], size)  # [b, size, W]
    columns = torch.where(mirrored[:, None, None], columns.flip(1), columns)
    out = rows[:, None] @ (images.float() / 255) @ columns[:, None].mT  # [b, 3, size, size]
    return out.clamp_(0, 1)  # bicubic overshoots at edges


def resample_one(image: Tensor, box: Tensor, mirrored: Tensor, size: int, device: torch.device) -> Tensor:
    """`resample` for one uint8 image [3, H, W], box [4], mirrored []: [3, size, size] on `device`.

    The values are the same up to rounding. It is faster for single large images.
    """
    top, left, height, width = box.tolist()
    part = image[None, :, top : top + height, left : left + width].to(device).float() / 255
    out = interpolate(part, (size, size), mode="bicubic", antialias=True)[0].clamp_(0, 1)
    return out.flip(2) if mirrored else out


def _filter(start: Tensor, length: Tensor, extent: int, size: int) -> Tensor:
    """Resampling weights [b, size, extent] from the interval [start, start + length) to `size` pixels."""
    # [b, 1, 1], in float64, so that no position is wrong by a pixel
    scale = length.double()[:, None, None] / size
    grid = torch.arange(extent, device=start.device, dtype=torch.float64)
    centre = (torch.arange(size, device=start.device, dtype=torch.float64)[:, None] + 0.5) * scale
    inside = grid + 0.5 - start[:, None, None]  # [b, 1, extent], pixel centres seen from the crop's edge
    weight = _cubic(((inside - centre) / scale.clamp(min=1)).float())
    weight = weight * ((inside > 0) & (inside < length[:, None, None]))
    return weight / weight.sum(2, keepdim=True)


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic kernel with a = -0.5 (Keys 1981), as in Pillow."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
