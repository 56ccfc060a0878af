"""The cells that wait for a worker: by data set, and those that a machine has given back."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from bench.cell import Cell
from bench.record import Record
from bench.resolve import Resolved


@dataclass
class Refused:
    """A cell that machines could not run. record: of the last attempt. nodes: Ray's ids of these machines."""

    resolved: Resolved
    record: Record
    nodes: set[str] = field(default_factory=set)


class Queue:
    """Cells that are still to be handed out: by data set, in the order in which they came."""

    def __init__(self, cells: Iterable[Resolved]) -> None:
        self._by_dataset: dict[str, deque[Resolved]] = {}
        self._refused: dict[Cell, Refused] = {}  # every cell that a machine has refused
        self._returned: dict[Cell, Refused] = {}  # those of them that wait here
        for resolved in cells:
            self._by_dataset.setdefault(resolved.cell.dataset, deque()).append(resolved)

    def __bool__(self) -> bool:
        return bool(self._returned) or any(self._by_dataset.values())

    def take(self, holds: str, others: Iterable[str], node: str = "") -> Resolved | None:
        """The next cell for a worker that has the data set `holds` in memory; None if no cell is left for it.

        others: the data sets that the other workers have in memory. node: its machine. The worker gets a cell
        that another machine gave back if there is one, else a cell of its own data set, else of a data set
        that no other worker holds, else of the data set with the most cells left.
        """
        for cell, one in self._returned.items():
            if node not in one.nodes:
                del self._returned[cell]
                return one.resolved
        left = {name: cells for name, cells in self._by_dataset.items() if cells}
        if not left:
            return None
        free = [name for name in left if name not in set(others)]
        busiest = max(left, key=lambda name: len(left[name]))
        return left[holds if holds in left else free[0] if free else busiest].popleft()

    def put_first(self, resolved: Resolved) -> None:
        """Take back a cell that was not begun."""
        self._by_dataset.setdefault(resolved.cell.dataset, deque()).appendleft(resolved)

    def give_back(self, resolved: Resolved, record: Record, node: str) -> None:
        """Take back a cell that this machine cannot run. It never gets it again."""
        one = self._refused.setdefault(resolved.cell, Refused(resolved, record))
        one.record = record
        one.nodes.add(node)
        self._returned[resolved.cell] = one

    def returned(self) -> list[Refused]:
        """The cells that were given back and wait for another machine."""
        return list(self._returned.values())

    def drop(self, one: Refused) -> None:
        """Remove a cell that no machine can run."""
        del self._returned[one.resolved.cell]
