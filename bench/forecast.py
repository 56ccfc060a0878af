"""What the cells of a plan will take: hours, memory and disk, from records of such cells.

Nothing is assumed. A cell whose method has no finished record with the same backbone and precision is not
predicted: float64 takes several times as long as float32.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from bench.cell import Cell
from bench.errors import UserError
from bench.files import below
from bench.record import Record, read
from bench.resolve import Resolved

Kind = tuple[str, str, str | None]  # method, backbone, precision: only cells of one kind cost alike


@dataclass(frozen=True)
class Cost:
    """What one finished cell took. seconds: per query, or of the whole cell if it asks none."""

    cell: Cell
    seconds: float
    memory: float  # MiB
    disk: int  # bytes
    hardware: str


@dataclass(frozen=True)
class Forecast:
    """The sum over the cells that can be predicted. unknown: the methods of the others.

    hours: of one worker. memory: the most of any cell, in MiB. disk: bytes of all records. measured: how many
    records this comes from. hardware: where they were made.
    """

    cells: int = 0
    hours: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    measured: int = 0
    hardware: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def lines(self, of: int, workers: int | None) -> Iterator[str]:
        """The forecast in words. of: the number of all cells to run. workers: how many run at once."""
        if self.cells:
            shared = f", {self.hours / workers:.2g} h with {workers}" if workers and workers > 1 else ""
            yield (
                f"predicted for {self.cells} of {of} cells: {self.hours:.2g} h of one worker{shared}; "
                f"{self.memory / 1024:.1f} GiB of memory per worker; {self.disk / 2**20:.2g} MiB of records "
                f"(from {self.measured} records made on {', '.join(self.hardware)})"
            )
        if self.unknown:
            yield f"not predicted, because no such cell was measured yet: {', '.join(self.unknown)}"


def forecast(todo: Sequence[Resolved], root: Path) -> Forecast:
    """What these cells will take, from the records below `root`.

    A cell costs what cells of its row on its data set did per query; if there are none, of its method there,
    and then of its method on any data set.
    """
    known = costs(root, {kind_of(one) for one in todo})
    used: dict[Cost, None] = {}
    seconds, disk, unknown, found = 0.0, 0.0, dict[str, None](), 0
    for one in todo:
        like = alike(one.cell, known[kind_of(one)])
        if not like:
            unknown[one.cell.row] = None
            continue
        found += 1
        seconds += fmean(cost.seconds for cost in like) * (one.queries or 1)
        disk += fmean(cost.disk for cost in like)
        used.update(dict.fromkeys(like))
    return Forecast(
        found,
        seconds / 3600,
        max((cost.memory for cost in used), default=0.0),
        disk,
        len(used),
        tuple(dict.fromkeys(cost.hardware for cost in used)),
        tuple(unknown),
    )


def kind_of(one: Resolved) -> Kind:
    """The kind of a cell that is to run."""
    return one.cell.method, one.cell.backbone, one.precision


def alike(cell: Cell, known: Sequence[Cost]) -> Sequence[Cost]:
    """The costs of the cells that are most like this one. known: those of its kind."""
    there = [c for c in known if c.cell.dataset == cell.dataset]
    return [c for c in there if c.cell.row == cell.row] or there or known


def costs(root: Path, wanted: set[Kind]) -> dict[Kind, list[Cost]]:
    """The costs of the finished cells of these kinds. What cannot be read is passed over."""
    found: dict[Kind, list[Cost]] = defaultdict(list)
    for path in below(root, ".json"):
        with suppress(UserError, FileNotFoundError):
            record = read(path)
            kind = (record.cell.method, record.cell.backbone, record.run.precision)
            if kind in wanted and (cost := cost_of(record, path)):
                found[kind].append(cost)
    return found


def cost_of(record: Record, path: Path) -> Cost | None:
    """What a cell took; None if its record does not say."""
    made = record.run
    if not record.ok or made.seconds is None:
        return None
    disk = path.stat().st_size
    return Cost(
        record.cell,
        made.seconds / (record.queries or 1),
        made.peak_memory_mib or 0.0,
        disk,
        made.hardware or "unnamed hardware",
    )
