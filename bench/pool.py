"""Cells -> Ray actors -> records. Workers keep what they loaded; the driver alone hands out and writes."""

import logging
import os
import signal
import socket
import sysconfig
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from bench.cell import Cell
from bench.errors import UserError
from bench.paths import HOME
from bench.signals import Stopped, StopRequest
from bench.store import Record, failure, reason

S = TypeVar("S")  # the settings of a run: frozen and picklable, handed through as they are
Run = Callable[[Cell, S], Record]

RETRIES = 2  # of a cell whose worker died; what a method raises is an answer, and is never retried
FAILED_STARTS = 3  # workers in a row that died before they were up: something is wrong with all of them
PATIENCE = 60.0  # seconds without a first worker before we say so: a cluster may be busy for hours
POLL = 0.5  # seconds between looks at the stop request
OBJECT_STORE = 100 << 20  # bytes; records are all that travels, and Ray asks for 75 MiB at least
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
FOLDERS = (
    "BENCH_CACHE",
    "BENCH_DATA",
    "BENCH_DATASETS",
    "BENCH_METHODS",
    "BENCH_SUITES",
)  # variables handed to workers
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # it answers SIGTERM with a crash report
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a worker without a GPU share sees the machine as it is
}


@dataclass(frozen=True)
class Event:
    """Something a user may want to see while it happens."""

    # a worker is up; none is for a long time; a cell was handed out; a worker died
    kind: Literal["ready", "waiting", "start", "lost"]
    cell: Cell | None = None  # of "lost": the one that is tried again, if any
    detail: str = ""


@dataclass
class Summary:
    """What a run came to."""

    done: int = 0
    failed: list[tuple[Cell, str]] = field(default_factory=list)  # with the last line of the error
    lost: int = 0  # workers that died
    queries: int = 0
    left: int = 0  # cells that did not run, or not to their end
    seconds: float = 0.0


class Interrupted(Exception):
    """A signal stopped the run. What had finished is written; `summary` says what is left."""

    def __init__(self, signum: int, summary: Summary) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum, self.summary = signum, summary


@dataclass(frozen=True)
class _Job(Generic[S]):
    """What a run is told, and what comes of it."""

    run: Run[S]
    settings: S
    on_record: Callable[[Record], Any]
    on_event: Callable[[Event], Any]
    stop: StopRequest
    summary: Summary

    def keep(self, cell: Cell, record: Record) -> None:
        """Pass a record on and count it."""
        self.on_record(record)
        self.summary.left -= 1
        self.summary.queries += record.get("queries", 0)
        if record["status"] == "ok":
            self.summary.done += 1
        else:
            self.summary.failed.append((cell, reason(record)))


def run_all(
    cells: Iterable[Cell],
    settings: S,
    *,
    run: Run[S],
    on_record: Callable[[Record], Any],
    on_event: Callable[[Event], Any] = lambda event: None,
    workers: int | None = None,
    ray_address: str | None = None,
    local: bool = False,
    gpus_per_cell: float = 0.0,
    to_follow: int = 0,
) -> Summary:
    """Run every cell; hand each record to `on_record`, in this process, as soon as it is there.

    run: importable where the workers are, e.g. `bench.run.run_cell`. What it raises becomes the cell's failed
        record. Its process lives on between cells, and so does all that it keeps there.
    workers: processes; by default one a physical core, or as many as the GPUs have room for.
    ray_address: "host:port" of a cluster to join; by default a Ray of our own, gone when this returns.
    local: one cell after the other in this process, without Ray.
    to_follow: cells of another call behind this one; a signal leaves them over too.
    Raises UserError for a request that can never be met, Interrupted after SIGINT, SIGTERM or SIGHUP.
    """
    todo = list(cells)
    job = _Job(run, settings, on_record, on_event, StopRequest(), Summary(left=len(todo) + to_follow))
    begun = time.monotonic()
    with job.stop, suppress(Stopped):
        if local:
            _run_here(todo, job)
        elif todo:
            _run_on_ray(todo, job, workers, ray_address, gpus_per_cell)
    job.summary.seconds = time.monotonic() - begun
    if job.stop.signum is not None and job.summary.left:
        raise Interrupted(job.stop.signum, job.summary)
    return job.summary


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


def _attempt(run: Run[S], cell: Cell, settings: S) -> Record:
    """The record of a cell: a failed one, with the same traceback here and in a worker, if `run` raised."""
    try:
        return run(cell, settings)
    except UserError as error:
        return failure(cell, str(error))
    except (Exception, SystemExit):
        return failure(cell, traceback.format_exc())


# In this process


def _run_here(cells: list[Cell], job: _Job[S]) -> None:
    with _one_thread():
        for cell in cells:
            job.on_event(Event("start", cell))
            with job.stop.at_once():
                record = _attempt(job.run, cell, job.settings)
            job.keep(cell, record)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread a process: in sum faster than several, and the same sums in the same order everywhere."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    with _environment(ONE_THREAD), threadpool_limits(1):  # libraries still to be loaded, and loaded ones
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# On Ray


class Worker(Generic[S]):
    """The actor: a process that runs one cell after another."""

    def __init__(self, run: Run[S], settings: S, folder: str) -> None:
        self._run, self._settings = run, settings
        with suppress(OSError):  # on another machine it may not exist
            os.chdir(folder)  # the driver's, so that relative paths mean the same; on sys.path it is not
        self._threads = _one_thread()
        self._threads.__enter__()  # for as long as the process lives

    def pid(self) -> int:
        """Answers as soon as the worker is up."""
        return os.getpid()

    def work(self, cell: Cell) -> Record:
        """One cell's record."""
        return _attempt(self._run, cell, self._settings)


@dataclass(eq=False)
class _Hand:
    """The driver's view of a worker."""

    actor: Any
    cell: Cell | None  # being worked on; before the worker is up, the one it is meant for
    up: bool = False
    holds: str = ""  # the data set it worked on last


class _Queue:
    """Cells to hand out, by data set, in their order."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self._by_dataset: dict[str, deque[Cell]] = {}
        for cell in cells:
            self._by_dataset.setdefault(cell.dataset, deque()).append(cell)

    def __bool__(self) -> bool:
        return any(self._by_dataset.values())

    def take(self, holds: str, others: Iterable[str]) -> Cell | None:
        """The next cell for a worker that holds one data set while the others hold theirs.

        Its own data set first, then one that nobody holds, then the one with the most left to do.
        """
        left = {name: cells for name, cells in self._by_dataset.items() if cells}
        if not left:
            return None
        free = [name for name in left if name not in set(others)]
        busiest = max(left, key=lambda name: len(left[name]))
        return left[holds if holds in left else free[0] if free else busiest].popleft()


def _run_on_ray(
    cells: list[Cell], job: _Job[S], workers: int | None, address: str | None, gpus: float
) -> None:
    _check_request(workers, gpus)
    with _environment(QUIET), _ray(address, max(cores(), workers or 0), gpus, job.stop) as ray:
        room = _room(ray, workers or 1, gpus)
        # A Ray of our own has the workers' environment already, and starts them while it starts itself.
        env = None if address is None else {"env_vars": _worker_environment()}
        actor = ray.remote(num_cpus=1, num_gpus=gpus, runtime_env=env)(Worker)
        count = min(workers or min(room, cores() if address is None and not gpus else room), len(cells))
        new_actor = partial(actor.remote, job.run, job.settings, os.getcwd())
        _Driver(ray, new_actor, job, cells).drive(count)


def _check_request(workers: int | None, gpus: float) -> None:
    if workers is not None and workers < 1:
        raise UserError(f"--workers is {workers}, but must be at least 1.")
    if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise UserError(f"--gpus-per-cell is {gpus:g}, but must be a share from 0 to 1 or a whole number.")


def _room(ray: Any, workers: int, gpus: float) -> int:
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


def _worker_environment() -> dict[str, str]:
    """What a worker needs to know: where the package lies (unless it is installed), folders, one thread."""
    path = os.environ.get("PYTHONPATH", "")
    if Path(sysconfig.get_path("purelib")) != HOME:
        path = os.pathsep.join(filter(None, (str(HOME), path)))
    folders = {name: os.environ[name] for name in FOLDERS if name in os.environ}
    return {**ONE_THREAD, **folders, **({"PYTHONPATH": path} if path else {})}


class _Driver(Generic[S]):
    """Hands out cells, takes in records, replaces workers that died."""

    def __init__(self, ray: Any, new_actor: Callable[[], Any], job: _Job[S], cells: list[Cell]) -> None:
        self.ray, self.new_actor, self.job = ray, new_actor, job
        self.queue = _Queue(cells)
        self.waiting: dict[Any, _Hand] = {}  # by the reference that its next answer will have
        self.deaths: Counter[Cell] = Counter()
        self.failed_starts = 0
        self.say_waiting_at: float | None = time.monotonic() + PATIENCE  # None once a worker is up

    def drive(self, workers: int) -> None:
        """Until every cell has its record, or someone asks to stop."""
        for _ in range(workers):
            self.start(None)
        while self.queue or any(hand.cell for hand in self.waiting.values()):
            ready, _ = self.ray.wait(list(self.waiting), timeout=POLL)
            for reference in ready:
                hand = self.waiting.pop(reference)
                if self.take_in(hand, reference) and self.job.stop.signum is None:
                    self.hand_out(hand)
            if self.say_waiting_at is not None and time.monotonic() > self.say_waiting_at:
                self.say_waiting_at = None
                self.job.on_event(Event("waiting", detail="no worker is up yet; is the cluster busy?"))
            if self.job.stop.signum is not None:
                return

    def start(self, cell: Cell | None) -> None:
        """A fresh worker, for any cell or for one whose worker died."""
        actor = self.new_actor()
        self.waiting[actor.pid.remote()] = _Hand(actor, cell)

    def hand_out(self, hand: _Hand) -> None:
        """Give a worker that is up its next cell, if there is one."""
        others = [other.holds for other in self.waiting.values()]
        cell = hand.cell = hand.cell or self.queue.take(hand.holds, others)
        if cell is not None:
            hand.holds = cell.dataset
            self.job.on_event(Event("start", cell))
            self.waiting[hand.actor.work.remote(cell)] = hand

    def take_in(self, hand: _Hand, reference: Any) -> bool:
        """A worker's answer. False if it was its death."""
        errors = self.ray.exceptions
        try:
            answer = self.ray.get(reference)
        except errors.RayTaskError as error:  # the record itself could not be sent
            answer = failure(hand.cell, str(error)) if hand.cell else None
        except errors.RayError as error:
            self.lose(hand, _reason(error))
            return False
        if hand.up and hand.cell is not None:
            self.job.keep(hand.cell, answer)
            hand.cell = None
        elif not hand.up:
            hand.up, self.failed_starts, self.say_waiting_at = True, 0, None
            self.job.on_event(Event("ready", detail=f"worker {answer}"))
        return True

    def lose(self, hand: _Hand, reason: str) -> None:
        """A worker died: killed by the system, a crash in native code, a lost node."""
        self.job.summary.lost += 1
        if not hand.up:
            self.failed_starts += 1
            if self.failed_starts == FAILED_STARTS:
                raise UserError(f"{FAILED_STARTS} workers in a row did not start. The last one: {reason}")
        elif hand.cell is not None:
            self.deaths[hand.cell] += 1
            if self.deaths[hand.cell] > RETRIES:
                lost = f"{1 + RETRIES} workers died while they ran this cell. The last one: {reason}"
                self.job.keep(hand.cell, failure(hand.cell, lost))
                hand.cell = None
        self.job.on_event(Event("lost", hand.cell, reason))
        self.start(hand.cell)


def _reason(error: Exception) -> str:
    """Why a worker died, on one line: the last thing Ray says, without its advice and its numbers."""
    last = str(error).strip().rpartition("\n")[2]
    return last.partition(" Some common causes")[0]


@contextmanager
def _ray(address: str | None, cpus: int, gpus: float, stop: StopRequest) -> Iterator[Any]:
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
            with _inside(folder), _environment(_worker_environment()), stop.keep():
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
