"""What a run over the wire may cost: an upper bound in dollars, for tuning and for scoring apart."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.lab import Lab
from bench.remote import AT_ONCE, Endpoint, Price, Tokens, requests_for
from bench.resolve import Resolved
from bench.runner import prepare
from bench.trace import checkpoints
from bench.wire.dialects import most_tokens
from bench.wire.predictor import texts_of


@dataclass(frozen=True)
class Part:
    """What is sent, at most. tokens: with texts as long as the hand template's."""

    images: int = 0
    requests: int = 0
    tokens: Tokens = (0, 0)

    def __add__(self, other: "Part") -> "Part":
        sent, said = (a + b for a, b in zip(self.tokens, other.tokens, strict=True))
        return Part(self.images + other.images, self.requests + other.requests, (sent, said))

    def __mul__(self, times: int) -> "Part":
        sent, said = self.tokens
        return Part(self.images * times, self.requests * times, (sent * times, said * times))


@dataclass(frozen=True)
class Bill:
    """An upper bound: kept answers cost nothing. price: None where none is declared.

    What is `untuned` is the least of the scoring, and comes before the first query.
    """

    price: Price | None
    tuning: Part
    scoring: Part
    untuned: tuple[Part, ...] = ()  # for each data set that is tuned on: scoring the untuned prompt once

    def dollars(self, part: Part) -> float:
        """Of one part."""
        return self.price.of(part.images, part.requests, part.tokens) if self.price else 0.0

    @property
    def total(self) -> float:
        """Dollars."""
        return self.dollars(self.tuning) + self.dollars(self.scoring)


def bill(cells: Sequence[Resolved], lab: Lab) -> Bill | None:
    """The bill of the cells that ask an endpoint; None where none does."""
    asking = [(one, one.endpoint) for one in cells if one.endpoint is not None]
    if not asking:
        return None
    tuning, scoring = Part(), Part()
    parts: dict[tuple[object, ...], int] = {}
    untuned: dict[tuple[str, ...], Part] = {}
    for one, endpoint in asking:
        if (row := (one.cell.method, one.cell.dataset, one.cell.overrides)) not in parts:
            parts[row] = parts_of(one, lab)
        task = lab.task(one)
        tokens = most_tokens(texts_of(task.template, task.classes), endpoint)
        tuning += asked(one.cell.batch_size, endpoint, tokens) * one.queries
        times = (len(checkpoints(one.cell.budget, few=True)) if one.tunes else 1) * parts[row]
        images = sum(len(test.images) for test in task.tests.values())
        scoring += asked(images, endpoint, tokens) * times
        if one.tunes:
            place = (one.cell.protocol, one.cell.dataset, one.cell.score)
            first = asked(images, endpoint, tokens) * parts[row]
            untuned[place] = min(untuned.get(place, first), first, key=lambda part: part.images)
    return Bill(asking[0][1].price, tuning, scoring, tuple(untuned.values()))


def asked(images: int, endpoint: Endpoint, tokens: Tokens) -> Part:
    """What one prompt on so many images sends. tokens: of one request."""
    requests = requests_for(images, AT_ONCE[endpoint.dialect])
    return Part(images, requests, (tokens[0] * requests, tokens[1] * requests))


def parts_of(resolved: Resolved, lab: Lab) -> int:
    """How often a deployed prompt of this method sends each image, as its untuned prompt does."""
    method, _ = prepare(resolved, lab)
    return max(len(method.prompt(method.x0).sent), 1)
