"""Scenes to pixels: masks placed by batched affine `grid_sample` on plain, textured or mosaic grounds."""

import math

import numpy as np
import torch
from torch.nn import functional as F

from bench.mini.glyphs import bank
from bench.mini.scenes import COLORS, KINDS, LANDS, MAX_COUNT, STYLES, TEXTURES, Scenes

SIZE = 32  # pixels of an image
CHUNK = 1024  # scenes painted at once
CELL = 0.62  # distance of the nine places' centres, in half pictures


def paint(scenes: Scenes, generator: torch.Generator) -> np.ndarray:
    """Images uint8 [N, SIZE, SIZE, 3]; what no attribute names (jitter of colour, place, phase) is random."""
    parts = [
        _paint(scenes.take(slice(i, i + CHUNK)), generator).permute(0, 2, 3, 1).numpy()
        for i in range(0, len(scenes), CHUNK)
    ]
    return np.concatenate(parts)


def _paint(s: Scenes, g: torch.Generator) -> torch.Tensor:
    """uint8 [N, 3, SIZE, SIZE]."""
    n = len(s)
    palette = torch.tensor(list(COLORS.values()), dtype=torch.float32) / 255
    ink = _jitter(palette[torch.from_numpy(s.ink)], 0.035, g)  # [N, 3]
    ground = _jitter(palette[torch.from_numpy(s.ground)], 0.035, g)
    kind = torch.from_numpy(s.kind)
    pattern = _patterns(torch.from_numpy(s.texture), torch.from_numpy(s.tilt), g)[:, None]  # [N, 1, S, S]

    # A texture proper is painted in its two colours; a textured ground in two tones of one colour.
    dark = (ground.mean(1, keepdim=True) < 0.45).float()
    tone = ground + (0.32 * dark - 0.26 * (1 - dark))
    second = torch.where((kind == KINDS.index("texture"))[:, None], ink, tone)
    image = ground[:, :, None, None] * (1 - pattern) + second[:, :, None, None] * pattern
    image = image + _slope(n, g)  # uneven light

    alpha = _style(_masks(s, g), torch.from_numpy(s.style))  # [N, 1, S, S]
    image = image * (1 - alpha) + ink[:, :, None, None] * alpha
    land = kind == KINDS.index("land")
    if land.any():
        image[land] = _land(s.take(land.numpy()), g)
    image = image + 0.015 * torch.randn(image.shape, generator=g)
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def _uniform(shape: tuple[int, ...] | int, low: float, high: float, g: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(shape, generator=g)


def _jitter(color: torch.Tensor, std: float, g: torch.Generator) -> torch.Tensor:
    return (color + std * torch.randn(color.shape, generator=g)).clamp(0, 1)


def _axes() -> tuple[torch.Tensor, torch.Tensor]:
    """x (right) and y (down) in [-1, 1], each [1, SIZE, SIZE]."""
    axis = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x[None], y[None]


def _slope(n: int, g: torch.Generator) -> torch.Tensor:
    """A faint linear change of light, [N, 1, S, S]."""
    x, y = _axes()
    a, b = 0.045 * torch.randn((2, n, 1, 1), generator=g)
    return (a * x + b * y)[:, None]


def _masks(s: Scenes, g: torch.Generator) -> torch.Tensor:
    """Alpha [N, 1, S, S]: one mask per scene, or `count` copies on different cells of a 3x3 grid."""
    n = len(s)
    alpha = torch.zeros(n, 1, SIZE, SIZE)
    masks = torch.from_numpy(bank().masks)
    turn = torch.from_numpy(s.tilt).float()
    arrow = torch.from_numpy((s.kind == KINDS.index("arrow")) * s.thing * 45.0).float()
    turn = (turn + arrow) * math.pi / 180
    size, place = torch.from_numpy(s.size).float(), torch.from_numpy(s.place)
    count, row = torch.from_numpy(s.count), torch.from_numpy(s.row)
    many = count > 1
    small = many | (place >= 0)
    scale = torch.where(small, 0.44 * size, size)
    spots = torch.rand(n, 9, generator=g).argsort(1)  # a random order of the nine cells
    spots = torch.where(many[:, None], spots, place[:, None])
    wobble = _uniform((MAX_COUNT, n, 2), -1, 1, g)
    for k in range(MAX_COUNT):
        live = torch.nonzero((count > k) & (row >= 0))[:, 0]
        if not len(live):
            break
        spot = spots[live, k]
        centre = torch.stack([spot % 3 - 1, torch.div(spot, 3, rounding_mode="floor") - 1], 1) * CELL
        # A lone thing moves as far as its size leaves room.
        room = torch.where(small[live], torch.tensor(0.07), 0.6 * (1.06 - scale[live]))
        centre = torch.where(small[live][:, None], centre, 0.0) + wobble[k, live] * room[:, None]
        stamp = _stamp(masks[row[live]], turn[live], scale[live], centre)
        alpha[live] = torch.maximum(alpha[live], stamp)
    return alpha


def _stamp(
    masks: torch.Tensor, turn: torch.Tensor, scale: torch.Tensor, centre: torch.Tensor
) -> torch.Tensor:
    """Masks uint8 [n, 48, 48] turned clockwise, scaled and moved: [n, 1, S, S] in [0, 1]."""
    cos, sin = torch.cos(turn) / scale, torch.sin(turn) / scale
    linear = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)  # picture -> mask
    shift = -(linear @ centre[:, :, None])
    grid = F.affine_grid(torch.cat([linear, shift], 2), [len(masks), 1, SIZE, SIZE], align_corners=False)
    return F.grid_sample(masks[:, None].float() / 255, grid, align_corners=False)


def _style(alpha: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """Solid as it is; outlined: the rim alone; blurred: through a low resolution; bold: one pixel wider."""
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
    """Soft two-valued patterns in [0, 1], [N, S, S]; 0 everywhere for a plain ground."""
    n = len(texture)
    x, y = _axes()
    turn = (tilt * math.pi / 180).float()[:, None, None]
    phase = _uniform((2, n, 1, 1), 0, 2 * math.pi, g)
    pace = _uniform((n, 1, 1), 8.5, 14.0, g)  # radians per half picture: about 3 to 4.5 periods
    upright = torch.rand((n, 1, 1), generator=g) < 0.5
    noise = torch.randn(n, 1, 16, 16, generator=g)
    out = torch.zeros(n, SIZE, SIZE)
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
        case "ringed":  # centred: the phases only move the rings, not their middle
            u, v = a - a.mean((1, 2), keepdim=True), b - b.mean((1, 2), keepdim=True)
            return torch.sin(1.2 * torch.hypot(u, v) + b.mean((1, 2), keepdim=True))
        case "zigzag":
            return torch.sin(b + 1.3 * torch.asin(torch.sin(0.7 * a)))
        case "netted":
            return 2 * (torch.maximum(torch.cos(a), torch.cos(b)) - 0.75)
        case "brick":
            return _brick(a, b)
        case "woven":
            return torch.sin(2.1 * torch.where(torch.sin(a / 2) * torch.sin(b / 2) > 0, a, b))
    raise AssertionError(name)


def _brick(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mortar between rows of bricks, every other row shifted by half a brick."""
    row = torch.floor(b / (2 * math.pi))
    joint = torch.cos(0.5 * a + math.pi * row)
    return 2 * (torch.maximum(torch.cos(b), joint - 0.12) - 0.78)


# name: (colour, colour, pattern) of the tiles; river, highway and village get more on top.
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
    """Land from above, [N, 3, S, S]; infrared swaps the channels, so plants turn red and water dark."""
    n = len(s)
    thing = torch.from_numpy(s.thing)
    table = torch.tensor([_LAND[name][:2] for name in LANDS], dtype=torch.float32) / 255
    pattern = torch.tensor([1 + TEXTURES.index(_LAND[name][2]) for name in LANDS])
    season = 0.05 * torch.randn((n, 3), generator=g)
    low, high = (table[thing, i] + season for i in (0, 1))
    turn = _uniform(n, -90, 90, g)
    p = _patterns(pattern[thing], turn, g)[:, None]
    image = low[:, :, None, None] * (1 - p) + high[:, :, None, None] * p
    band = _band(n, g)
    for name, width, color in (("river", 0.30, (45, 90, 150)), ("highway", 0.16, (95, 95, 100))):
        at = thing == LANDS.index(name)
        cover = torch.sigmoid(14 * (width - band[name == "river"][at].abs()))[:, None]
        paint_ = torch.tensor(color)[None, :, None, None] / 255
        image[at] = image[at] * (1 - cover) + paint_ * cover
    false = torch.from_numpy(s.infrared == 1)
    image[false] = image[false][:, [1, 0, 2]] * torch.tensor([1.3, 0.8, 0.7])[None, :, None, None]
    return image + _slope(n, g)


def _band(n: int, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Signed distance from a straight and from a winding line through the picture, each [N, S, S]."""
    x, y = _axes()
    turn = _uniform((n, 1, 1), 0, 2 * math.pi, g)
    u, v = x * torch.cos(turn) + y * torch.sin(turn), y * torch.cos(turn) - x * torch.sin(turn)
    v = v + _uniform((n, 1, 1), -0.4, 0.4, g)
    return v, v + 0.3 * torch.sin(3.2 * u + _uniform((n, 1, 1), 0, 2 * math.pi, g))
