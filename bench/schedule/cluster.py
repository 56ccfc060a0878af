"""Starts or joins Ray from an empty folder, and ends it afterwards with all its processes."""

import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from bench.errors import UserError
from bench.files import reason, refusing, shown
from bench.pulse import Stopped
from bench.schedule.process import environment, worker_environment
from bench.schedule.signals import StopRequest

ANSWER = 10.0  # seconds that the head of a cluster has for a first answer
ASK_HEAD = 10.0  # seconds between two looks at the head of a joined cluster
HEAD_AWAY = 45.0  # seconds without an answer after which it counts as dead; Ray itself aborts after 60
OBJECT_STORE = 100 << 20  # bytes; only records are sent, and Ray needs at least 75 MiB


def check_request(workers: int | None, gpus: float) -> None:
    """Raise UserError for a number of workers or GPUs per cell that Ray cannot give."""
    if workers is not None and workers < 1:
        raise UserError(f"--workers is {workers}, but must be at least 1.")
    if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise UserError(f"--gpus-per-cell is {gpus:g}, but must be between 0 and 1 or a whole number.")


def room_for(ray: Any, workers: int, gpus: float) -> int:
    """How many workers fit on the live nodes, if each worker runs on one node.

    Raises UserError if fewer fit than `workers`, because Ray would then wait without end.
    """
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
def ray_session(address: str | None, cpus: int, gpus: float, stop: StopRequest) -> Iterator["Session"]:
    """Ray, started or joined from an empty folder. On exit, Ray and all processes that it started are ended.

    address: "host:port" or "auto" to join a cluster; None starts a Ray with `cpus` CPUs.
    gpus: whether cells ask for GPUs at all: above 0 they do.
    Raises UserError if Ray already runs in this process, or does not start or answer; Stopped after a signal.
    """
    import ray

    if ray.is_initialized():
        raise UserError("Ray already runs in this process: call ray.shutdown() first, or run with --local.")
    if address is not None:
        _check_reachable(address)
    with _temporary() as folder:
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
            yield Session(ray, address)
        finally:
            ray.shutdown()


class Session:
    """A Ray that runs. address: of the cluster that was joined; None: this process has started Ray."""

    def __init__(self, ray: Any, address: str | None) -> None:
        self.ray, self.address = ray, address
        self._node: str = ray.get_runtime_context().get_node_id()
        self._heard = self._asked = time.monotonic()

    def nodes(self) -> set[str]:
        """Ray's ids of the machines that are alive and run cells."""
        return {n["NodeID"] for n in self.ray.nodes() if n["Alive"] and n["Resources"].get("CPU")}

    def check(self) -> None:
        """Raise UserError if Ray itself has died: it would let us wait without end, or end this process."""
        if self.address is None:
            dead = sorted({name for name, _ in _own_node().dead_processes()} & {"gcs_server", "raylet"})
            if dead:
                raise _died(f"Ray's process {dead[0]} has died, and no worker can go on without it")
        elif time.monotonic() > self._asked + ASK_HEAD:
            self._check_cluster()

    def _check_cluster(self) -> None:
        self._asked = time.monotonic()
        head = self.ray.get_runtime_context().gcs_address
        if (fault := head_fault(head, 2.0)) is None:
            self._heard = time.monotonic()
            if not any(n["NodeID"] == self._node and n["Alive"] for n in self.ray.nodes()):
                raise _died("the Ray node of this machine has died, and its driver with it")
        elif time.monotonic() > self._heard + HEAD_AWAY - ASK_HEAD:
            raise _died(f"the head of the Ray cluster at {head} has died ({fault})")


def _died(what: str) -> UserError:
    return UserError(f"{what}. Finished cells are kept: run the same command again to continue.")


def _own_node() -> Any:
    """Ray's handle on the processes that it has started."""
    from ray._private import worker

    return worker._global_node


def _init(ray: Any, address: str | None, own: dict[str, Any], stop: StopRequest) -> None:
    """Call ray.init. Raises UserError with Ray's error on one line, and Stopped after a signal."""
    # An interrupted start leaves processes behind, so a signal waits until the start is complete. Joining a
    # cluster starts no process and can be interrupted.
    cut = nullcontext() if address is None else stop.at_once()
    try:
        with cut:
            options = own if address is None else {"address": address}
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises many types, and Exception itself if its processes die
        line = str(error).strip().partition("\n")[0]
        if address is None:
            raise UserError(f"Ray does not start: {line}. Use --local to run without Ray.") from error
        token = "Both sides need the same version of Ray. If it asks for a token, set RAY_AUTH_MODE=token."
        raise UserError(f"cannot join the Ray cluster at {address}: {line}. {token}") from error
    if stop.signum is not None:
        raise Stopped
    # Ray prints a paragraph for every worker that dies; the caller gets an event instead.
    ray._private.worker.print_to_stdstream = lambda *args, **kwargs: None


def _check_reachable(address: str) -> None:
    """Raise UserError if no Ray answers at this address. ray.init would try for minutes, deaf to Ctrl-C."""
    _, _, port = address.rpartition(":")
    if port.isdecimal() and "://" not in address and (fault := head_fault(address, ANSWER)):
        raise UserError(
            f"nothing answers at --ray-address {shown(address)}: {fault}. Start a cluster "
            "there with `ray start --head`, or leave out --ray-address."
        )


def head_fault(address: str, seconds: float) -> str | None:
    """Why the head of a cluster does not answer within so many seconds; None if it does.

    Ray's head speaks gRPC, so it answers the first bytes of an HTTP/2 connection with its settings
    (RFC 9113, 3.4). A machine that hangs accepts the connection and does not answer.
    """
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=seconds) as connection:
            if os.environ.get("RAY_USE_TLS") == "1":
                return None  # what follows would have to be encrypted
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
            answer = connection.recv(9)
    except TimeoutError:
        return f"it takes connections and does not answer within {seconds:.0f} s"
    except (OSError, OverflowError, ValueError) as error:  # a port of 6 digits, a name of 300 letters
        return reason(error)
    return None if answer[3:4] == b"\x04" else "it answers, but not as a Ray does"


def _temporary() -> "tempfile.TemporaryDirectory[str]":
    """A new folder for Ray's files. Raises UserError where none can be made."""
    base = os.environ.get("RAY_TMPDIR") or _short_temp()
    remedy = "Set RAY_TMPDIR to a folder that can be written, or use --local to run without Ray."
    with refusing(f"Ray cannot keep its files in {shown(base)}", remedy):
        return tempfile.TemporaryDirectory(prefix="bench-", dir=base, ignore_cleanup_errors=True)


def _short_temp() -> str:
    """A folder with a path short enough for Ray's sockets: the whole path may have 107 bytes."""
    return "/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir()


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    """Make `folder` the current folder for a while.

    Ray puts the current folder first on its workers' import path, and the user's folder may hold any files.
    """
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
