"""How many cells share a GPU: as many as the memory that cells like them were measured to need allows.

The first cell of each method has a GPU to itself; by what its record says it needed, the others share.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from bench.cell import Cell
from bench.data.card import load_card
from bench.errors import UserError
from bench.store import Store

PEAK = "peak_gpu_memory_mib"  # in a record's "run": what PyTorch reserved in the worker's life up to then
CONTEXT = 600.0  # MiB a process takes for CUDA itself, which PyTorch does not count
HEADROOM = 1.3  # workers live on, and larger data sets may come
MOST = 8  # cells a GPU: beyond that they wait for one another


def rounds_by_memory(
    todo: Sequence[Cell], planned: Iterable[Cell], store: Store, memory: float
) -> Iterator[tuple[list[Cell], float]]:
    """(cells, GPUs a cell) to run one after the other; the second is decided by what the first left.

    planned: all cells of the plan, whose records in `store` are the measurements. memory: MiB of a GPU.
    """
    planned = list(planned)
    known = measured(planned, store)
    first: dict[str, Cell] = {}
    for cell in sorted(todo, key=lambda cell: -load_card(cell.dataset).n_classes):  # the neediest data set
        if cell.method not in known:
            first.setdefault(cell.method, cell)
    probes = list(first.values())
    if probes:
        yield probes, 1.0
    rest = [cell for cell in todo if first.get(cell.method) != cell]
    if rest:
        yield rest, share(measured(planned, store).values(), memory)


def measured(cells: Iterable[Cell], store: Store) -> dict[str, float]:
    """MiB by method: the most that one of its cells needed, where a record tells."""
    peaks: dict[str, float] = {}
    for cell in cells:
        with suppress(FileNotFoundError, UserError):
            peak = store.read(cell)["run"].get(PEAK)
            if peak is not None:
                peaks[cell.method] = max(peak, peaks.get(cell.method, 0.0))
    return peaks


def share(peaks: Iterable[float], memory: float) -> float:
    """GPUs a cell takes, 1 / k: k of the neediest fit into `memory` MiB. 1 where nothing was measured."""
    need = HEADROOM * max(peaks, default=memory) + CONTEXT
    return 1 / min(MOST, max(1, int(memory / need)))
