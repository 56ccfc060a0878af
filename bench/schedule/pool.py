"""run_all: runs every cell, in this process or on Ray, and hands over one record for each."""

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from bench.errors import UserError
from bench.record import Record
from bench.resolve import Resolved
from bench.schedule.cluster import check_request, ray_session, room_for
from bench.schedule.driver import Driver, Worker
from bench.schedule.job import Event, Interrupted, Job, Run, S, Summary, attempt
from bench.schedule.process import cores, environment, one_thread, worker_environment
from bench.schedule.signals import Stopped, StopRequest

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # Ray's handler prints a crash report after SIGTERM
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # do not hide the GPUs from workers that ask for none
}


def run_all(
    cells: Iterable[Resolved],
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
    """Run every cell. Each record goes to `on_record`, in this process, as soon as its cell has ended.

    run: runs one cell, e.g. `bench.run.run_cell`. Workers must be able to import it. An exception that it
        raises becomes a failed record. A process runs several cells and keeps what it has loaded.
    workers: number of processes; None: one per physical core, or as many as the GPUs have room for.
    ray_address: "host:port" of a cluster to join; None: start a Ray, and end it before this returns.
    local: run one cell after the other in this process, without Ray.
    gpus_per_cell: share or number of GPUs that each worker asks Ray for.
    to_follow: number of cells that the caller runs after this call; after a signal they count as left.
    Raises UserError for a request that can never be met, and with `local` when a cell has spoiled this
    process and others are left; Interrupted after SIGINT, SIGTERM or SIGHUP.
    """
    todo = list(cells)
    job = Job(run, settings, on_record, on_event, StopRequest(), Summary(left=len(todo) + to_follow))
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


def _run_here(cells: list[Resolved], job: Job[S]) -> None:
    with one_thread():
        for i, resolved in enumerate(cells, 1):
            job.on_event(Event("start", resolved.cell))
            with job.stop.at_once():
                outcome = attempt(job.run, resolved, job.settings)
            job.keep(outcome.record)
            if outcome.spoiled and cells[i:]:
                raise UserError(_not_isolated(outcome.record, cells[i:]))


def _not_isolated(record: Record, left: list[Resolved]) -> str:
    """Why a run in one process ends here, on one line."""
    names = ", ".join(str(one.cell.path) for one in left[:3]) + (", ..." if len(left) > 3 else "")
    return (
        f"{record.cell.path} changed code or data of this process, which runs no more: {record.reason}. "
        f"What was finished is kept; {len(left)} cells were not run: {names}. Run the same command without "
        "--local: then each method works in a process that is replaced when it is changed."
    )


def _run_on_ray(
    cells: list[Resolved], job: Job[S], workers: int | None, address: str | None, gpus: float
) -> None:
    check_request(workers, gpus)
    with environment(QUIET), ray_session(address, max(cores(), workers or 0), gpus, job.stop) as ray:
        room = room_for(ray, workers or 1, gpus)
        # A Ray that we start has the workers' environment already, and starts its workers in advance.
        env = None if address is None else {"env_vars": worker_environment()}
        actor = ray.remote(num_cpus=1, num_gpus=gpus, runtime_env=env)(Worker)
        count = min(workers or min(room, cores() if address is None and not gpus else room), len(cells))
        new_actor = partial(actor.remote, job.run, job.settings, os.getcwd())
        Driver(ray, new_actor, job, cells).drive(count)
