"""How many cells share a GPU: as many as fit into its memory, by what such cells were measured to need.

The first cell of each method has a GPU to itself. Its record says how much memory it needed, and that decides
how many of the other cells share a GPU.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from bench.cell import Cell
from bench.data.card import load_card
from bench.errors import UserError
from bench.resolve import Resolved
from bench.store import Store

CONTEXT = 600.0  # MiB that each process takes for CUDA itself; PyTorch does not count them
HEADROOM = 1.3  # factor on the measured memory: a worker keeps memory, and larger data sets may follow
MOST = 8  # cells per GPU; more of them would only wait for one another


def rounds(
    todo: Sequence[Resolved],
    planned: Sequence[Resolved],
    store: Store,
    gpus_per_cell: float | None,
    workers: int | None,
) -> Iterator[tuple[Sequence[Resolved], float]]:
    """The parts of a run, as (cells, GPUs per cell), to run one after the other.

    gpus_per_cell: the user's choice. None: `workers` share all GPUs of this machine; if `workers` is None
    too, the GPUs' memory decides (see rounds_by_memory).
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
    """At most two parts of a run, as (cells, GPUs per cell). The first one measures for the second one.

    planned: all cells of the plan; their records in `store` are the measurements. memory: of one GPU, in MiB.
    """
    cells = [one.cell for one in planned]
    known = measured(cells, store)
    first: dict[str, Resolved] = {}
    # The data set with the most classes needs the most memory, so it comes first.
    for one in sorted(todo, key=lambda one: -load_card(one.cell.dataset).n_classes):
        if one.cell.method not in known:
            first.setdefault(one.cell.method, one)
    probes = list(first.values())
    if probes:
        yield probes, 1.0
    rest = [one for one in todo if first.get(one.cell.method) is not one]
    if rest:
        yield rest, share(measured(cells, store).values(), memory)


def measured(cells: Iterable[Cell], store: Store) -> dict[str, float]:
    """Method -> the most memory that a cell of it needed, in MiB. Only methods whose records state it."""
    peaks: dict[str, float] = {}
    for cell in cells:
        with suppress(FileNotFoundError, UserError):
            peak = store.read(cell).run.peak_gpu_memory_mib
            if peak is not None:
                peaks[cell.method] = max(peak, peaks.get(cell.method, 0.0))
    return peaks


def share(peaks: Iterable[float], memory: float) -> float:
    """GPUs per cell, 1 / k, where k cells of the largest peak fit into `memory`; 1 if `peaks` is empty.

    peaks: the memory that cells needed, in MiB. memory: of one GPU, in MiB.
    """
    need = HEADROOM * max(peaks, default=memory) + CONTEXT
    return 1 / min(MOST, max(1, int(memory / need)))
