"""What a picture of the mini world shows: named attributes, drawn at random or fixed by a task.

`sample` draws from the pretraining distribution; a task fixes some attributes (`fixed`) and draws the others.
Values that are rare there (outlined, blurred, infrared, strongly turned) are the shifts that the tasks use.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from bench.mini.glyphs import COMPASS, DIGITS, GREEK, HOURS, LETTERS, NUMBERS, SHAPES, bank

COLORS = {
    "red": (205, 35, 35), "green": (40, 150, 50), "blue": (40, 70, 205), "yellow": (240, 220, 50),
    "orange": (240, 135, 25), "purple": (130, 45, 165), "pink": (245, 150, 190), "brown": (115, 70, 35),
    "black": (20, 20, 20), "white": (245, 245, 245), "gray": (135, 135, 135), "cyan": (70, 210, 220),
}  # fmt: skip
COLOR_NAMES = tuple(COLORS)
PLACES = ("northwest", "north", "northeast", "west", "center", "east", "southwest", "south", "southeast")
TEXTURES = (
    "striped", "checkered", "dotted", "wavy", "ringed", "zigzag", "netted", "brick", "speckled", "woven",
)  # fmt: skip
LANDS = (
    "forest", "pasture", "crops", "river", "highway", "village", "industry", "orchard", "sea", "desert",
)  # fmt: skip
STYLES = ("solid", "outlined", "blurred", "bold")
THINGS = {
    "shape": SHAPES, "letter": LETTERS, "greek": GREEK, "digit": DIGITS, "arrow": COMPASS, "clock": HOURS,
    "texture": TEXTURES, "land": LANDS,
}  # fmt: skip
KINDS = tuple(THINGS)
KIND_WEIGHTS = (0.24, 0.16, 0.14, 0.11, 0.11, 0.10, 0.07, 0.07)
MAX_COUNT = 8
NO_PLACE = -1  # the thing fills the picture


@dataclass(frozen=True)
class Scenes:
    """N scenes. Every field is int64 [N], except tilt and size.

    kind: index into KINDS. thing: index into THINGS[kind] (the direction of an arrow, the hour of a clock).
    row: the row of its mask, -1 if it has none. ink, ground: indices into COLOR_NAMES, never equal. texture:
    of the ground, 0 if plain, else 1 + index into TEXTURES. place: index into PLACES, or NO_PLACE. count:
    copies of the thing. style: index into STYLES. tilt: float [N], degrees clockwise. size: float [N], 1
    fills the picture. infrared: 0 or 1 (land in false colours).
    """

    kind: np.ndarray
    thing: np.ndarray
    row: np.ndarray
    ink: np.ndarray
    ground: np.ndarray
    texture: np.ndarray
    place: np.ndarray
    count: np.ndarray
    style: np.ndarray
    tilt: np.ndarray
    size: np.ndarray
    infrared: np.ndarray

    def __len__(self) -> int:
        return len(self.kind)

    def take(self, index: np.ndarray | slice) -> "Scenes":
        """The scenes at `index`."""
        return Scenes(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


def sample(rng: np.random.Generator, n: int, fixed: Mapping[str, object] | None = None) -> Scenes:
    """Draw n scenes.

    fixed: field -> one value or an array [n], which replaces its random draw. "kind" may also be given by its
    name; "variants" is a tuple of the mask variants to choose from.
    """
    fixed = dict(fixed or {})
    variants = fixed.pop("variants", None)
    if isinstance(fixed.get("kind"), str):
        fixed["kind"] = KINDS.index(fixed["kind"])

    def choose(name: str, drawn: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.asarray(fixed.get(name, drawn), dtype=drawn.dtype), (n,)).copy()

    kind = choose("kind", rng.choice(len(KINDS), n, p=np.array(KIND_WEIGHTS)))
    named = [len(THINGS[KINDS[k]]) for k in range(len(KINDS))]
    thing = choose("thing", (rng.random(n) * np.array(named)[kind]).astype(np.int64))
    ink = choose("ink", rng.integers(0, len(COLORS), n))
    ground = choose("ground", (ink + rng.integers(1, len(COLORS), n)) % len(COLORS))
    if "ground" in fixed and "ink" not in fixed:  # keep ink and ground apart
        ink = np.where(ink == ground, (ink + rng.integers(1, len(COLORS), n)) % len(COLORS), ink)

    has_mask = kind < KINDS.index("texture")
    textured = rng.random(n) < 0.25
    texture = choose("texture", np.where(textured & has_mask, rng.integers(1, len(TEXTURES) + 1, n), 0))
    texture = np.where(kind == KINDS.index("texture"), thing + 1, texture)
    is_shape = kind == KINDS.index("shape")
    many = is_shape & (rng.random(n) < 0.35)
    count = choose("count", np.where(many, rng.integers(1, MAX_COUNT + 1, n), 1))
    # Letters, digits and clocks are hard to read when they are small, so they rarely get a place.
    often = np.isin(kind, [KINDS.index("shape"), KINDS.index("arrow")])
    placed = has_mask & (count == 1) & ~many & (rng.random(n) < np.where(often, 0.35, 0.1))
    place = choose("place", np.where(placed, rng.integers(0, len(PLACES), n), NO_PLACE))
    style = choose("style", np.where(has_mask, rng.choice(len(STYLES), n, p=[0.8, 0.08, 0.06, 0.06]), 0))
    # Only things whose direction has no meaning are turned far.
    far = np.isin(kind, [KINDS.index("shape"), KINDS.index("letter")]) & (rng.random(n) < 0.06)
    tilt = choose("tilt", np.where(far, rng.uniform(-75, 75, n), rng.uniform(-9, 9, n)))
    size = choose("size", rng.uniform(0.72, 1.0, n))
    infrared = choose("infrared", ((kind == KINDS.index("land")) & (rng.random(n) < 0.12)).astype(np.int64))
    row = _rows(rng, kind, thing, variants)
    return Scenes(kind, thing, row, ink, ground, texture, place, count, style, tilt, size, infrared)


def _rows(rng: np.random.Generator, kind: np.ndarray, thing: np.ndarray, variants: object) -> np.ndarray:
    """A mask row for each scene, -1 for textures and land. All directions of an arrow have the same masks."""
    rows, pick = bank().rows, rng.random(len(kind))
    out = np.full(len(kind), -1)
    for i, (k, t) in enumerate(zip(kind, thing, strict=True)):
        name = KINDS[k]
        choices = rows.get((name, 0 if name == "arrow" else int(t)), ())
        if variants is not None:
            choices = tuple(choices[v] for v in variants)  # type: ignore[attr-defined]
        if choices:
            out[i] = choices[int(pick[i] * len(choices))]
    return out


__all__ = [
    "COLORS", "COLOR_NAMES", "KINDS", "LANDS", "MAX_COUNT", "NO_PLACE", "NUMBERS", "PLACES", "STYLES",
    "TEXTURES", "THINGS", "Scenes", "sample",
]  # fmt: skip
