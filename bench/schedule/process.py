"""A process set up for cells: one thread, and the environment that its work needs."""

import os
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.paths import HOME
from bench.plugins import VARIABLES

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
HANDED_ON = ("BENCH_CACHE", "BENCH_DATA", *VARIABLES)  # variables that workers get from the driver


def cores() -> int:
    """Physical cores that this process may use: its affinity and its container's quota are respected."""
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
    """One thread per process: in sum faster than several, and the same sums in the same order everywhere."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    with environment(ONE_THREAD), threadpool_limits(1):  # libraries still to be loaded, and loaded ones
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables that hold inside the block alone."""
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


def worker_environment() -> dict[str, str]:
    """What a worker needs to know: where the package lies (unless it is installed), folders, one thread."""
    path = os.environ.get("PYTHONPATH", "")
    if Path(sysconfig.get_path("purelib")) != HOME:
        path = os.pathsep.join(filter(None, (str(HOME), path)))
    folders = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    return {**ONE_THREAD, **folders, **({"PYTHONPATH": path} if path else {})}
