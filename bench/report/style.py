"""How a method looks in all tables, pictures and pages: its name, its place, colour, marker and dash.

A look is a slot: slot k has colour k % 8, marker k % 11 and dash (k // 8) % 4. As 8 and 11 have no common
divisor, 88 slots differ in colour or marker, and 32 in a row differ in colour or dash. The colours differ for
all kinds of colour vision, and each is legible on a white and on a dark page (test_report_style.py).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import cos, pi, sin
from typing import Any

COLOURS = ("#FF5500", "#339988", "#4466DD", "#CC0055", "#3399DD", "#AA3399", "#DD7755", "#8811FF")
DASHES: tuple[tuple[float, ...], ...] = ((), (4, 1.5), (1, 1.2), (5, 1.5, 1, 1.5))
MARKERS = "os^DvPXph<>"
SLOTS = len(COLOURS) * len(MARKERS)
NEUTRAL = "#777777"


@dataclass(frozen=True)
class Look:
    """The title, colour, marker and dash of one method or variant."""

    title: str
    colour: str
    marker: str
    dash: tuple[float, ...] = ()

    @property
    def line(self) -> Any:
        """matplotlib's line style."""
        return (0, self.dash) if self.dash else "-"


@dataclass(frozen=True)
class Known:
    """The title of a method, as its file has it, and its slot; None: neutral, for the hand template."""

    title: str
    slot: int | None


# In the order of the papers' rows, references last. The first eight slots differ in colour: they are those of
# the papers' methods. The others share a colour with a method that is rarely in the same picture.
KNOWN = {
    "manual": Known("Manual Prompt", None),
    "vp": Known("VP (SPSA-GC)", 7),
    "bar": Known("BAR", 3),
    "blackvip": Known("BlackVIP", 1),
    "bptvlm": Known("BPT-VLM", 4),
    "bbt": Known("BBT", 5),
    "craft": Known("CraFT", 2),
    "cbbt": Known("CBBT", 6),
    "lcs": Known("LCS", 12),
    "llm": Known("LLM as optimiser", 10),
    "edits": Known("Edit search (no LLM)", 14),
    "zip": Known("ZIP", 0),
    "cmaes": Known("CMA-ES (ZIP's prompt)", 11),
    "openes": Known("OpenES (ZIP's prompt)", 15),
    "spsa": Known("SPSA (full context)", 9),
    "random_search": Known("Random search", 13),
    "head": Known("Logits head", 16),
    "readout": Known("Read-out of templates", 17),
    "ensemble": Known("Template ensemble", 21),
    "coop": Known("CoOp", 22),
    "cbbt_adapter": Known("CBBT (with adapter)", 18),
    "tip_adapter": Known("Tip-Adapter", 20),
    "probe": Known("Linear probe", 23),
}


def name_of(method: str) -> str:
    """A method's name, where no record says it."""
    return KNOWN[method].title if method in KNOWN else method


def looks(rows: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Look]:
    """(method, variant) -> its look among these rows, whose order does not matter.

    A known method always has the same slot. Variants come next: they keep their method's colour while it has
    a dash that no row of it has. Other methods then get the first free slot with a new colour, else with a
    new pair of colour and dash, else the first free one; they are served in the order of their names.
    """
    shown = sorted(set(rows), key=_turn)
    slots = {row: KNOWN[row[0]].slot for row in shown if row[0] in KNOWN and not row[1]}
    for row in shown:
        if row not in slots:
            own = KNOWN[row[0]].slot if row[0] in KNOWN else slots.get((row[0], ""))
            slots[row] = _free([slot for slot in slots.values() if slot is not None], own)
    return {row: _look(row, slot) for row, slot in slots.items()}


def _turn(row: tuple[str, str]) -> tuple[bool, str, list[tuple[bool, float, str]]]:
    """Known methods first, then by name; numbers in a variant are compared as numbers."""
    method, variant = row
    parts = re.split(r"(\d+(?:\.\d+)?)", variant) if variant else []
    return (
        method not in KNOWN,
        method,
        [(i % 2 == 0, float(p) if i % 2 else 0, p) for i, p in enumerate(parts)],
    )


def _free(taken: list[int], own: int | None) -> int:
    """The slot of the next row. own: the slot of its method, for a variant."""
    free = [slot for slot in range(SLOTS) if slot not in taken]
    lines, colours = {_line(slot) for slot in taken}, {slot % len(COLOURS) for slot in taken}
    new = [slot for slot in free if _line(slot) not in lines and slot != own]
    same = [slot for slot in new if own is not None and _line(slot)[0] == own % len(COLOURS)]
    fresh = [slot for slot in new if slot % len(COLOURS) not in colours]
    return next(iter((*same, *fresh, *new, *free)), len(taken) % SLOTS)


def _line(slot: int) -> tuple[int, int]:
    return slot % len(COLOURS), slot // len(COLOURS) % len(DASHES)


def _look(row: tuple[str, str], slot: int | None) -> Look:
    method, variant = row
    title = name_of(method) + (f" ({variant})" if variant else "")
    if slot is None:
        return Look(title, NEUTRAL, "x")
    colour, dash = _line(slot)
    return Look(title, COLOURS[colour], MARKERS[slot % len(MARKERS)], DASHES[dash])


MANY = 8  # with more rows than this, a picture shows only some of them in colour
OTHERS = Look("other methods", "#B8B8B8", "")


def focused(
    looks: Mapping[str, Look], average: Mapping[str, float], asked: Iterable[str] = ()
) -> dict[str, Look]:
    """Row -> its look, where the rows are too many for a reader: the others are grey and share a name.

    Rows in colour: those that are `asked` for, then the best by `average`, up to MANY in all. Rows without an
    average keep their look (the hand template is drawn apart).
    """
    if len(average) <= MANY:
        return dict(looks)
    asked = [row for row in looks if row in set(asked)]
    best = sorted((row for row in average if row not in asked), key=lambda row: (-average[row], row))
    kept = {*asked, *best[: max(0, MANY - len(asked))]}
    grey = {row: one if row in kept or row not in average else OTHERS for row, one in looks.items()}
    return dict(sorted(grey.items(), key=lambda item: item[1] is not OTHERS))  # the grey ones lie below


def outline(marker: str) -> str:
    """A marker as the path of an SVG, about 2 units wide, around 0."""
    turns = {"s": (4, 0.5), "D": (4, 0), "^": (3, 0), "v": (3, 1.5), "<": (3, 0.75), ">": (3, 2.25)}
    sides, turn = (turns | {"p": (5, 0), "h": (6, 0)}).get(marker, (16, 0))
    if marker in "PX":  # a plus, or the same turned by an eighth
        arm = [(-0.35, -0.35), (-0.35, -1), (0.35, -1)]  # the upper one; the others are turned by quarters
        quarters = ((1, 0), (0, 1), (-1, 0), (0, -1))  # cosine and sine
        plus = [(c * x - s * y, s * x + c * y) for c, s in quarters for x, y in arm]
        points = plus if marker == "P" else [((x - y) * 0.707, (x + y) * 0.707) for x, y in plus]
    else:
        angles = [2 * pi * (i + turn) / sides - pi / 2 for i in range(sides)]
        points = [(1.1 * cos(angle), 1.1 * sin(angle)) for angle in angles]
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points) + "Z"


def rank_of(method: str, variant: str = "") -> tuple[int, str, str]:
    """A sort key for the rows of a table: the methods of KNOWN in their order, then the others by name."""
    known = list(KNOWN)
    return (known.index(method) if method in known else len(known), method, variant)


def params_text(low: int, high: int | None = None) -> str:
    """A number of parameters as the papers print it: 417 -> '0.4k', 0 -> '0k'; a range if it has two ends."""
    if high is not None and high != low:
        return f"{params_text(low)}–{params_text(high)}"
    if low >= 999_950:
        return f"{low / 1e6:.1f}M"
    return "0k" if low == 0 else f"{low / 1e3:.1f}k"


def named(look: Look, title: str) -> Look:
    """The same look under another title: the name that the records say."""
    return replace(look, title=title)
