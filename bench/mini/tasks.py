"""The data sets of the mini suite: which attribute is the label, and how its pictures look.

The pictures of a task differ from those of pretraining in one way, which is the same in all of them and rare
or absent in pretraining. Labels are balanced.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.mini.glyphs import COMPASS, FONTS, HOURS, LETTERS, SHAPES
from bench.mini.scenes import (
    COLOR_NAMES,
    KINDS,
    LANDS,
    MAX_COUNT,
    NO_PLACE,
    PLACES,
    STYLES,
    TEXTURES,
    Scenes,
    sample,
)

HUES = range(COLOR_NAMES.index("black"))  # red to brown
BLACK, WHITE = COLOR_NAMES.index("black"), COLOR_NAMES.index("white")
OUTLINED = STYLES.index("outlined")
LONE = {"place": NO_PLACE, "count": 1, "texture": 0, "style": 0}

# Changes that no pretraining picture has; images are uint8 [N, S, S, 3].
LOOKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as painted": lambda images: images,
    "swapped colours": lambda images: np.ascontiguousarray(images[..., [2, 0, 1]]),
    "warm light": lambda images: (images * (1, 0.75, 0.45)).round().astype(np.uint8),
}


@dataclass(frozen=True)
class RenderedTask:
    """A data set as a rule for drawing scenes.

    asked: the fields of Scenes that a class names, with the values that occur. A class is one value of each;
    from one class to the next, the last field changes first. kinds: the kinds of things. fixed: fields with a
    fixed value. anywhere: the thing is small and at a random place. tilt: degrees clockwise to draw from.
    look: the change of the finished pictures, a key of LOOKS.
    """

    asked: Mapping[str, range]
    kinds: tuple[str, ...]
    fixed: Mapping[str, object] = field(default_factory=dict)
    anywhere: bool = False
    tilt: tuple[float, float] | None = None
    look: str = "as painted"

    @property
    def classes(self) -> int:
        """How many classes."""
        return math.prod(map(len, self.asked.values()))

    def scenes(self, rng: np.random.Generator, n: int) -> tuple[Scenes, np.ndarray]:
        """n scenes and their labels int64 [n], balanced, in random order."""
        labels = rng.permutation(np.arange(n) % self.classes)
        which = np.unravel_index(labels, [len(values) for values in self.asked.values()])
        fixed = dict(self.fixed)
        for (name, values), index in zip(self.asked.items(), which, strict=True):
            fixed[name] = np.array(values)[index]
        kinds = np.array([KINDS.index(k) for k in self.kinds])
        fixed["kind"] = kinds[rng.integers(0, len(kinds), n)]
        if self.anywhere:
            fixed["place"] = rng.integers(0, len(PLACES), n)
        if self.tilt is not None:
            fixed["tilt"] = rng.uniform(*self.tilt, n)
        return sample(rng, n, fixed), labels


def _all(names: Sequence[str]) -> range:
    return range(len(names))


SIGNS = ("shape", "letter", "digit")
UPPER = tuple(range(len(FONTS)))  # the upper-case variants of a letter
PAPER = {**LONE, "ink": BLACK, "ground": WHITE}


def _shapes(fixed: Mapping[str, object], tilt: tuple[float, float] | None = (35, 75)) -> RenderedTask:
    """Shapes turned clockwise; in most pretraining pictures they are upright."""
    return RenderedTask({"thing": _all(SHAPES)}, ("shape",), fixed, tilt=tilt)


TASKS = {
    "mini-colors": RenderedTask({"ink": _all(COLOR_NAMES)}, SIGNS, LONE, look="warm light"),
    "mini-backgrounds": RenderedTask({"ground": _all(COLOR_NAMES)}, SIGNS, LONE),
    "mini-clocks": RenderedTask({"thing": _all(HOURS)}, ("clock",), LONE, tilt=(10, 20)),
    "mini-directions": RenderedTask({"thing": _all(COMPASS)}, ("arrow",), LONE, tilt=(18, 24)),
    "mini-arrows": RenderedTask({"thing": _all(COMPASS)}, ("arrow",), LONE, anywhere=True),
    "mini-textures": RenderedTask({"thing": _all(TEXTURES)}, ("texture",), tilt=(15, 35)),
    "mini-letters": RenderedTask(
        {"thing": _all(LETTERS)}, ("letter",), {**PAPER, "variants": UPPER}, tilt=(25, 45)
    ),
    "mini-landcover": RenderedTask(
        {"thing": _all(LANDS)}, ("land",), {"infrared": 0}, look="swapped colours"
    ),
    "mini-shapes": _shapes(PAPER),
    "mini-shapes-inverted": _shapes({**LONE, "ink": WHITE, "ground": BLACK}),
    "mini-shapes-outlined": _shapes({**PAPER, "style": OUTLINED}),
    "mini-shapes-checkered": _shapes({**LONE, "texture": 1 + TEXTURES.index("checkered")}),
    "mini-shapes-upright": _shapes(PAPER, tilt=None),
    # Many classes: a class names two attributes.
    "mini-figures": RenderedTask(
        {"ink": HUES, "thing": _all(SHAPES)},
        ("shape",),
        {**LONE, "ground": WHITE},
        tilt=(35, 75),
        look="warm light",
    ),
    "mini-tiles": RenderedTask(
        {"ink": HUES, "thing": _all(TEXTURES)}, ("texture",), {"ground": WHITE}, tilt=(15, 35)
    ),
    "mini-groups": RenderedTask({"thing": _all(SHAPES), "count": range(2, MAX_COUNT + 1)}, ("shape",), PAPER),
}
