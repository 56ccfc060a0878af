"""Paints scenes: `grid_sample` puts masks on plain, textured or mosaic grounds.

The bytes are the same on every processor. Random numbers are made from a generator's bits by exact
arithmetic, and everything after that is computed in float64. Kernels and mathematical libraries then differ
in the 16th digit, and no value of the suite is so near to a rounding or a threshold;
`benchmarks/same_bytes.py` measures how near they are. In float32, some bytes differed.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from bench.mini.glyphs import bank
from bench.mini.scenes import COLORS, KINDS, LANDS, MAX_COUNT, STYLES, TEXTURES, Scenes

SIZE = 32  # pixels per side of an image
CHUNK = 1024  # scenes that are painted at once
CELL = 0.62  # distance between the centres of the nine places; half a picture is 1


def paint(scenes: Scenes, generator: torch.Generator) -> np.ndarray:
    """Images uint8 [N, SIZE, SIZE, 3]. What no attribute decides (colour noise, exact place) is random."""
    parts = [
        _paint(scenes.take(slice(i, i + CHUNK)), generator).permute(0, 2, 3, 1).numpy()
        for i in range(0, len(scenes), CHUNK)
    ]
    return np.concatenate(parts)


def _paint(s: Scenes, g: torch.Generator) -> torch.Tensor:
    """The same for at most CHUNK scenes: uint8 [N, 3, SIZE, SIZE]."""
    n = len(s)
    palette = _real(list(COLORS.values())) / 255
    ink = _jitter(palette[torch.from_numpy(s.ink)], 0.035, g)  # [N, 3]
    ground = _jitter(palette[torch.from_numpy(s.ground)], 0.035, g)
    kind = torch.from_numpy(s.kind)
    pattern = _patterns(torch.from_numpy(s.texture), torch.from_numpy(s.tilt), g)[:, None]  # [N, 1, S, S]

    # A texture is painted in its two colours, a textured ground in two tones of one colour.
    dark = _real(ground.mean(1, keepdim=True) < 0.45)
    tone = ground + (0.32 * dark - 0.26 * (1 - dark))
    second = torch.where((kind == KINDS.index("texture"))[:, None], ink, tone)
    image = torch.lerp(_flat(ground), _flat(second), pattern) + _slope(n, g)  # uneven light

    alpha = _style(_masks(s, g), torch.from_numpy(s.style))  # [N, 1, S, S]
    image = torch.lerp(image, _flat(ink), alpha)
    land = kind == KINDS.index("land")
    if land.any():
        image[land] = _land(s.take(land.numpy()), g)
    image.add_(_normal(image.shape, g), alpha=0.015)
    return image.clamp_(0, 1).mul_(255).round_().to(torch.uint8)


def _flat(color: torch.Tensor) -> torch.Tensor:
    """Colours [N, 3] as pictures of one pixel, [N, 3, 1, 1]."""
    return color[:, :, None, None]


def _real(values: object) -> torch.Tensor:
    """The values as float64, whatever PyTorch's default type is."""
    return torch.as_tensor(values, dtype=torch.float64)


def _random(shape: Sequence[int], g: torch.Generator) -> torch.Tensor:
    """Uniform numbers in [0, 1): multiples of 2^-24, which float32 holds exactly."""
    return torch.rand(shape, generator=g, dtype=torch.float32)


def _uniform(shape: Sequence[int], low: float, high: float, g: torch.Generator) -> torch.Tensor:
    return low + (high - low) * _random(shape, g).double()


def _normal(shape: Sequence[int], g: torch.Generator) -> torch.Tensor:
    """Standard normal numbers by Box and Muller's formula, in float64.

    Each block of 16 is made from 8 radii and 8 angles. If n is not a multiple of 16, the last 16 numbers are
    drawn again as one block. `torch.randn` uses the same order, but in float32, where its kernels differ.
    """
    n = math.prod(shape)
    numbers = _box_muller(_random([n], g)[: n // 16 * 16])
    if n % 16:
        numbers = torch.cat([numbers[: max(n - 16, 0)], _box_muller(_random([16], g))[-n:]])
    return numbers.reshape(shape)


def _box_muller(uniform: torch.Tensor) -> torch.Tensor:
    """Normal numbers [16 k] from uniform numbers [16 k]."""
    first, second = uniform.double().reshape(-1, 2, 8).unbind(1)
    radius, angle = first.neg().log1p_().mul_(-2).sqrt_(), 2 * math.pi * second
    return torch.stack([torch.cos(angle).mul_(radius), angle.sin_().mul_(radius)], 1).flatten()


def _jitter(color: torch.Tensor, std: float, g: torch.Generator) -> torch.Tensor:
    return (color + std * _normal(color.shape, g)).clamp(0, 1)


def _axes() -> tuple[torch.Tensor, torch.Tensor]:
    """x (right) and y (down) in [-1, 1], each [1, SIZE, SIZE]."""
    axis = (_real(range(SIZE)) + 0.5) / SIZE * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x[None], y[None]


def _slope(n: int, g: torch.Generator) -> torch.Tensor:
    """A weak linear change of light, [N, 1, S, S]."""
    x, y = _axes()
    a, b = 0.045 * _normal((2, n, 1, 1), g)
    return (a * x + b * y)[:, None]


def _masks(s: Scenes, g: torch.Generator) -> torch.Tensor:
    """Alpha [N, 1, S, S]: one mask per scene, or `count` copies on different cells of a 3x3 grid."""
    n = len(s)
    alpha = torch.zeros(n, 1, SIZE, SIZE, dtype=torch.float64)
    masks = torch.from_numpy(bank().masks)
    arrow = (s.kind == KINDS.index("arrow")) * s.thing * 45.0
    turn = torch.from_numpy(s.tilt + arrow) * math.pi / 180
    size, place = torch.from_numpy(s.size), torch.from_numpy(s.place)
    count, row = torch.from_numpy(s.count), torch.from_numpy(s.row)
    many = count > 1
    small = many | (place >= 0)
    scale = torch.where(small, 0.44 * size, size)
    spots = _random((n, 9), g).argsort(dim=1, stable=True)  # a random order of the nine cells
    spots = torch.where(many[:, None], spots, place[:, None])
    wobble = _uniform((MAX_COUNT, n, 2), -1, 1, g)
    for k in range(MAX_COUNT):
        live = torch.nonzero((count > k) & (row >= 0))[:, 0]
        if not len(live):
            break
        spot = spots[live, k]
        centre = _real(torch.stack([spot % 3 - 1, torch.div(spot, 3, rounding_mode="floor") - 1], 1)) * CELL
        # A single thing may move as far as its size allows.
        room = torch.where(small[live], 0.07, 0.6 * (1.06 - scale[live]))
        centre = torch.where(small[live][:, None], centre, 0.0) + wobble[k, live] * room[:, None]
        stamp = _stamp(masks[row[live]], turn[live], scale[live], centre)
        alpha[live] = torch.maximum(alpha[live], stamp)
    return alpha


def _stamp(
    masks: torch.Tensor, turn: torch.Tensor, scale: torch.Tensor, centre: torch.Tensor
) -> torch.Tensor:
    """Masks uint8 [n, 48, 48], turned clockwise, scaled and moved: [n, 1, S, S] in [0, 1]."""
    cos, sin = ((f(turn) / scale)[:, None, None] for f in (torch.cos, torch.sin))
    x, y = (axis - c[:, None, None] for axis, c in zip(_axes(), centre.unbind(1), strict=True))
    grid = torch.stack([cos * x + sin * y, cos * y - sin * x], 3)  # the place in the mask for each pixel
    return F.grid_sample(_real(masks)[:, None] / 255, grid, align_corners=False)


def _style(alpha: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """Masks in their style: solid (unchanged), outlined (the rim), blurred (low resolution), bold (wider)."""
    out = alpha.clone()
    for name in STYLES[1:]:
        at = style == STYLES.index(name)
        if not at.any():
            continue
        a = alpha[at]
        if name == "outlined":
            out[at] = (a + F.max_pool2d(-a, 3, 1, 1)).clamp(0, 1)
        elif name == "blurred":
            low = F.interpolate(a, size=(9, 9), mode="area")
            out[at] = F.interpolate(low, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        else:
            out[at] = F.max_pool2d(a, 3, 1, 1)
    return out


def _patterns(texture: torch.Tensor, tilt: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """Patterns between two colours, [N, S, S] in [0, 1] with soft edges; 0 for a plain ground."""
    n = len(texture)
    x, y = _axes()
    turn = (tilt * math.pi / 180)[:, None, None]
    phase = _uniform((2, n, 1, 1), 0, 2 * math.pi, g)
    pace = _uniform((n, 1, 1), 8.5, 14.0, g)  # radians per half picture: about 3 to 4.5 periods
    upright = _random((n, 1, 1), g) < 0.5
    noise = _normal((n, 1, 16, 16), g)
    out = torch.zeros(n, SIZE, SIZE, dtype=torch.float64)
    for i, name in enumerate(TEXTURES):
        at = torch.nonzero(texture == i + 1)[:, 0]
        if len(at):
            u = x * torch.cos(turn[at]) + y * torch.sin(turn[at])
            v = y * torch.cos(turn[at]) - x * torch.sin(turn[at])
            a, b = pace[at] * u + phase[0, at], pace[at] * v + phase[1, at]
            wave = _speckles(noise[at]) if name == "speckled" else _wave(name, a, b, upright[at])
            out[at] = torch.sigmoid(5 * wave)
    return out


def _speckles(noise: torch.Tensor) -> torch.Tensor:
    smooth = F.interpolate(noise, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    return 1.5 * (smooth[:, 0] - 0.35)


def _wave(name: str, a: torch.Tensor, b: torch.Tensor, upright: torch.Tensor) -> torch.Tensor:
    """The texture's field over the phases a, b of its two axes, [n, S, S]; positive in the second colour."""
    match name:
        case "striped":
            return torch.sin(torch.where(upright, a, b))
        case "checkered":
            return 2 * torch.sin(a) * torch.sin(b)
        case "dotted":
            return torch.cos(a) + torch.cos(b) - 0.7
        case "wavy":
            return torch.sin(b + 1.6 * torch.sin(0.6 * a))
        case "ringed":  # centred: the phases move the rings, but not their centre
            u, v = a - a.mean((1, 2), keepdim=True), b - b.mean((1, 2), keepdim=True)
            return torch.sin(1.2 * torch.hypot(u, v) + b.mean((1, 2), keepdim=True))
        case "zigzag":
            return torch.sin(b + 1.3 * _triangle(0.7 * a))
        case "netted":
            return 2 * (torch.maximum(torch.cos(a), torch.cos(b)) - 0.75)
        case "brick":
            return _brick(a, b)
        case "woven":
            return torch.sin(2.1 * torch.where(torch.sin(a / 2) * torch.sin(b / 2) > 0, a, b))
    raise AssertionError(name)


def _triangle(x: torch.Tensor) -> torch.Tensor:
    """asin(sin(x)), a wave of straight lines; computed directly, because asin loses digits near 1."""
    return math.pi / 2 - (torch.remainder(x + math.pi / 2, 2 * math.pi) - math.pi).abs()


def _brick(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The field of the lines between bricks; every second row is shifted by half a brick."""
    row = torch.floor(b / (2 * math.pi))
    joint = torch.cos(0.5 * a + math.pi * row)
    return 2 * (torch.maximum(torch.cos(b), joint - 0.12) - 0.78)


# name: (colour, colour, pattern) of the ground; a river and a highway are painted over it.
_LAND = {
    "forest": ((25, 70, 35), (45, 100, 50), "speckled"),
    "pasture": ((120, 170, 80), (135, 182, 92), "speckled"),
    "crops": ((140, 160, 70), (185, 165, 95), "striped"),
    "river": ((70, 120, 65), (85, 135, 75), "speckled"),
    "highway": ((105, 140, 75), (125, 130, 80), "speckled"),
    "village": ((110, 140, 90), (190, 110, 90), "checkered"),
    "industry": ((150, 150, 150), (205, 205, 210), "brick"),
    "orchard": ((165, 140, 100), (60, 105, 50), "dotted"),
    "sea": ((35, 75, 130), (45, 90, 145), "wavy"),
    "desert": ((210, 185, 135), (225, 200, 155), "wavy"),
}


def _land(s: Scenes, g: torch.Generator) -> torch.Tensor:
    """Land from above, [N, 3, S, S]. Infrared exchanges channels: plants become red and water dark."""
    n = len(s)
    thing = torch.from_numpy(s.thing)
    table = _real([_LAND[name][:2] for name in LANDS]) / 255
    pattern = torch.tensor([1 + TEXTURES.index(_LAND[name][2]) for name in LANDS])
    season = 0.05 * _normal((n, 3), g)
    low, high = (table[thing, i] + season for i in (0, 1))
    turn = _uniform([n], -90, 90, g)
    p = _patterns(pattern[thing], turn, g)[:, None]
    image = torch.lerp(_flat(low), _flat(high), p)
    band = _band(n, g)
    for name, width, color in (("river", 0.30, (45, 90, 150)), ("highway", 0.16, (95, 95, 100))):
        at = thing == LANDS.index(name)
        cover = torch.sigmoid(14 * (width - band[name == "river"][at].abs()))[:, None]
        image[at] = torch.lerp(image[at], _flat(_real([color])) / 255, cover)
    false = torch.from_numpy(s.infrared == 1)
    image[false] = image[false][:, [1, 0, 2]] * _flat(_real([[1.3, 0.8, 0.7]]))
    return image + _slope(n, g)


def _band(n: int, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """The signed distances from a straight and from a curved line through the picture, each [N, S, S]."""
    x, y = _axes()
    turn = _uniform((n, 1, 1), 0, 2 * math.pi, g)
    u, v = x * torch.cos(turn) + y * torch.sin(turn), y * torch.cos(turn) - x * torch.sin(turn)
    v = v + _uniform((n, 1, 1), -0.4, 0.4, g)
    return v, v + 0.3 * torch.sin(3.2 * u + _uniform((n, 1, 1), 0, 2 * math.pi, g))
