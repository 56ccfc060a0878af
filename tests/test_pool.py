"""The pool: the same records in every way of running, no cell is lost with a worker, no process is left."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import toy_runs
from toy_runs import Settings, importable, marks, resolved

from bench.cell import Cell
from bench.errors import UserError
from bench.record import Made, Record, dump
from bench.resolve import Resolved
from bench.schedule import cluster as ray_cluster
from bench.schedule import driver as drivers
from bench.schedule.job import Event, Interrupted, Run, Summary
from bench.schedule.pool import run_all
from bench.schedule.process import cores
from bench.store import Store

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
WAYS = {"serial": {"local": True}, "one worker": {"workers": 1}, "two workers": {"workers": 2}}


def same_bytes(cells: Sequence[Resolved], settings: Any, run: Run[Any]) -> list[bytes]:
    """Run the cells in every way: their records without time stamps. AssertionError if they differ."""
    texts: dict[str, dict[Cell, str]] = {}
    for way, how in WAYS.items():
        found = texts[way] = {}

        def keep(record: Record, found: dict[Cell, str] = found) -> None:
            found[record.cell] = dump(replace(record, run=Made()))

        with importable():
            run_all(cells, settings, run=run, on_record=keep, **how)
        assert found.keys() == {one.cell for one in cells}, way
        assert found == texts["serial"], way
    return [texts["serial"][one.cell].encode() for one in cells]


def collect(cells, settings, **how) -> tuple[Summary, list[Record], list[Event]]:
    """The summary, the records in the order of the cells, and the events."""
    records: dict[Cell, Record] = {}
    events: list[Event] = []

    def keep(record: Record) -> None:
        assert record.cell not in records, "a second record of the same cell"
        records[record.cell] = record

    with importable():
        summary = run_all(cells, settings, run=toy_runs.run, on_record=keep, on_event=events.append, **how)
    return summary, [records[one.cell] for one in cells], events


@pytest.fixture
def settings(tmp_path):
    return Settings(str(tmp_path))


# The same records


def test_serial_one_worker_and_two_give_the_same_bytes(settings):
    cells = [
        resolved(method, data, seed) for data in "ab" for seed in (1, 2) for method in ("easy", "raises")
    ]
    texts = same_bytes(cells, settings, toy_runs.run)
    assert len(set(texts)) == len(cells)


# Bad cells, workers that die


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"local": True}, id="local"),
        pytest.param({"workers": 2}, id="ray", marks=pytest.mark.slow),
    ],
)
def test_a_failing_cell_is_recorded_and_the_others_run(settings, how):
    cells = [resolved(method, "a", seed) for seed in (1, 2) for method in ("raises", "exits", "easy")]
    summary, records, _ = collect(cells, settings, **how)
    assert [record.status for record in records] == ["failed", "failed", "ok"] * 2
    assert (summary.done, summary.left, summary.lost, summary.queries) == (2, 0, 0, 200)
    assert dict(summary.failed)[cells[0].cell] == "ZeroDivisionError: this method always fails"
    assert dict(summary.failed)[cells[1].cell] == "SystemExit: this method leaves"
    assert "Traceback" in records[0].error
    assert "toy_runs.py" in records[0].error


def test_the_cell_of_a_killed_worker_is_tried_again(settings):
    cells = [resolved("dies-once", "a"), resolved("easy", "a"), resolved("easy", "b")]
    summary, records, events = collect(cells, settings, workers=2)
    assert [record.status for record in records] == ["ok"] * 3
    (dead,) = marks(settings, "dies-once")
    assert records[0].run.pid != dead
    assert (summary.done, summary.lost, summary.left) == (3, 1, 0)
    assert [event.cell for event in events if event.kind == "lost"] == [cells[0].cell]


@pytest.mark.slow
def test_a_cell_that_kills_its_workers_is_given_up(settings):
    cells = [resolved("dies"), resolved("easy")]
    summary, records, events = collect(cells, settings, workers=1)
    assert [record.status for record in records] == ["failed", "ok"]
    deaths = marks(settings, "dies")
    assert len(deaths) == len(set(deaths)) == 1 + drivers.RETRIES  # each time in a new worker
    assert summary.lost == 1 + drivers.RETRIES
    assert [event.cell for event in events if event.kind == "lost"] == [cells[0].cell, cells[0].cell, None]
    assert summary.failed == [(cells[0].cell, records[0].error)]
    assert "3 workers died while they ran this cell" in records[0].error


def test_an_idle_worker_prefers_its_own_data_set_and_then_one_that_no_worker_has():
    queue = drivers.Queue([resolved("easy", data, seed) for data in "abc" for seed in (1, 2, 3)])
    taken = [queue.take(holds, others) for holds, others in [("", ""), ("", "a"), ("b", "a"), ("a", "b")]]
    assert [one.cell.dataset for one in taken] == ["a", "b", "b", "a"]
    assert [queue.take("b", "a").cell.dataset, queue.take("b", "a").cell.dataset] == ["b", "c"]
    assert [queue.take("a", "c").cell.dataset, queue.take("a", "c").cell.dataset] == ["a", "c"]
    assert queue
    assert queue.take("a", "c").cell.dataset == "c"
    assert queue.take("a", "c") is None
    assert not queue


# Requests that cannot be met


def test_free_resources_are_counted_per_node_and_the_error_names_what_is_missing():
    class Cluster:
        @staticmethod
        def nodes():
            small, big = {"CPU": 4.0, "GPU": 1.0}, {"CPU": 2.0, "GPU": 4.0}
            return [
                {"Alive": True, "Resources": small},
                {"Alive": True, "Resources": big},
                {"Alive": False, "Resources": {"CPU": 99.0, "GPU": 99.0}},
                {"Alive": True, "Resources": {}},
            ]

    rooms = {gpus: ray_cluster.room_for(Cluster, 1, gpus) for gpus in (0, 0.25, 0.1, 1, 2)}
    assert rooms == {0: 6, 0.25: 6, 0.1: 6, 1: 3, 2: 2}
    asked = r"4 worker\(s\) of 1 CPU and 1 GPU each are asked for, but there is room for 3: 6 CPU and 5 GPU"
    with pytest.raises(UserError, match=asked):
        ray_cluster.room_for(Cluster, 4, 1)
    with pytest.raises(UserError, match="room for 0"):
        ray_cluster.room_for(Cluster, 1, 8)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"workers": 0}, "--workers is 0"),
        ({"gpus_per_cell": -1}, "--gpus-per-cell is -1"),
        ({"gpus_per_cell": 1.5}, "--gpus-per-cell is 1.5"),
        ({"ray_address": "127.0.0.1:1"}, "nothing answers at --ray-address 127.0.0.1:1"),
    ],
)
def test_a_request_that_can_never_be_met_is_refused_at_once(settings, how, message):
    with pytest.raises(UserError, match=message) as caught:
        collect([resolved()], settings, **how)
    assert "\n" not in str(caught.value)


@contextmanager
def head(*answers: bytes):
    """A server that takes a connection, answers with these bytes, and then hangs; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections = []

        def serve():
            with suppress(OSError):
                while True:
                    connections.append(server.accept()[0])
                    for answer in answers:
                        connections[-1].sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        for one in connections:
            one.close()


def test_a_head_that_hangs_is_an_error_and_no_endless_wait(settings, monkeypatch):
    monkeypatch.setattr(ray_cluster, "ANSWER", 1.0)
    with head() as address, pytest.raises(UserError, match="does not answer within 1 s"):
        collect([resolved()], settings, ray_address=address)
    with head(b"HTTP/1.1 400 Bad Request\r\n") as address:
        assert ray_cluster.head_fault(address, 5.0) == "it answers, but not as a Ray does"
    with head(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))) as address:
        assert ray_cluster.head_fault(address, 5.0) is None


DIES = """
import os, signal, sys, time, toy_runs
from bench.schedule import driver, pool
from bench.schedule.cluster import _own_node

def kill():
    for one in _own_node().all_processes[{who!r}]:
        os.kill(one.process.pid, signal.SIGKILL)
    time.sleep(0.5)  # until it is dead

def at(owner, name):
    before = getattr(owner, name)
    def then(*given):
        result = before(*given)
        kill()
        return result
    setattr(owner, name, then)

at(*{place})
toy_runs.main(*sys.argv[1:])
"""
PLACES = {  # after what it dies
    "before workers start": "(pool, 'room_for')",
    "before workers are up": "(driver.Driver, 'start')",
    "while cells run": "(driver.Driver, 'hand_out')",
}


@on_linux
@pytest.mark.slow
@pytest.mark.parametrize("when", PLACES)
@pytest.mark.parametrize("who", ["gcs_server", "raylet"])
def test_a_dead_ray_ends_the_run_with_one_line(short_path, who, when):
    with importable():
        script = DIES.format(who=who, place=PLACES[when])
        command = [sys.executable, "-c", script, short_path / "results", short_path, "ray", "sleeps"]
        environment = os.environ | {"RAY_TMPDIR": str(short_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 2, done.stdout + done.stderr
    line = f"Error: Ray's process {who} has died, and no worker can go on without it. Finished cells are kept"
    assert done.stdout.startswith(line) and done.stdout.count("\n") == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert until(lambda: not family(short_path), 120), "Ray's agents go when they have missed it for a minute"


@pytest.mark.parametrize("seconds", [0.3, 1.0, 3.0])
def test_ctrl_c_while_a_command_loads_ends_it_with_130(seconds, tmp_path):
    run = ["run", "--methods", "zip", "--datasets", "mini-digits", "--local", "--budget", "1000000"]
    script = (
        "import os, signal, sys, threading, bench.__main__\n"
        f"sys.argv = ['bench', *{run}, '--results', {str(tmp_path / 'r')!r}]\n"
        f"threading.Timer({seconds}, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "bench.__main__.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=200)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_request_for_missing_gpus_is_refused(settings):
    with pytest.raises(UserError, match="1 CPU and 64 GPU each are asked for, but there is room for 0"):
        collect([resolved()], settings, gpus_per_cell=64)


@pytest.mark.slow
def test_workers_that_cannot_start_end_the_run_with_an_error(settings):
    with pytest.raises(UserError, match=r"3 workers in a row did not start.*toy_runs"):
        # Workers cannot import toy_runs here.
        run_all([resolved()], settings, run=toy_runs.run, on_record=print, workers=1)


@pytest.mark.slow
def test_a_user_is_told_about_a_long_wait(settings, monkeypatch):
    monkeypatch.setattr(drivers, "PATIENCE", 0.0)
    monkeypatch.setattr(drivers, "POLL", 0.01)
    _, _, events = collect([resolved()], settings, workers=1)
    assert [event.kind for event in events] == ["waiting", "ready", "start"]


def test_nothing_to_do_starts_nothing():
    summary, records, events = collect([], None)
    assert (summary.done, records, events) == (0, [], [])


def test_the_number_of_cores_respects_affinity():
    assert 1 <= cores() <= os.cpu_count()
    if hasattr(os, "sched_setaffinity"):
        script = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
        script += "; from bench.schedule.process import cores; print(cores())"
        assert subprocess.check_output([sys.executable, "-c", script]) == b"1\n"


# Stopping


@contextmanager
def driver(tmp_path: Path, how: str, *methods: str):
    """A run in its own process. Its Ray has its own folder, so that its processes can be recognised."""
    with importable():
        environment = os.environ | {"RAY_TMPDIR": str(tmp_path)}
        command = [sys.executable, toy_runs.__file__, tmp_path / "results", tmp_path, how, *methods]
        process = subprocess.Popen(command, env=environment, text=True, stdout=-1, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def short_path():
    """A folder whose path is short enough for Ray's sockets; the paths of pytest's folders are too long."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        yield Path(folder)


def family(folder: Path) -> dict[int, str]:
    """{pid: command} of the processes that have a file below `folder` open, or in their command."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = process.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            links = [os.readlink(link) for link in process.joinpath("fd").iterdir()]
        except OSError:
            continue
        if any(str(folder) in text for text in [command, *links]):
            found[int(process.name)] = command
    return found


def until(condition: Callable[[], Any], seconds: float) -> Any:
    """The value of the condition as soon as it is true, or its last value when the time is over."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return value


def finished(folder: Path) -> list[Record]:
    """All finished records; an error if one is damaged."""
    return list(Store(folder / "results").records())


def stop(short_path: Path, number: signal.Signals, how: str, method: str, times: int = 1) -> None:
    """Stop a run when there is a record and a cell is running, and check what it leaves."""
    with driver(short_path, how, "easy", method) as process:
        busy = partial(marks, Settings(str(short_path)), method)
        assert until(lambda: finished(short_path) and busy(), 90), "the run does not come to its second cell"
        for _ in range(times):
            process.send_signal(number)
            time.sleep(0.02)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, output
    assert {one.status for one in finished(short_path)} == {"ok"}
    assert until(lambda: not family(short_path), 5), family(short_path)
    assert list(short_path.glob("bench-*")) == []
    assert not (short_path / "results" / ".lock").exists()
    assert f"stopped by {number.name}: " in output


@on_linux
def test_ctrl_c_leaves_the_finished_records_and_no_process(short_path):
    stop(short_path, signal.SIGINT, "ray", "computes", times=5)  # a user who presses it five times


@on_linux
@pytest.mark.parametrize("method", ["sleeps", "slow"])
def test_a_local_run_is_stopped_in_the_middle_of_a_cell(short_path, method):
    stop(short_path, signal.SIGTERM, "local", method)


@on_linux
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("method", ["sleeps", "slow"])
def test_other_signals_stop_a_run_in_the_same_way(short_path, number, method):
    stop(short_path, number, "ray", method, times=5)


@on_linux
@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 2.0, 3.0, 4.0])
def test_a_run_stopped_while_ray_starts_leaves_no_process(short_path, seconds):
    with driver(short_path, "ray", "easy") as process:
        assert until(lambda: list(short_path.glob("bench-*")), 60)
        time.sleep(seconds)
        process.terminate()
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert until(lambda: not family(short_path), 10), family(short_path)


@on_linux
@pytest.mark.slow
def test_a_killed_driver_takes_its_workers_with_it(short_path):
    with driver(short_path, "ray", "easy", "computes") as process:
        assert until(partial(marks, Settings(str(short_path)), "computes"), 90)
        process.kill()
        process.wait()
    workers = lambda: [line for line in family(short_path).values() if "ray::Worker" in line]  # noqa: E731
    assert until(lambda: not workers(), 20), workers()
    assert until(lambda: not family(short_path), 120), "Ray's agents go when they have missed it for a minute"
    assert all(one.ok for one in finished(short_path))


@pytest.fixture
def cluster(short_path, monkeypatch):
    """A Ray that the run did not start, on this machine, with its own token; yields its address."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = (
        f"--num-cpus 2 --port {address[10:]} --node-ip-address 127.0.0.1 --object-store-memory 100000000"
    )
    quiet = ["--disable-usage-stats", "--include-dashboard", "false", "--temp-dir", short_path / "cluster"]
    ray = [Path(sys.executable).parent / "ray", "start", "--head", "--block", *options.split(), *quiet]
    process = subprocess.Popen(ray, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: any("raylet" in line for line in family(short_path / "cluster").values()), 60)
        yield address
    finally:
        process.terminate()
        process.wait(60)
        for pid in family(short_path / "cluster"):
            os.kill(pid, signal.SIGKILL)


@on_linux
@pytest.mark.slow
def test_a_run_joins_a_cluster_and_leaves_it_unchanged(short_path, cluster):
    with driver(short_path, cluster, "easy") as process:
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert [one.status for one in finished(short_path)] == ["ok"] * 6
    rest = partial(family, short_path / "cluster")
    assert until(lambda: not any("ray::Worker" in line for line in rest().values()), 10), rest()
    assert any("raylet" in line for line in rest().values())


def test_an_interrupted_run_says_how_many_cells_are_left(settings):
    def stop(record):
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as caught:
        run_all([resolved(seed=s) for s in (1, 2, 3)], settings, run=toy_runs.run, on_record=stop, local=True)
    assert caught.value.signum == signal.SIGINT
    assert (caught.value.summary.done, caught.value.summary.left) == (1, 2)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_after_the_last_record_changes_nothing(settings):
    def stop(record):
        os.kill(os.getpid(), signal.SIGINT)

    summary = run_all([resolved()], settings, run=toy_runs.run, on_record=stop, local=True)
    assert summary.done == 1
