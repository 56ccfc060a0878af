"""The store: a record is whole or missing, even if its writer is killed; a folder has one driver."""

import errno
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from toy_runs import cell, record

from bench import store as module
from bench.errors import UserError
from bench.record import Expected, Hashes, Made, Record, dump, failure
from bench.report.frame import record_files
from bench.store import Store

EXPECTED = Expected({"rank": 5, "lr": 0.1, "shape": (64, 32)}, Hashes(method="a" * 64))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


@contextmanager
def files_no_larger_than(size):
    """The kernel refuses to write more than `size` bytes to a file, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def files(store):
    return sorted(path.name for path in store.root.rglob("*") if path.is_file())


def test_a_failure_names_the_line_of_the_methods_file() -> None:
    trace = '  File "/x/methods/zip.py", line 52, in tune\n  File "/y/torch/f.py", line 9\nValueError: no'
    assert failure(cell("zip"), trace).reason == "ValueError: no (zip.py:52)"
    assert failure(cell("zip"), "worker died").reason == "worker died"
    assert failure(cell("zip"), "bench.blackbox.AccessDenied: no").reason == "AccessDenied: no"


def test_a_record_that_is_read_equals_the_one_written(store):
    written = record(cell())
    path = store.write(written)
    assert path == store.root / cell().path
    assert store.read(cell()) == written
    assert list(store.records()) == [written]


def test_the_text_depends_only_on_the_content_and_has_short_lines():
    one = replace(record(cell()), run=Made())
    text = dump(one)
    assert dump(Record.from_json(json.loads(text))) == text
    changed = dump(replace(one, queries=99))
    differing = [a for a, b in zip(text.splitlines(), changed.splitlines(), strict=True) if a != b]
    assert differing == ['  "queries": 100,']
    assert '  "hashes": {"card": "' + "b" * 64 + '", "method": "' not in text  # too long for one line
    assert '  "params": {"lr": 0.1, "rank": 5, "shape": [64, 32]},' in text.splitlines()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_have_is_refused(store, number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.write(record(cell(), accuracy=number))
    assert files(store) == []


@pytest.mark.parametrize(
    ("change", "status", "differences"),
    [
        ({}, "done", []),
        ({"accuracy": {"test": 9.0}}, "done", []),
        ({"hashes": Hashes(method="c" * 64)}, "stale", ["hashes.method"]),
        ({"hashes": Hashes()}, "stale", ["hashes.method"]),
        ({"params": {"rank": 5, "lr": 0.2, "shape": (64, 32)}}, "stale", ["params.lr"]),
        ({"params": {"rank": 5, "lr": 0.1, "shape": (64, 16)}}, "stale", ["params.shape"]),
        ({"status": "failed", "error": "Traceback ..."}, "failed", []),
    ],
)
def test_a_record_is_done_if_it_is_ok_and_agrees_with_what_is_expected(store, change, status, differences):
    store.write(replace(record(cell()), **change))
    assert store.status(cell(), EXPECTED) == status
    assert EXPECTED.differences(store.read(cell())) == differences


def test_a_cell_without_a_record_is_missing(store):
    assert store.status(cell(), EXPECTED) == "missing"


def test_a_cell_that_left_only_an_error_is_failed(store):
    store.write(failure(cell(), "Traceback ..."))
    assert store.status(cell(), EXPECTED) == "failed"


def test_another_cell_under_a_cells_name_does_not_count(store):
    slash, underscore = cell(backbone="ViT-B-16/openai"), cell(backbone="ViT-B-16_openai")
    assert slash.path != underscore.path
    store.write(record(slash))
    os.rename(store.path(slash), store.path(underscore))
    assert store.status(slash, EXPECTED) == "missing"
    assert store.status(underscore, EXPECTED) == "stale"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 1, "status": "o', "damaged"),
        ("", "damaged"),
        ("\xff\xfe", "damaged"),
        ("[]", "not hold a JSON object"),
        ('{"schema": 1}', "field 'cell' is missing"),
        ('{"schema": 99, "status": "ok", "cell": {}}', "schema is 99"),
    ],
)
def test_a_damaged_record_gives_an_error_and_is_not_done(store, text, message):
    path = store.path(cell())
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="latin-1")
    assert store.status(cell(), EXPECTED) == "damaged"
    with pytest.raises(UserError, match=message) as caught:
        list(store.records())
    assert str(path) in str(caught.value)


# A writer that is killed

WRITER = """
import sys
from itertools import count
from bench.cell import Cell
from bench.record import failure
from bench.store import Store
cells = [Cell("mini", "few-shot", "zip", "digits", "mini", seed, 16, 100, 32) for seed in (1, 2)]
store = Store(sys.argv[1])
with store.lock():
    print("ready", flush=True)
    for n in count():
        store.write(failure(cells[n % 2], str(n % 10) * 50_000))
"""


def test_sigkill_at_any_moment_leaves_a_valid_record_or_none(store):
    rng = random.Random(0)
    in_the_middle = 0
    for _ in range(25):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, store.root], stdout=subprocess.PIPE)
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(rng.uniform(0, 0.1))
        writer.kill()
        writer.communicate()
        in_the_middle += any(name.endswith(".tmp") for name in files(store))
        for left in store.records():
            assert len(set(left.error)) == 1
            assert len(left.error) == 50_000
    assert in_the_middle, "no kill hit a write: the test shows nothing"
    with store.lock():  # the next driver removes what is left
        assert [name for name in files(store) if name.endswith((".tmp", ".probe"))] == []
    assert len(list(store.records())) == 2


# What is not ours


def test_only_our_own_leftovers_are_removed(store, tmp_path):
    kept = [
        ".draft.tmp",
        "mini/.x.json.12.tmp",
        "photos/.cache/a/b/.y.json.7.tmp",
        "mini/few-shot/d/r/.z.tmp",
    ]
    ours = ["mini/few-shot/d/r/.a.json.12.tmp", ".probe.3.tmp"]
    for name in (*kept, *ours):
        (store.root / name).parent.mkdir(parents=True, exist_ok=True)
        (store.root / name).write_text("work of years")
    elsewhere = tmp_path / "elsewhere" / "d" / "r"
    elsewhere.mkdir(parents=True)
    (elsewhere / ".b.json.1.tmp").write_text("not below the folder")
    (store.root / "zip").mkdir()
    (store.root / "zip" / "ood").symlink_to(tmp_path / "elsewhere")
    with store.lock():
        assert sorted(name for name in (*kept, *ours) if (store.root / name).exists()) == sorted(kept)
    assert (elsewhere / ".b.json.1.tmp").exists()


@pytest.mark.parametrize("make", ["symlink_to", "hardlink_to"])
def test_a_lock_that_is_a_link_is_refused_and_its_target_stays(store, tmp_path, make):
    target = tmp_path / "thesis"
    target.write_text("work of years")
    store.root.mkdir()
    getattr(store.root / ".lock", make)(target)
    assert "delete it" in refused(store)
    assert target.read_text() == "work of years"


def test_pipes_do_not_hang(store):
    path = store.path(cell())
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    assert store.status(cell(), EXPECTED) == "damaged"
    os.mkfifo(store.root / ".lock")
    assert "no plain file" in refused(store)


def test_a_link_in_place_of_a_temporary_file_is_not_followed(store, tmp_path):
    target = tmp_path / "thesis"
    target.write_text("work of years")
    path = store.path(cell())
    path.parent.mkdir(parents=True)
    path.with_name(f".{path.name}.{os.getpid()}.tmp").symlink_to(target)
    store.write(record(cell()))
    assert target.read_text() == "work of years" and store.read(cell()).ok


def test_records_below_a_linked_folder_are_seen_by_all(store, tmp_path):
    (tmp_path / "disk").mkdir()
    store.root.mkdir()
    (store.root / "mini").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "loop").symlink_to(store.root)
    store.write(record(cell()))
    assert len(list(store.records())) == 1
    assert record_files(store.root) == [store.path(cell())]


# A full disk, a folder that cannot be written


def test_a_disk_that_fills_up_loses_only_the_new_record(store):
    old = record(cell())
    with store.lock():
        store.write(old)
        with files_no_larger_than(300), pytest.raises(UserError, match=r"cannot write .*File too large"):
            store.write(record(cell(), accuracy=60.0))
        assert store.read(cell()) == old
        assert files(store) == [".lock", store.path(cell()).name]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_error_at_the_last_moment_loses_only_the_new_record(store, monkeypatch, call):
    store.write(record(cell()))

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(UserError, match="No space left on device") as caught:
            store.write(record(cell(), accuracy=60.0))
    assert "\n" not in str(caught.value)
    assert store.read(cell()).accuracy == {"test": 50.0}
    assert files(store) == [store.path(cell()).name]


def test_a_full_disk_is_found_before_the_run(store):
    with files_no_larger_than(1000), pytest.raises(UserError, match="cannot write to the results folder"):
        store.lock().__enter__()
    assert files(store) == []
    with store.lock():
        pass


def test_a_folder_that_cannot_be_made_is_found_before_the_run(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to the results folder") as caught:
        Store(tmp_path / "file" / "results").lock().__enter__()
    assert "--results" in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_found_before_the_run(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"):
        Store(tmp_path).lock().__enter__()


# One driver per folder


@contextmanager
def another_driver(root):
    script = (
        "import sys, time; from bench.store import Store\n"
        "with Store(sys.argv[1]).lock():\n    print('ready', flush=True); time.sleep(60)"
    )
    driver = subprocess.Popen([sys.executable, "-c", script, root], stdout=subprocess.PIPE)
    try:
        assert driver.stdout.readline() == b"ready\n"
        yield driver
    finally:
        driver.kill()
        driver.communicate()


def refused(store):
    with pytest.raises(UserError) as caught:
        store.lock().__enter__()
    return str(caught.value)


def test_a_second_driver_is_refused_with_the_first_ones_pid_and_host(store):
    with another_driver(store.root) as first:
        message = refused(store)
    assert f"pid {first.pid} on {socket.gethostname()}" in message
    assert "\n" not in message


def test_the_lock_of_a_killed_driver_is_taken_over(store):
    with another_driver(store.root) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert ".lock" in files(store)
        with store.lock():
            assert json.loads((store.root / ".lock").read_text())["pid"] == os.getpid()
    assert files(store) == []


def test_reading_needs_no_lock(store):
    store.write(record(cell()))
    with another_driver(store.root):
        assert store.status(cell(), EXPECTED) == "done"


@pytest.fixture
def no_flock(monkeypatch):
    def unsupported(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(module.fcntl, "flock", unsupported)


def leave_lock(store, **holder):
    store.root.mkdir(exist_ok=True)
    (store.root / ".lock").write_text(json.dumps(holder))


@pytest.mark.usefixtures("no_flock")
def test_without_flock_the_pid_decides(store):
    with store.lock():
        assert f"pid {os.getpid()} on" in refused(store)
    here = socket.gethostname()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    leave_lock(store, pid=gone.pid, host=here)
    with store.lock():
        pass
    leave_lock(store, pid=gone.pid, host="elsewhere")
    assert "on elsewhere" in refused(store)
    assert (store.root / ".lock").exists()


def test_the_lock_is_released_even_after_an_error(store):
    with pytest.raises(FileNotFoundError), store.lock():
        raise FileNotFoundError  # not an error of the store: it is not changed
    assert files(store) == []


def test_a_change_of_any_field_changes_the_path():
    base = cell(overrides=(("rank", 1),))
    changes = {
        "suite": "zip",
        "protocol": "ood",
        "method": "blackvip",
        "dataset": "shapes",
        "backbone": "ViT-B-16",
        "seed": 2,
        "shots": 4,
        "budget": 7,
        "batch_size": 64,
        "augment": True,
        "score": "val",
        "answers": "probs:4",
        "pixels_8bit": True,
        "endpoint": "hf+http://127.0.0.1:8765/hf/models/clip",
        "overrides": (("rank", 2),),
    }
    others = [replace(base, **{name: value}) for name, value in changes.items()]
    assert set(changes) == set(base.__dataclass_fields__)
    assert len({one.path for one in [base, *others]}) == 1 + len(others)
    assert all(not Path(one.path).is_absolute() for one in others)
