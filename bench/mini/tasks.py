"""The data sets of the mini suite: which attribute is the label, and in which style its pictures come.

Each style shift is clean and systematic: something the pretraining pictures show seldom or never, the same way
in all pictures of the task. Labels are balanced.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from bench.mini.glyphs import COMPASS, FONTS, GREEK, HOURS, LETTERS, SHAPES
from bench.mini.scenes import COLOR_NAMES, KINDS, LANDS, MAX_COUNT, NO_PLACE, PLACES, STYLES, TEXTURES, Scenes, sample

BLACK, WHITE = COLOR_NAMES.index("black"), COLOR_NAMES.index("white")
OUTLINED, BLURRED, BOLD = (STYLES.index(s) for s in ("outlined", "blurred", "bold"))
LONE = {"place": NO_PLACE, "count": 1, "texture": 0, "style": 0}
ON_PAPER = {"ink": BLACK, "ground": WHITE}

# Looks that no pretraining picture has; images are uint8 [N, S, S, 3].
LOOKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as painted": lambda images: images,
    "negative": lambda images: 255 - images,
    "swapped": lambda images: np.ascontiguousarray(images[..., [2, 0, 1]]),  # the colour channels
    "dim": lambda images: (images * 0.3).round().astype(np.uint8),
    "coarse": lambda images: images.reshape(-1, 16, 2, 16, 2, 3).mean((2, 4)).round().astype(np.uint8)
    .repeat(2, axis=1).repeat(2, axis=2),
}  # fmt: skip


@dataclass(frozen=True)
class RenderedTask:
    """label: the Scenes field that is asked for; classes: its number of values, first value `start`.

    kinds: the kinds of things shown; fixed: fields with one value; tilt, size: ranges to draw from;
    look: what happens to the finished pictures, a key of LOOKS.
    """

    label: str
    classes: int
    kinds: tuple[str, ...]
    fixed: Mapping[str, object] = field(default_factory=dict)
    start: int = 0
    tilt: tuple[float, float] | None = None
    size: tuple[float, float] | None = None
    look: str = "as painted"

    def scenes(self, rng: np.random.Generator, n: int) -> tuple[Scenes, np.ndarray]:
        """n scenes and their labels int64 [n], balanced, in random order."""
        labels = rng.permutation(np.arange(n) % self.classes)
        fixed = {**self.fixed, self.label: labels + self.start}
        kinds = np.array([KINDS.index(k) for k in self.kinds])
        fixed["kind"] = kinds[rng.integers(0, len(kinds), n)]
        for name in ("tilt", "size"):
            if (span := getattr(self, name)) is not None:
                fixed[name] = rng.uniform(*span, n)
        return sample(rng, n, fixed), labels


SIGNS = ("shape", "letter", "digit")
UPPER = tuple(range(len(FONTS)))  # the upper-case variants of a letter
SHAPE = {"label": "thing", "classes": len(SHAPES), "kinds": ("shape",)}
PAPER = {**LONE, **ON_PAPER}

TASKS = {
    "mini-colors": RenderedTask("ink", len(COLOR_NAMES), SIGNS, LONE),
    "mini-backgrounds": RenderedTask("ground", len(COLOR_NAMES), SIGNS, LONE),
    "mini-clocks": RenderedTask("thing", len(HOURS), ("clock",), PAPER),
    "mini-directions": RenderedTask("thing", len(COMPASS), ("arrow",), {"count": 1, "texture": 0, "style": 0}),
    "mini-textures": RenderedTask("thing", len(TEXTURES), ("texture",), tilt=(25, 65)),
    "mini-letters": RenderedTask("thing", len(LETTERS), ("letter",), {**PAPER, "variants": UPPER}, tilt=(25, 45)),
    "mini-greek": RenderedTask("thing", len(GREEK), ("greek",), {**PAPER, "style": BLURRED}),
    "mini-landcover": RenderedTask("thing", len(LANDS), ("land",), {"infrared": 0}, look="swapped"),
    "mini-counts": RenderedTask("count", MAX_COUNT, ("shape",), {"texture": 0, "style": 0, "place": NO_PLACE}, start=1),
    "mini-shapes": RenderedTask(**SHAPE, fixed={**PAPER, "style": BOLD}),
    "mini-shapes-inverted": RenderedTask(**SHAPE, fixed={**LONE, "ink": WHITE, "ground": BLACK}),
    "mini-shapes-outlined": RenderedTask(**SHAPE, fixed={**PAPER, "style": OUTLINED}),
    "mini-shapes-ground": RenderedTask(**SHAPE, fixed={**LONE, "texture": 1 + TEXTURES.index("checkered")}),
    "mini-shapes-rotated": RenderedTask(**SHAPE, fixed=PAPER, tilt=(35, 75)),
}
