"""A look at an endpoint before the first query: what it says it grants is compared with what it answers."""

from dataclasses import dataclass
from datetime import datetime, timezone

import torch
from torch import Tensor

from bench.answered import Level
from bench.errors import UserError
from bench.wire.asker import SAME, Asked, Asker, Tally

DECIMALS = 6  # an answer with more is taken for unrounded


@dataclass(frozen=True)
class Probe:
    """level: the most it was seen to grant. total: the sum of an image's scores, None for logits."""

    level: Level
    deterministic: bool
    total: float | None
    dollars: float = 0.0

    def __str__(self) -> str:
        same = "the same answer" if self.deterministic else "ANOTHER answer"
        sums = "" if self.total is None else f"; scores sum to {self.total:.4g}"
        return f"answers with {self.level}; the same question gets {same}{sums}"


def probe(asker: Asker, texts: tuple[str, ...]) -> Probe:
    """Ask twice about one image, with these C texts. Raises WireFailed.

    Its answers are kept for a day, so that the processes of a run, and a run that is started again, do not
    pay for them anew.
    """
    size, day = asker.endpoint.image_size, datetime.now(timezone.utc).date().isoformat()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(256, (1, 3, size, size), generator=generator, dtype=torch.uint8)
    asked, tally = Asked(noise, texts), Tally()
    first, second = (asker.ask([asked], tally, f"probe {i} {day}")[0][0] for i in (1, 2))
    same = torch.allclose(first, second, rtol=0, atol=SAME, equal_nan=True)
    level = seen(first, asker.endpoint.level)
    total = None if level.kind == "logits" else float(first.nansum())
    return Probe(level, same, total, tally.dollars)


def seen(said: Tensor, told: Level) -> Level:
    """The level of an answer [C], where an endpoint is told to grant `told`."""
    if told.kind == "logits":
        return told
    scores = said[~said.isnan()]
    if told.kind == "label" or (len(scores) == 1 and bool((scores == 1).all()) and len(said) > 1):
        return Level("label")
    if len(scores) < len(said):
        return Level("top", len(scores))
    # zeros and ones alone say nothing about decimals
    if bool(((scores == 0) | (scores == 1)).all()):
        return told
    for decimals in range(1, DECIMALS + 1):
        scaled = scores * 10**decimals
        if bool(((scaled - scaled.round()).abs() < 1e-7).all()):
            return Level("probs", decimals)
    return told


def refuse_above(found: Probe, wanted: Level, url: str) -> None:
    """Raise UserError if answers of that level cannot be had there."""
    if not found.level.covers(wanted):
        raise UserError(f"{url} was seen to answer with {found.level}: give --answers {found.level}.")
