"""What a run over the wire may cost: an upper bound in dollars, for tuning and for scoring apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from bench.lab import Lab
from bench.remote import Price
from bench.resolve import Resolved
from bench.run import prepare
from bench.trace import checkpoints
from bench.wire.dialects import AT_ONCE


@dataclass(frozen=True)
class Bill:
    """Images and requests, at most: kept answers cost nothing. price: None where none is declared."""

    price: Price | None
    tuning: tuple[int, int]
    scoring: tuple[int, int]

    def dollars(self, part: tuple[int, int]) -> float:
        """Of (images, requests)."""
        return self.price.of(*part) if self.price else 0.0

    @property
    def total(self) -> float:
        """Dollars."""
        return self.dollars(self.tuning) + self.dollars(self.scoring)


def bill(cells: Sequence[Resolved], lab: Lab) -> Bill | None:
    """The bill of the cells that ask an endpoint; None where none does."""
    asking = [one for one in cells if one.endpoint is not None]
    if not asking:
        return None
    tuning, scoring = [0, 0], [0, 0]
    parts: dict[tuple[object, ...], int] = {}
    for one in asking:
        assert one.endpoint is not None
        if (row := (one.cell.method, one.cell.dataset, one.cell.overrides)) not in parts:
            parts[row] = parts_of(one, lab)
        at_once, batch = AT_ONCE[one.endpoint.dialect], one.cell.batch_size
        tuning[0] += one.queries * batch
        tuning[1] += one.queries * ceil(batch / at_once)
        times = (len(checkpoints(one.cell.budget, few=True)) if one.tunes else 1) * parts[row]
        images = sum(len(test.images) for test in lab.task(one).tests.values())
        scoring[0] += times * images
        scoring[1] += times * ceil(images / at_once)
    assert asking[0].endpoint is not None
    return Bill(asking[0].endpoint.price, (tuning[0], tuning[1]), (scoring[0], scoring[1]))


def parts_of(resolved: Resolved, lab: Lab) -> int:
    """How often a deployed prompt of this method sends each image, as its untuned prompt does."""
    method, _ = prepare(resolved, lab)
    return max(len(method.prompt(method.x0).sent), 1)
