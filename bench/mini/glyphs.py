"""The mask bank: every thing of the mini world as 48x48 alpha masks, with several variants of each.

    python -m bench.mini.glyphs

draws the masks again and writes masks.png. Pictures are made from this file, because different versions of
FreeType and Pillow draw the same letter differently. Letters, Greek letters and digits come from the DejaVu
and STIX fonts, which are part of matplotlib; shapes, arrows and clocks are drawn by formula. Nothing here is
random.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench.mini.files import FILES, check, write_checksums

SIDE = 48  # pixels per side of a mask
FINE = 4  # masks are drawn this many times larger, then averaged down


def names(text: str) -> tuple[str, ...]:
    """The words of a text, as a tuple."""
    return tuple(text.split())


LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
GREEK = names(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau "
    "upsilon phi chi psi omega"
)
NUMBERS = names("zero one two three four five six seven eight nine ten eleven twelve")
DIGITS = NUMBERS[:10]
HOURS = NUMBERS[1:]
SHAPES = names("circle square triangle star cross heart diamond ring crescent hexagon arch drop")
COMPASS = names("north northeast east southeast south southwest west northwest")

FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSerif-Bold",
    "DejaVuSerif-Italic", "DejaVuSansMono", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic",
    "STIXGeneralBolIta",
)  # fmt: skip
GREEK_LOWER = "αβγδεζηθικλμνξοπρστυφχψω"


# kind: (things, variants of each), in the bank's order
LAYOUT = {
    "letter": (len(LETTERS), 2 * len(FONTS)),
    "greek": (len(GREEK), len(FONTS)),
    "digit": (len(DIGITS), len(FONTS)),
    "shape": (len(SHAPES), 3),
    "arrow": (1, 5),
    "clock": (len(HOURS), 4),
}
COLUMNS = 46  # masks per row of masks.png


@dataclass(frozen=True)
class Bank:
    """All masks, and the rows of each thing's variants.

    masks: uint8 [M, SIDE, SIDE]; rows: {(kind, thing): tuple of row numbers, one per variant}.
    """

    masks: np.ndarray
    rows: dict[tuple[str, int], tuple[int, ...]]


@lru_cache(maxsize=1)
def bank() -> Bank:
    """The bank in masks.png. Raises UserError if the file is missing or damaged."""
    check(FILES["masks"])
    rows: dict[tuple[str, int], tuple[int, ...]] = {}
    count = 0
    for kind, (things, variants) in LAYOUT.items():
        for thing in range(things):
            rows[kind, thing] = tuple(range(count, count + variants))
            count += variants
    with Image.open(FILES["masks"]) as sheet:
        masks = np.asarray(sheet).reshape(-1, SIDE, COLUMNS, SIDE).swapaxes(1, 2).reshape(-1, SIDE, SIDE)
    return Bank(masks[:count], rows)


def write_masks(path: Path) -> None:
    """Write the bank as one picture with COLUMNS masks per row; the last, unused places are black."""
    masks = draw()
    masks = np.concatenate([masks, np.zeros((-len(masks) % COLUMNS, SIDE, SIDE), np.uint8)])
    sheet = masks.reshape(-1, COLUMNS, SIDE, SIDE).swapaxes(1, 2).reshape(-1, COLUMNS * SIDE)
    Image.fromarray(sheet).save(path, "PNG", optimize=True)


def draw() -> np.ndarray:
    """The masks uint8 [M, SIDE, SIDE] as this machine's FreeType and Pillow draw them (about a second)."""
    drawings = _drawings()
    assert {kind: (len(things), len(things[0])) for kind, things in drawings.items()} == LAYOUT
    return np.stack([mask for things in drawings.values() for variants in things for mask in variants])


def _drawings() -> dict[str, list[list[np.ndarray]]]:
    """{kind: for each thing the list of its variants}. Letters have upper-case variants first, then lower."""
    fonts = [_font(name) for name in FONTS]
    return {
        "letter": [[_glyph(f, c.upper()) for f in fonts] + [_glyph(f, c) for f in fonts] for c in LETTERS],
        "greek": [[_glyph(f, c) for f in fonts] for c in GREEK_LOWER],
        "digit": [[_glyph(f, str(i)) for f in fonts] for i in range(10)],
        "shape": [_shape(name) for name in SHAPES],
        "arrow": [_arrows()],
        "clock": [[_clock(hour, minute, thick) for minute in (0, 30) for thick in (3.0, 4.2)]
                  for hour in range(1, 13)],
    }  # fmt: skip


def _font(name: str) -> ImageFont.FreeTypeFont:
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    size, layout = SIDE * FINE // 2, ImageFont.Layout.BASIC  # not every machine has the other layout engine
    return ImageFont.truetype(str(path), size, layout_engine=layout)


def _glyph(font: ImageFont.FreeTypeFont, text: str) -> np.ndarray:
    """A glyph, centred, and scaled so that its longer side fills 80 % of the mask."""
    left, top, right, bottom = font.getbbox(text)
    ink = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(ink).text((-left, -top), text, font=font, fill=255)
    ink = ink.crop(ink.getbbox())
    ratio = 0.8 * SIDE / max(ink.size)
    size = (max(1, round(ink.width * ratio)), max(1, round(ink.height * ratio)))
    canvas = Image.new("L", (SIDE, SIDE))
    canvas.paste(ink.resize(size, Image.Resampling.LANCZOS), ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return np.asarray(canvas)


def _plane() -> tuple[np.ndarray, np.ndarray]:
    """x (to the right) and y (upwards) in [-1, 1] on the fine grid."""
    axis = (np.arange(SIDE * FINE) + 0.5) / (SIDE * FINE) * 2 - 1
    return axis[None, :], -axis[:, None]


def _mask(inside: np.ndarray) -> np.ndarray:
    fine = inside.reshape(SIDE, FINE, SIDE, FINE).mean((1, 3))
    return (fine * 255).round().astype(np.uint8)


def _polygon(points: list[tuple[float, float]]) -> np.ndarray:
    canvas = Image.new("1", (SIDE * FINE, SIDE * FINE))
    ImageDraw.Draw(canvas).polygon([(_pixel(1 + x), _pixel(1 - y)) for x, y in points], fill=1)
    return np.asarray(canvas)


def _pixel(x: float) -> int:
    """The pixel of the fine grid that holds x in [0, 2]; rounding keeps corners on pixels' edges."""
    return math.floor(round(x * SIDE * FINE / 2, 6))


def _regular(
    corners: int, radius: float, inner: float | None = None, lean: float = 0.0
) -> list[tuple[float, float]]:
    """The corners of a regular polygon (with `inner`: a star), the first on top, turned by `lean` radians."""
    radii = [radius] if inner is None else [radius, inner]
    n = corners * len(radii)
    turns = [2 * math.pi * i / n + lean for i in range(n)]
    return [
        (radii[i % len(radii)] * math.sin(t), radii[i % len(radii)] * math.cos(t))
        for i, t in enumerate(turns)
    ]


def _shape(name: str) -> list[np.ndarray]:
    """Three variants of a shape: thin, usual, thick."""
    return [_mask(_inside(name, k)) for k in (0.85, 1.0, 1.15)]


def _inside(name: str, k: float) -> np.ndarray:
    x, y = _plane()
    r = np.hypot(x, y)
    match name:
        case "circle":
            return r < 0.72 * math.sqrt(k)
        case "square":
            return (abs(x) < 0.64 * math.sqrt(k)) & (abs(y) < 0.64 * math.sqrt(k))
        case "triangle":
            return _polygon([(0, 0.75), (-0.75 * k, -0.6), (0.75 * k, -0.6)])
        case "star":
            return _polygon(_regular(5, 0.85, 0.36 * k))
        case "cross":
            arm = 0.22 * k
            return ((abs(x) < arm) & (abs(y) < 0.76)) | ((abs(y) < arm) & (abs(x) < 0.76))
        case "heart":
            u, v = x / (0.68 * math.sqrt(k)), (y + 0.1) / 0.68
            return (u**2 + v**2 - 1) ** 3 - u**2 * v**3 < 0
        case "diamond":
            return abs(x) / (0.55 * k) + abs(y) / 0.85 < 1
        case "ring":
            return (r < 0.76) & (r > 0.52 / k)
        case "crescent":
            return (r < 0.78) & (np.hypot(x - 0.36 * k, y - 0.1) > 0.62)
        case "hexagon":
            # Turned by a fraction of a pixel, so that its left corner is clearly above its right one.
            return _polygon([(y, x * math.sqrt(k)) for x, y in _regular(6, 0.78, lean=-2e-3)])
        case "arch":
            ring = (np.hypot(x, y + 0.1) < 0.74) & (np.hypot(x, y + 0.1) > 0.42 / k) & (y > -0.1)
            return ring | ((y <= -0.1) & (y > -0.75) & (abs(x) < 0.74) & (abs(x) > 0.42 / k))
        case "drop":
            low = np.hypot(x, y + 0.25) < 0.5 * math.sqrt(k)
            return low | _polygon([(0, 0.85), (-0.46 * math.sqrt(k), -0.08), (0.46 * math.sqrt(k), -0.08)])
    raise AssertionError(name)


def _arrows() -> list[np.ndarray]:
    """Five variants of an arrow that points north."""

    def arrow(shaft: float, head: float, neck: float) -> np.ndarray:
        return _polygon([(0, 0.85), (head, neck), (shaft, neck), (shaft, -0.85), (-shaft, -0.85),
                         (-shaft, neck), (-head, neck)])  # fmt: skip

    chevron = _polygon([(0, 0.85), (0.6, -0.1), (0.6, -0.6), (0, 0.3), (-0.6, -0.6), (-0.6, -0.1)])
    dart = _polygon([(0, 0.85), (0.55, -0.75), (0, -0.4), (-0.55, -0.75)])
    makes = [arrow(0.14, 0.5, 0.2), arrow(0.22, 0.6, 0.1), arrow(0.1, 0.38, 0.4), chevron, dart]
    return [_mask(make) for make in makes]


def _clock(hour: int, minute: int, thick: float) -> np.ndarray:
    """A clock: a rim, a short thick hour hand that moves with the minutes, and a long thin minute hand."""
    x, y = _plane()
    r = np.hypot(x, y)
    rim = (r < 0.95) & (r > 0.95 - thick / 40)
    hour_turn = 2 * np.pi * (hour + minute / 60) / 12
    return _mask(rim | _hand(hour_turn, 0.5, thick / 28) | _hand(2 * np.pi * minute / 60, 0.82, thick / 75))


def _hand(turn: float, length: float, half_width: float) -> np.ndarray:
    x, y = _plane()
    along = x * np.sin(turn) + y * np.cos(turn)
    across = x * np.cos(turn) - y * np.sin(turn)
    return (along > -0.08) & (along < length) & (abs(across) < half_width)


if __name__ == "__main__":
    write_masks(FILES["masks"])
    write_checksums()
