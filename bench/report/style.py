"""How a method looks in all tables and plots: its title, place in a table, colour, marker and line."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

SERIES = ("#CC79A7", "#882255", "#999933", "#44AA99", "#AA4499", "#332288", "#661100", "#117733")
DASHES: tuple[tuple[float, ...], ...] = ((), (4, 1.5), (1, 1.2), (5, 1.5, 1, 1.5))
MARKERS = "osD^vPX*"


@dataclass(frozen=True)
class Look:
    """The title, colour, marker and line of one method or variant."""

    title: str
    colour: str
    marker: str
    dash: tuple[float, ...] = ()

    @property
    def line(self) -> Any:
        """matplotlib's line style."""
        return (0, self.dash) if self.dash else "-"


# In the order of the papers' rows. Colours: those of Okabe and Ito, which differ for all kinds of colour
# vision.
KNOWN = {
    "manual": Look("Manual Prompt", "#777777", "x"),
    "vp": Look("VP", "#8C6D31", "v"),
    "bar": Look("BAR", "#E69F00", "^"),
    "blackvip": Look("BlackVIP", "#009E73", "s"),
    "bptvlm": Look("BPTVLM", "#56B4E9", "D"),
    "bbt": Look("BBT", "#B3A100", "P"),
    "craft": Look("CraFT", "#0072B2", "X"),
    "cbbt": Look("CBBT", "#6A3D9A", "<"),
    "llm": Look("LLM", "#44AA99", ">"),
    "zip": Look("ZIP", "#D55E00", "o"),
    "cmaes": Look("CMA-ES (ZIP's prompt)", "#332288", "p"),
    "openes": Look("OpenES (ZIP's prompt)", "#CC79A7", "h"),
    "spsa": Look("SPSA (full context)", "#882255", "d"),
    "random_search": Look("Random search", "#AA9977", "."),
    "coop": Look("CoOp", "#000000", "*", (1, 1.5)),
}


def look(method: str, variant: str = "") -> Look:
    """The look of a method: fixed if it is known, else made from its name. A variant has its own line."""
    base = KNOWN.get(method) or Look(method, SERIES[_hash(method) % len(SERIES)], MARKERS[_hash(method) % 8])
    if not variant:
        return base
    turn = _hash(variant)
    return Look(f"{base.title} ({variant})", base.colour, MARKERS[turn % 8], DASHES[1 + turn % 3])


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


def _hash(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big")
