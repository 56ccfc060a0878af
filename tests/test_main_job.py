"""`bench run` as a user types it: the same records in every way, resumption, failures, bad input."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cells import mini_cells
from click.testing import CliRunner, Result

from bench.commands.main import main
from bench.lab import Lab, Settings
from bench.runner import run_cell

JOB = ["--methods", "zip,blackvip,manual", "--datasets", "mini-digits,mini-colors", "--budget", "30"]


def bench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=280)


def here(*arguments: str) -> Result:
    """`bench ...` in this process, which saves the imports: for what needs no process of its own."""
    return CliRunner().invoke(main, arguments)


def records(folder: Path) -> dict[str, dict[str, Any]]:
    return {str(path.relative_to(folder)): json.loads(path.read_text()) for path in folder.rglob("*.json")}


def lasting(folder: Path) -> dict[str, str]:
    """The bytes of every record on disk, without its time stamps."""
    return {
        name: json.dumps({k: v for k, v in record.items() if k != "run"}, sort_keys=True)
        for name, record in records(folder).items()
    }


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serial")
    done = bench("run", *JOB, "--local", "--results", str(folder))
    assert done.returncode == 0, done.stderr
    assert "ZIP" in done.stdout and "BlackVIP" in done.stdout
    assert len(records(folder)) == 6
    return folder


def test_a_record_says_whether_its_schedule_depends_on_the_budget(serial: Path) -> None:
    assert {record["schedule"] for record in records(serial).values()} == {"free"}


@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_ray_leaves_the_same_records_as_one_process(workers: str, serial: Path, tmp_path: Path) -> None:
    done = bench("run", *JOB, "--workers", workers, "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert lasting(tmp_path) == lasting(serial)


def test_a_finished_cell_is_not_run_again(serial: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in serial.rglob("*.json")}
    again = here("run", *JOB, "--local", "--results", str(serial))
    assert again.exit_code == 0
    assert "0 of 6 cells to run" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in serial.rglob("*.json")} == before


def test_another_precision_makes_records_stale(serial: Path, tmp_path: Path) -> None:
    """Stale records are shown and kept, but they do not count as done."""
    folder = shutil.copytree(serial, tmp_path / "runs")
    again = here("run", *JOB, "--local", "--precision", "fp16-text", "--results", str(folder))
    assert again.exit_code == 0, again.stderr
    assert "6 records are stale" in again.stdout and "0 of 6 cells to run" in again.stdout
    assert lasting(folder) == lasting(serial)


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path: Path) -> None:
    plan = here("run", *JOB, "--set", "zip.rank=1,5", "--dry-run", "--results", str(tmp_path / "none"))
    assert plan.exit_code == 0, plan.stderr
    assert "zip (rank=1)" in plan.stdout and "8 of 8 cells to run: at most 180 queries" in plan.stdout
    assert not (tmp_path / "none").exists()


def test_a_failing_cell_does_not_stop_the_others_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    method = Path(__file__).parent.parent / "methods" / "zip.py"
    sick = method.read_text().replace(
        "def tune(self) -> None:", "def tune(self) -> None:\n        1 / 0\n", 1
    )
    (tmp_path / "sick.py").write_text(sick)
    run = ["run", "--methods", "sick,manual", "--datasets", "mini-digits", "--budget", "60", "--local"]
    results = tmp_path / "results"
    done = here(*run, "--results", str(results))
    assert done.exit_code == 1
    assert "ZeroDivisionError" in done.stderr
    by_method = {record["cell"]["method"]: record for record in records(results).values()}
    assert by_method["manual"]["status"] == "ok"
    assert by_method["sick"]["status"] == "failed"
    assert "1 / 0" in by_method["sick"]["error"]
    assert by_method["sick"]["accuracy"] == {}
    assert "1 of 2 cells to run" in here(*run, "--results", str(results)).stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--methods", "zipp"], "Did you mean 'zip'"),
        (["--datasets", "mini-digit"], "Did you mean 'mini-digits'"),
        (["--suite", "minni"], "Did you mean 'mini'"),
        (["--budget", "0"], "at least 1"),
        (["--budget", "-5"], "whole numbers"),
        (["--seeds", "one"], "whole numbers"),
        (["--set", "zip.rnak=3"], "Did you mean 'rank'"),
        (["--set", "blackvip.rank=3"], "no parameter 'rank'"),
        (["--backbone", "ViT-B-17/openai"], "ViT-B"),
        (["--device", "cuda"], "cuda"),
        (["--protocol", "few"], "few-shot"),
        (["--results", "/proc/nowhere"], "/proc/nowhere"),
        (["--workers", "2"], "--local"),
    ],
)
def test_bad_input_gives_one_line_and_exit_code_2(arguments: list[str], says: str, tmp_path: Path) -> None:
    place = [] if "--results" in arguments else ["--results", str(tmp_path / "r")]
    done = CliRunner().invoke(main, ["run", "--local", "--offline", *arguments, *place])
    assert done.exit_code == 2, done.output
    assert says in done.stderr
    assert "Traceback" not in done.output
    assert not list(tmp_path.rglob("*.json"))


def test_an_error_ends_the_process_with_one_line_and_exit_code_2() -> None:
    done = bench("run", "--methods", "zipp")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("Error: no method 'zipp'")


def test_a_damaged_weights_file_is_reported_before_any_query(tmp_path: Path) -> None:
    script = (
        "import pathlib, bench.mini.model as m, sys\n"
        f"bad = pathlib.Path({str(tmp_path)!r}) / 'clip.safetensors'\n"
        "bad.write_bytes(m.FILES['clip'].read_bytes()[:-100])\n"
        "m.FILES['clip'] = bad\n"
        "from bench.commands.main import main\n"
        f"main(['run', '--local', '--results', {str(tmp_path / 'r')!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "clip.safetensors" in done.stderr and "damaged" in done.stderr


def test_a_cell_does_not_depend_on_what_ran_before_it_in_the_same_process() -> None:
    """The features of the backbone and those of BlackVIP's encoder are never exchanged."""
    settings, lab = Settings(), Lab(Settings())
    cells = mini_cells("zip", "blackvip", datasets=["mini-digits"], budgets=[20])
    alone = [run_cell(cell, settings, Lab(settings)).trace for cell in cells]
    assert [run_cell(cell, settings, lab).trace for cell in reversed(cells)] == alone[::-1]
    assert [run_cell(cell, settings, lab).trace for cell in cells] == alone
