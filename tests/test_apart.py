"""`bench check` in a process of its own: its limits, and what it shows."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from strangers import counts, eats, interrupts, leaves, marks_and_sleeps, wrong

from bench.apart import Ended, apart
from bench.commands.main import main
from bench.commands.method import TEMPLATE
from bench.contract import check
from bench.errors import UserError

GIB = 2**30


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_what_a_call_yields_comes_through() -> None:
    assert list(apart(counts, 4, seconds=120, memory=GIB)) == [0, 1, 2, 3]


def test_a_process_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(Ended, match="longer than 5 s"):
        list(apart(marks_and_sleeps, str(tmp_path), seconds=5, memory=GIB))
    assert all(gone(int(mark.name)) for mark in tmp_path.iterdir())  # none, if it was slow to start


def test_a_process_that_leaves_or_eats_memory_is_named() -> None:
    with pytest.raises(Ended, match="exit code 7"):
        list(apart(leaves, 7, seconds=120, memory=GIB))
    with pytest.raises(Ended, match="MemoryError"):
        list(apart(eats, seconds=120, memory=GIB))
    with pytest.raises(Ended, match="KeyboardInterrupt: a method's own"):
        list(apart(interrupts, seconds=120, memory=GIB))
    with pytest.raises(UserError, match="no method 'zipp'"):
        list(apart(wrong, seconds=120, memory=GIB))


def test_ctrl_c_ends_the_other_process(tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from bench.apart import apart\nfrom strangers import marks_and_sleeps\n"
        "if __name__ == '__main__':\n"
        f"    list(apart(marks_and_sleeps, {str(tmp_path)!r}, seconds=600, memory=2**30))\n"
    )
    (tmp_path / "it.py").write_text(script)
    process = subprocess.Popen([sys.executable, tmp_path / "it.py"], stderr=subprocess.DEVNULL)
    marks = lambda: [int(one.name) for one in tmp_path.iterdir() if one.name.isdigit()]  # noqa: E731
    for _ in range(1200):
        if marks():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.wait(60)
    assert all(map(gone, marks())) and marks()


def test_a_check_takes_one_value_of_each_parameter_and_shows_no_test_accuracy() -> None:
    found = {one.point: one for one in check("zip", budget=100, overrides=["zip.rank=1"])}
    assert found["runs"].kept
    text = " ".join(one.detail for one in found.values())
    assert "validation accuracy" in text and "test" not in text
    with pytest.raises(UserError, match="one value of each parameter"):
        list(check("zip", overrides=["zip.rank=1,2"]))


def test_the_command_names_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    text = TEMPLATE.format(name="hangs", title="Hangs")
    text = text.replace("optimiser = SPSA(", "while True: pass\n        optimiser = SPSA(")
    (tmp_path / "hangs.py").write_text(text)
    done = CliRunner().invoke(main, ["check", "hangs", "--time-limit", "10"])
    assert done.exit_code == 1
    assert "longer than 10 s and was ended. Give it more with --time-limit" in done.output
    unknown = CliRunner().invoke(main, ["check", "hangs", "--set", "rnak=3"])
    assert unknown.exit_code == 2 and "no parameter 'rnak'" in unknown.output
