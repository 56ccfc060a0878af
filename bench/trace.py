"""The trace of a cell: the train loss and the accuracy of the deployed prompt at each checkpoint."""

from dataclasses import replace

from bench.meter import Meter
from bench.record import Point

DECIMALS = 9  # of a train loss: further decimals depend on the processor


MARKS = (500, 5000)  # where the reports read a curve


def checkpoints(budget: int, few: bool = False) -> list[int]:
    """0, then the 1-2-5 series from 10 up to the budget, then the budget itself.

    few: of the series MARKS alone, where scoring costs dollars.
    """
    series = MARKS if few else [step * 10**power for power in range(1, 13) for step in (1, 2, 5)]
    return [0, *(q for q in series if q < budget), budget]


class Trace:
    """Collects the train losses, and one point at each checkpoint."""

    def __init__(self, budget: int, few: bool = False) -> None:
        self.points: list[Point] = []
        self._due = checkpoints(budget, few)
        self._losses: list[tuple[float, int]] = []  # (mean loss, candidates) since the last checkpoint

    def note(self, loss: float, candidates: int) -> None:
        """Add the mean train loss of some candidates on one batch."""
        self._losses.append((loss, candidates))

    def due(self, spent: int | None = None) -> bool:
        """Whether the next checkpoint is below `spent` queries; with None, whether there is a next one."""
        return bool(self._due) and (spent is None or self._due[0] < spent)

    def mark(self, meter: Meter) -> int:
        """Add the point of the next checkpoint, whose accuracy is not known yet. Returns its place."""
        count = sum(n for _, n in self._losses)
        loss = sum(mean * n for mean, n in self._losses) / count if count else None
        self._losses.clear()
        if loss is not None:
            loss = round(loss, DECIMALS)
        queries = self._due.pop(0)
        self.points.append(Point(queries, meter.spent, meter.image_queries, loss, {}))
        return len(self.points) - 1

    def fill(self, place: int, accuracy: dict[str, float]) -> None:
        """accuracy: of the prompt that was deployed at this point (% correct, by test set)."""
        self.points[place] = replace(self.points[place], accuracy=accuracy)

    @property
    def scored(self) -> tuple[Point, ...]:
        """The points whose accuracy is known."""
        return tuple(point for point in self.points if point.accuracy)
