"""How many cells share a GPU: as many as the memory that cells like them were measured to need allows.

The first cell of each method has a GPU to itself; by what its record says it needed, the others share.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from bench.cell import Cell
from bench.data.card import load_card
from bench.errors import UserError
from bench.resolve import Resolved
from bench.store import Store

CONTEXT = 600.0  # MiB a process takes for CUDA itself, which PyTorch does not count
HEADROOM = 1.3  # workers live on, and larger data sets may come
MOST = 8  # cells a GPU: beyond that they wait for one another


def rounds(
    todo: Sequence[Resolved],
    planned: Sequence[Resolved],
    store: Store,
    gpus_per_cell: float | None,
    workers: int | None,
) -> Iterator[tuple[Sequence[Resolved], float]]:
    """(cells, GPUs per cell), to run one after the other.

    gpus_per_cell: what the user says; None: `workers` share all GPUs of this machine, or where nobody says
    how many those are, as many cells share one as its memory allows.
    """
    if gpus_per_cell is not None:
        yield todo, gpus_per_cell
        return
    import torch

    if workers:
        yield todo, 1 / -(-workers // torch.cuda.device_count())
        return
    memory = torch.cuda.get_device_properties(0).total_memory / 2**20
    yield from rounds_by_memory(todo, planned, store, memory)


def rounds_by_memory(
    todo: Sequence[Resolved], planned: Iterable[Resolved], store: Store, memory: float
) -> Iterator[tuple[list[Resolved], float]]:
    """(cells, GPUs a cell) to run one after the other; the second is decided by what the first left.

    planned: all cells of the plan, whose records in `store` are the measurements. memory: MiB of a GPU.
    """
    cells = [one.cell for one in planned]
    known = measured(cells, store)
    first: dict[str, Resolved] = {}
    for one in sorted(todo, key=lambda one: -load_card(one.cell.dataset).n_classes):  # the neediest data set
        if one.cell.method not in known:
            first.setdefault(one.cell.method, one)
    probes = list(first.values())
    if probes:
        yield probes, 1.0
    rest = [one for one in todo if first.get(one.cell.method) is not one]
    if rest:
        yield rest, share(measured(cells, store).values(), memory)


def measured(cells: Iterable[Cell], store: Store) -> dict[str, float]:
    """MiB by method: the most that one of its cells needed, where a record tells."""
    peaks: dict[str, float] = {}
    for cell in cells:
        with suppress(FileNotFoundError, UserError):
            peak = store.read(cell).run.peak_gpu_memory_mib
            if peak is not None:
                peaks[cell.method] = max(peak, peaks.get(cell.method, 0.0))
    return peaks


def share(peaks: Iterable[float], memory: float) -> float:
    """GPUs a cell takes, 1 / k: k of the neediest fit into `memory` MiB. 1 where nothing was measured."""
    need = HEADROOM * max(peaks, default=memory) + CONTEXT
    return 1 / min(MOST, max(1, int(memory / need)))
