"""A look at an endpoint before the first query: what it says it grants is compared with what it answers."""

from dataclasses import dataclass
from datetime import datetime, timezone

import torch
from torch import Tensor

from bench.answered import Level
from bench.errors import UserError
from bench.remote import Endpoint
from bench.wire.asker import SAME, Asked, Asker, Tally, Texts

DECIMALS = 6  # an answer with more is taken for unrounded
# Half precision and another order of sums move an answer by less than this share of its range.
ARITHMETIC = 0.05


@dataclass(frozen=True)
class Probe:
    """What was seen.

    level: the most it was seen to grant. total: the sum of an image's scores, None for logits. follows: the
    answers follow the class texts into another order. worded: other words give another answer. Both are None
    where it cannot be said.
    """

    level: Level
    deterministic: bool
    total: float | None
    follows: bool | None = None
    worded: bool | None = None
    requests: int = 0
    dollars: float = 0.0

    def __str__(self) -> str:
        same = "the same answer" if self.deterministic else "ANOTHER answer"
        found = [f"answers with {self.level}", f"the same question gets {same}"]
        if self.total is not None:
            found.append(f"scores sum to {self.total:.4g}")
        if self.follows is False:
            found.append("WARNING: another order of the labels gets another answer")
        if self.worded is False:
            found.append("WARNING: another template gets the same answer, so words may not arrive")
        cost = f", ${self.dollars:.4f}" if self.dollars else ""
        return f"{'; '.join(found)} (probe: {self.requests} requests{cost})"


def probe(asker: Asker, texts: Texts, others: Texts) -> Probe:
    """Ask about one image, four times at most. Raises WireFailed.

    texts: the C class texts. others: the same classes in another template. The texts are sent twice, and in
    another order; the others once, unless the label alone is answered, which need not change with the words.
    The answers are kept for a day, so that the processes of a run, and a run that is started again, do not
    pay for them anew.
    """
    size, day = asker.endpoint.image_size, datetime.now(timezone.utc).date().isoformat()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(256, (1, 3, size, size), generator=generator, dtype=torch.uint8)
    tally, named = Tally(), asker.endpoint.level.kind != "label"
    turned = (*texts[1:], texts[0])
    (first,) = asker.ask([Asked(noise, texts)], tally, f"probe 1 {day}")
    more = [texts, turned, *([others] if named else [])]
    second, moved, *worded = asker.ask([Asked(noise, one) for one in more], tally, f"probe 2 {day}")
    same = _equal(first, second)
    level = seen(first[0], asker.endpoint.level)
    return Probe(
        level,
        same,
        None if level.kind == "logits" else float(first.nansum()),
        _near(first, moved.roll(1, -1)) if same else None,
        not _equal(first, worded[0]) if same and named and level.kind != "label" else None,
        tally.requests,
        tally.dollars,
    )


def _equal(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=0, atol=SAME, equal_nan=True)


def _near(one: Tensor, other: Tensor) -> bool:
    """Whether two answers agree up to what a model's arithmetic may change in another order of its inputs."""
    one, other = one.nan_to_num(0.0), other.nan_to_num(0.0)
    return bool((one - other).abs().max() <= ARITHMETIC * (one.max() - one.min()).clamp_min(SAME))


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


def refuse(found: Probe, wanted: Level, endpoint: Endpoint) -> None:
    """Raise UserError if answers of that level cannot be had there, or do not belong to the labels.

    A chat may prefer the first of a list, as language models do; that is a warning (see Probe).
    """
    if found.follows is False and endpoint.dialect != "chat":
        raise UserError(
            f"{endpoint.url} gives the classes other scores if they are sent in another order: its answers "
            "do not belong to the labels. Check the endpoint and --dialect."
        )
    if not found.level.covers(wanted):
        raise UserError(
            f"{endpoint.url} was seen to answer with {found.level}: give --answers {found.level}."
        )
