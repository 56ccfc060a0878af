"""Sets up a process that runs cells: one thread, and the environment variables that it needs."""

import os
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.paths import HOME
from bench.plugins import KINDS

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
HANDED_ON = ("BENCH_CACHE", "BENCH_DATA")  # variables that the driver passes on to its workers


def cores() -> int:
    """How many physical cores this process may use, by its CPU affinity and its container's quota."""
    if not hasattr(os, "sched_getaffinity"):  # macOS
        return os.cpu_count() or 1
    siblings = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    physical = len({_read(siblings.format(cpu)) or cpu for cpu in os.sched_getaffinity(0)})
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    return max(1, min(physical, int(quota) // int(period))) if quota.isdigit() else physical


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread inside the block.

    Many processes of one thread do more work than a few of several threads, and with one thread every sum has
    the same order on every machine.
    """
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    # The variables are for libraries that are loaded later, the limits for those that are loaded already.
    with environment(ONE_THREAD), threadpool_limits(1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables inside the block, and restore the old values after it."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def limit_memory(most: int | None) -> None:
    """Let this process and its children take at most so many bytes each; None: no limit.

    Memory beyond it is a MemoryError in Python and a RuntimeError in torch. Linux counts private memory here,
    other systems may count none.
    """
    if most is not None:
        import resource

        with suppress(ValueError, OSError):  # above what the system allows already
            resource.setrlimit(resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def worker_environment() -> dict[str, str]:
    """A worker's variables: the package's folder (unless it is installed), the user's folders, one thread."""
    path = os.environ.get("PYTHONPATH", "")
    if Path(sysconfig.get_path("purelib")) != HOME:
        path = os.pathsep.join(filter(None, (str(HOME), path)))
    folders = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    folders |= {kind.variable: str(kind.own) for kind in KINDS if kind.own}
    return {**ONE_THREAD, **folders, **({"PYTHONPATH": path} if path else {})}
