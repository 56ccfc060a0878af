"""The benchmark from Python: it gives what the commands give, and importing it is cheap."""

import inspect
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from fabricate import grid, with_outcomes, write

import bench
from bench.commands.main import main
from bench.errors import UserError
from bench.paths import HOME
from bench.store import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    records = map(with_outcomes, grid(("manual", "blackvip", "zip")))
    return write(tmp_path / "results", *records)


pytestmark = pytest.mark.filterwarnings("ignore:.*are stale")


def test_importing_and_reading_load_no_torch(folder: Path) -> None:
    script = (
        "import sys, bench\n"
        "assert not {'pandas', 'torch', 'click', 'bench.api'} & set(sys.modules)\n"
        f"cells = bench.load({str(folder)!r}).cells\n"
        "assert len(cells) == 27 and not {'torch', 'ray', 'matplotlib'} & set(sys.modules)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(HOME)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env=environment, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def test_every_function_has_types_and_an_example() -> None:
    for name in ("run", "load", "table", "plot", "compare"):
        function = getattr(bench, name)
        assert name in dir(bench) and f"bench.{name}(" in (function.__doc__ or "")
        parameters = inspect.signature(function).parameters.values()
        assert all(one.annotation is not inspect.Parameter.empty for one in parameters)
    with pytest.raises(AttributeError, match="no attribute 'tabel'"):
        bench.tabel  # noqa: B018


def test_load_gives_a_frame_of_cells_and_one_of_traces(folder: Path) -> None:
    records = bench.load(folder)
    assert isinstance(records.cells, pd.DataFrame) and len(records.cells) == 27
    assert set(records.trace["at"]) >= {0, 500, 5000} and len(records.failed) == 0


@pytest.mark.parametrize("kind", ["few-shot", "ranks", "efficiency"])
def test_a_table_is_that_of_the_command(folder: Path, kind: str) -> None:
    arguments = ["table", kind, "--results", str(folder), "--methods", "zip,manual", "--format", "markdown"]
    printed = CliRunner().invoke(main, arguments).stdout
    made = bench.table(kind, folder, methods=["zip", "manual"])
    assert made.text("markdown") == printed
    assert "<table>" in made._repr_html_() and "ZIP" in str(made)


def test_a_table_is_saved_and_is_a_frame(folder: Path, tmp_path: Path) -> None:
    made = bench.table("few-shot", bench.load(folder), digits=2)
    made.save(tmp_path / "t.tex")
    assert r"\toprule" in (tmp_path / "t.tex").read_text()
    assert list(made.frame["Method"]) == ["Manual Prompt", "BlackVIP", "ZIP"]
    with pytest.raises(UserError, match="end its name in"):
        made.save(tmp_path / "t.xlsx")


def test_a_picture_is_drawn_and_saved(folder: Path, tmp_path: Path) -> None:
    picture = bench.plot("curves", folder, methods="zip,manual", width=3.3, marks=[500])
    picture.save(tmp_path / "c.svg")
    assert "ZIP" in (tmp_path / "c.svg").read_text()
    assert picture._repr_png_().startswith(b"\x89PNG")


def test_two_methods_are_compared_image_by_image(folder: Path) -> None:
    made = bench.compare("zip", "blackvip", folder)
    assert "Only ZIP" in str(made) and list(made.frame["Seed"])[-1] == "all"


def test_a_name_that_no_table_has_is_refused(folder: Path) -> None:
    for call in (
        lambda: bench.table("few-shots", folder),
        lambda: bench.plot("curve", folder),
        lambda: bench.table("few-shot", folder, method="zip"),
        lambda: bench.run("manual", dataset="digits"),
    ):
        with pytest.raises(UserError, match="Did you mean"):
            call()


def test_cost_without_sums_is_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is empty: give dollars, more than 0"):
        bench.table("cost", folder, price=tmp_path / "price.toml", sums=())


def test_a_run_takes_the_names_of_the_flags_and_returns_its_records(tmp_path: Path) -> None:
    asked = {"datasets": ["digits"], "budget": 20, "seeds": "1-2", "local": True, "results": tmp_path / "r"}
    found = bench.run("spsa", set="spsa.m=2", quiet_timeout=0.1, **asked)
    assert sorted(found.cells["row"].unique()) == ["manual", "spsa (m=2)"] and len(found.cells) == 4
    assert set(found.cells["budget"]) == {20} and found.failed.empty
    assert len(bench.run("manual", dry_run=True, **asked).cells) == 2  # only what was asked for


def test_the_names_are_those_of_the_flags() -> None:
    from bench.commands.run import run as command

    flags = {option.opts[0].removeprefix("--").replace("-", "_") for option in command.params}
    named = set(inspect.signature(bench.run).parameters) - {"flags"}
    assert named <= flags


def test_an_interrupted_run_keeps_what_was_computed(tmp_path: Path) -> None:
    """A signal after the first record: it is on the disk, and the same call goes on from there."""
    asked = {"datasets": "digits", "budget": 2000, "seeds": "1-3", "local": True, "results": tmp_path / "r"}

    def stop_after_the_first(done: threading.Event) -> None:
        while not list((tmp_path / "r").rglob("*.json")) and not done.wait(0.02):
            pass
        os.kill(os.getpid(), signal.SIGINT)

    done = threading.Event()
    waiting = threading.Thread(target=stop_after_the_first, args=(done,))
    waiting.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            bench.run("zip", **asked)
    finally:
        done.set()
        waiting.join()
    kept = list(Store(tmp_path / "r").records())
    assert 1 <= len(kept) < 6 and all(record.ok for record in kept)
