"""run_all, run_parts: run every cell, in this process or on Ray, and hand over one record for each."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from bench.errors import UserError
from bench.pulse import LIMITS, Limits, Pulse, Stopped
from bench.record import Record
from bench.resolve import Resolved
from bench.schedule.cluster import Session, check_request, ray_session, room_for
from bench.schedule.driver import Driver, NewActor
from bench.schedule.job import Event, Interrupted, Job, Outcome, Run, S, Summary, attempt
from bench.schedule.process import cores, environment, one_thread, worker_environment
from bench.schedule.signals import StopRequest
from bench.schedule.watch import watched
from bench.schedule.worker import PULSE_GROUP, Worker
from bench.words import counted

Part = tuple[Sequence[Resolved], float]  # cells, and the GPUs of each
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # Ray's handler prints a crash report after SIGTERM
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # do not hide the GPUs from workers that ask for none
}


def run_all(
    cells: Iterable[Resolved],
    settings: S,
    *,
    gpus_per_cell: float = 0.0,
    **how: Any,
) -> Summary:
    """Run every cell. gpus_per_cell: share or number of GPUs that a worker asks for. Rest: see run_parts."""
    todo = list(cells)
    return run_parts([(todo, gpus_per_cell)] if todo else [], len(todo), settings, **how)


def run_parts(
    parts: Iterable[Part],
    total: int,
    settings: S,
    *,
    run: Run[S],
    on_record: Callable[[Record], Any],
    on_event: Callable[[Event], Any] = lambda event: None,
    workers: int | None = None,
    ray_address: str | None = None,
    local: bool = False,
    limits: Limits = LIMITS,
) -> Summary:
    """Run every cell, one part after the other.

    Each record goes to `on_record`, in this process, as soon as its cell has ended.
    parts: made when they are needed, so that a part can depend on the records of those before it. total: the
    number of cells in them.
    run: runs one cell, e.g. `bench.runner.run_cell`. Workers must be able to import it. An exception that it
        raises becomes a failed record. A process runs several cells and keeps what it has loaded.
    workers: number of processes; None: one per physical core, or as many as the GPUs have room for.
    ray_address: "host:port" of a cluster to join; None: start a Ray, and end it before this returns.
    local: run one cell after the other in this process, without Ray.
    limits: a cell that passes them fails, and its worker is replaced.
    Raises UserError for a request that can never be met, if Ray dies, and with `local` if a cell has spoiled
    this process and others are left; Interrupted after SIGINT, SIGTERM or SIGHUP.
    """
    job = Job(run, settings, on_record, on_event, StopRequest(), Summary(left=total), limits)
    begun = time.monotonic()
    with job.stop, suppress(Stopped):
        if local:
            _run_here([one for cells, _ in parts for one in cells], job)
        else:
            _run_on_ray((part for part in parts if part[0]), job, workers, ray_address)
    job.summary.seconds = time.monotonic() - begun
    if job.stop.signum is not None and job.summary.left:
        raise Interrupted(job.stop.signum, job.summary)
    return job.summary


def _run_here(cells: list[Resolved], job: Job[S]) -> None:
    with one_thread():
        for i, resolved in enumerate(cells, 1):
            job.on_event(Event("start", resolved.cell))
            with job.stop.at_once():
                outcome = _attempt_here(resolved, job)
            job.keep(outcome.record)
            if outcome.spoiled and cells[i:]:
                raise UserError(_not_isolated(outcome.record, cells[i:]))


def _attempt_here(resolved: Resolved, job: Job[S]) -> Outcome:
    """Run a cell in this process, watched by another thread."""
    pulse = Pulse()
    with watched(pulse, job.limits, lambda sign: job.on_event(Event("pulse", resolved.cell, sign=sign))):
        return attempt(job.run, resolved, job.settings, pulse)


def _not_isolated(record: Record, left: list[Resolved]) -> str:
    """Why a run in one process ends here, on one line."""
    names = ", ".join(str(one.cell.path) for one in left[:3]) + (", ..." if len(left) > 3 else "")
    not_run = counted(len(left), "cell was", "cells were")
    return (
        f"{record.cell.path} changed code or data of this process, which runs no more: {record.reason}. "
        f"What was finished is kept; {not_run} not run: {names}. Run the same command without "
        "--local: then each method works in a process that is replaced when it is changed."
    )


def _run_on_ray(parts: Iterator[Part], job: Job[S], workers: int | None, address: str | None) -> None:
    """Run all parts with one Ray."""
    first = next(parts, None)
    if first is None:
        return
    gpus = first[1]
    check_request(workers, gpus)
    with environment(QUIET), ray_session(address, max(cores(), workers or 0), gpus, job.stop) as session:
        if address is not None and not gpus and (cards := session.ray.cluster_resources().get("GPU", 0)):
            job.on_event(Event("note", detail=_unused(cards)))
        for cells, gpus in chain([first], parts):
            if job.stop.signum is None:
                _run_part(list(cells), gpus, job, workers, session)


def _unused(cards: float) -> str:
    return (
        f"the cells run on processors, because this machine has no GPU; {cards:g} GPU(s) of the cluster stay "
        "unused. Add --gpus-per-cell 1, or a share as 0.25, to run on them"
    )


def _run_part(cells: list[Resolved], gpus: float, job: Job[S], workers: int | None, session: Session) -> None:
    """Run cells that ask for the same share of a GPU."""
    check_request(workers, gpus)
    room = room_for(session.ray, workers or 1, gpus)
    own = session.address is None
    count = min(workers or min(room, cores() if own and not gpus else room), len(cells))
    driver = Driver(session.ray, _new_actor(job, gpus, session), job, cells, session.check, session.nodes)
    driver.drive(count)
    if job.stop.signum is None:
        driver.dismiss()


def _new_actor(job: Job[S], gpus: float, session: Session) -> NewActor:
    """Starts a worker that asks for one CPU and for `gpus` GPUs."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray = session.ray
    # A Ray that we start has the workers' environment already, and starts its workers in advance.
    env = None if session.address is None else {"env_vars": worker_environment()}
    actor = ray.remote(num_cpus=1, num_gpus=gpus, runtime_env=env, concurrency_groups={PULSE_GROUP: 1})(
        Worker
    )
    given = (job.run, job.settings, os.getcwd(), job.limits.memory)

    def new(node: str) -> Any:
        where = NodeAffinitySchedulingStrategy(node, soft=False) if node else "DEFAULT"
        return actor.options(scheduling_strategy=where).remote(*given)

    return new
