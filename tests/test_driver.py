"""The driver with a made-up Ray that answers at once: cells that are given back, late and lost workers."""

from collections.abc import Callable
from typing import Any

import pytest
import ray.exceptions
from toy_runs import record, resolved

from bench.errors import UserError
from bench.pulse import Limits, Sign
from bench.record import Record, failure
from bench.resolve import Resolved
from bench.schedule import driver as drivers
from bench.schedule.driver import Driver
from bench.schedule.job import Event, Job, Outcome, Summary
from bench.schedule.signals import StopRequest

Answer = Callable[[], Any]  # None: it does not come
Work = Callable[[str, Resolved], Outcome | None]  # (machine, cell) -> what comes of it


class Remote:
    """A method of an actor."""

    def __init__(self, ray: "MadeUpRay", answer: Callable[..., Any]) -> None:
        self.ray, self.answer = ray, answer

    def options(self, **_: Any) -> "Remote":
        return self

    def remote(self, *arguments: Any) -> object:
        reference = object()
        answer = self.answer(*arguments)
        if answer is not None:
            self.ray.answers[reference] = answer
        return reference


class Actor:
    def __init__(self, ray: "MadeUpRay", node: str, work: Work, sign: Callable[[], Any]) -> None:
        starts: Any = (1, node) if node != "broken" else ray_error("no module named 'bench'")
        self.node = node
        self.hello = Remote(ray, lambda: starts)
        self.work = Remote(ray, lambda one: work(node, one))
        self.pulse = Remote(ray, sign)


def ray_error(line: str) -> Exception:
    return ray.exceptions.RayActorError(error_msg=line)


class MadeUpRay:
    """What the driver uses of Ray. Workers start on the machines `places`, in turn."""

    exceptions = ray.exceptions

    def __init__(self, places: list[str], work: Work, sign: Callable[[], Any] = lambda: (0, 0.0)) -> None:
        self.answers: dict[object, Any] = {}
        self.killed: list[Actor] = []
        self.places, self.work, self.sign, self.started = places, work, sign, list[str]()

    def actor(self, node: str) -> Actor:
        place = node or self.places[len(self.started) % len(self.places)]
        self.started.append(place)
        return Actor(self, place, self.work, self.sign)

    def wait(self, references: list[object], num_returns: int = 1, timeout: float = 0.0) -> Any:
        ready = [one for one in references if one in self.answers][:num_returns]
        return ready, [one for one in references if one not in ready]

    def get(self, reference: object) -> Any:
        answer = self.answers[reference]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self, actor: Actor) -> None:
        self.killed.append(actor)


class Ran:
    """What came of a run."""

    def __init__(self, ray: MadeUpRay, cells: list[Resolved], workers: int, **job: Any) -> None:
        self.records: list[Record] = []
        self.events: list[Event] = []
        self.ray, self.summary = ray, Summary(left=len(cells))
        keep = self.records.append
        made = Job(print, None, keep, self.events.append, StopRequest(), self.summary, **job)
        Driver(ray, ray.actor, made, cells, nodes=lambda: set(ray.places)).drive(workers)

    def kinds(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]


def without_data(node: str, one: Resolved) -> Outcome:
    """The machine "bare" has no data."""
    if node == "bare":
        return Outcome(failure(one.cell, "no data at /data"), refused=True)
    return Outcome(record(one.cell))


def cells(count: int = 5) -> list[Resolved]:
    return [resolved(seed=seed) for seed in range(count)]


def test_a_machine_without_data_gives_its_cells_back() -> None:
    ran = Ran(MadeUpRay(["bare", "good"], without_data), cells(), workers=2)
    assert len(ran.records) == 5 and all(one.ok for one in ran.records)
    assert ran.summary.left == 0 and ran.kinds("returned")
    assert ran.kinds("returned")[0].detail == "no data at /data"


def test_a_single_worker_on_a_machine_without_data_is_joined_by_one_elsewhere() -> None:
    ran = Ran(MadeUpRay(["bare", "good"], without_data), cells(3), workers=1)
    assert len(ran.records) == 3 and all(one.ok for one in ran.records)
    assert ran.ray.started == ["bare", "good"]


def test_a_cell_that_no_machine_can_run_has_failed_once() -> None:
    nowhere: Work = lambda node, one: Outcome(failure(one.cell, f"none on {node}"), refused=True)  # noqa: E731
    ran = Ran(MadeUpRay(["one", "two", "three"], nowhere), cells(4), workers=3)
    assert len(ran.records) == 4 and {one.status for one in ran.records} == {"failed"}
    assert len(ran.kinds("returned")) == 4 * 3
    alone = Ran(MadeUpRay(["one"], nowhere), cells(2), workers=1)
    assert [one.reason for one in alone.records] == ["none on one"] * 2 and not alone.kinds("returned")


def test_machines_without_the_package_do_not_end_the_run_of_the_others() -> None:
    places = ["broken", "good", "broken", "broken", "broken"]
    ran = Ran(MadeUpRay(places, without_data), cells(), workers=4)
    assert len(ran.records) == 5 and all(one.ok for one in ran.records)
    with pytest.raises(UserError, match=r"4 workers in a row did not start.*no module named 'bench'"):
        Ran(MadeUpRay(["broken"], without_data), cells(), workers=2)


def test_a_cell_without_a_sign_of_life_is_ended_and_its_worker_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drivers, "PULSE", 0.0)
    hangs, *others = cells(3)
    work: Work = lambda node, one: None if one is hangs else without_data(node, one)  # noqa: E731
    ray = MadeUpRay(["good"], work, lambda: (40, 9.0))
    ran = Ran(ray, [hangs, *others], workers=1, limits=Limits(quiet=8.0))
    failed, *fine = ran.records
    assert failed.cell == hangs.cell and "(--quiet-timeout)" in failed.reason and failed.queries == 40
    assert [one.cell for one in fine] == [one.cell for one in others] and all(one.ok for one in fine)
    assert len(ray.started) == 2 and len(ray.killed) == 1
    assert ran.kinds("pulse")[0].sign == Sign(40, 9.0)


def test_a_worker_that_does_not_even_answer_counts_as_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "PULSE", 0.0)
    ray = MadeUpRay(["good"], lambda node, one: None, lambda: None)
    ran = Ran(ray, cells(1), workers=1, limits=Limits(quiet=0.2))
    assert "(--quiet-timeout)" in ran.records[0].reason


def test_a_dead_ray_ends_the_run() -> None:
    def dead() -> None:
        raise UserError("Ray's process raylet has died")

    ray = MadeUpRay(["good"], without_data)
    job = Job(print, None, print, print, StopRequest(), Summary())
    with pytest.raises(UserError, match="raylet has died"):
        Driver(ray, ray.actor, job, cells(), check=dead).drive(2)
