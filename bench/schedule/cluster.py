"""Ray itself: started or joined from a neutral folder, and gone afterwards with all its processes."""

import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from bench.errors import UserError
from bench.schedule.process import environment, worker_environment
from bench.schedule.signals import Stopped, StopRequest

OBJECT_STORE = 100 << 20  # bytes; records are all that travels, and Ray asks for 75 MiB at least


def check_request(workers: int | None, gpus: float) -> None:
    if workers is not None and workers < 1:
        raise UserError(f"--workers is {workers}, but must be at least 1.")
    if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise UserError(f"--gpus-per-cell is {gpus:g}, but must be a share from 0 to 1 or a whole number.")


def room_for(ray: Any, workers: int, gpus: float) -> int:
    """Workers that the living nodes have room for, each on one node. Raises UserError if too few: Ray would
    wait for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = 0
    for node in nodes:
        cards = node.get("GPU", 0.0)
        by_gpu = cards * int(1 / gpus + 1e-9) if 0 < gpus < 1 else cards // gpus if gpus else float("inf")
        room += int(min(node.get("CPU", 0.0), by_gpu))
    if workers > room:
        each = "1 CPU" + (f" and {gpus:g} GPU" if gpus else "")
        cpu, gpu = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
        raise UserError(
            f"{workers} worker(s) of {each} each are asked for, but there is room for {room}: {cpu:g} CPU "
            f"and {gpu:g} GPU on {len(nodes)} machine(s). Lower --workers or --gpus-per-cell."
        )
    return room


@contextmanager
def ray_session(address: str | None, cpus: int, gpus: float, stop: StopRequest) -> Iterator[Any]:
    """Ray, joined or started from a neutral folder, and gone afterwards with all its processes."""
    import ray

    if ray.is_initialized():
        raise UserError("Ray runs in this process already: ray.shutdown() it first, or run locally.")
    if address is not None:
        _check_reachable(address)
    base = os.environ.get("RAY_TMPDIR") or _short_temp()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=base, ignore_cleanup_errors=True) as folder:
        own = {
            "address": "local",
            "num_cpus": cpus,
            "num_gpus": None if gpus else 0,
            "object_store_memory": OBJECT_STORE,
            "include_dashboard": False,
            "_temp_dir": folder,
        }
        try:
            with _inside(folder), environment(worker_environment()), stop.keep():
                _init(ray, address, own, stop)
            yield ray
        finally:
            ray.shutdown()


def _init(ray: Any, address: str | None, own: dict[str, Any], stop: StopRequest) -> None:
    """ray.init, with its errors on one line. Raises UserError, Stopped."""
    # A start that is cut short leaves processes behind, so a signal waits for its end; joining starts none.
    cut = nullcontext() if address is None else stop.at_once()
    try:
        with cut:
            options = own if address is None else {"address": address}
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        line = str(error).strip().partition("\n")[0]
        if address is None:
            raise UserError(f"Ray does not start: {line} (--local runs without Ray.)") from error
        token = "If it asks for a token, set RAY_AUTH_MODE=token; the version of Ray must be the same."
        raise UserError(f"Ray does not join the cluster at {address}: {line}. {token}") from error
    if stop.signum is not None:
        raise Stopped
    # Ray prints a paragraph for every worker that dies; our caller gets an event instead.
    ray._private.worker.print_to_stdstream = lambda *args, **kwargs: None


def _check_reachable(address: str) -> None:
    """ray.init tries for minutes; a closed port is known at once. Raises UserError."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "://" not in address:
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise UserError(
                f"nothing answers at --ray-address {address}: {error.strerror or error}. Start a cluster "
                "there with `ray start --head`, or leave the option out."
            ) from error


def _short_temp() -> str:
    """A place whose path is short enough for Ray's sockets (107 bytes in all)."""
    return "/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir()


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    """Ray puts the current folder first on its workers' path; ours may hold anything."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
