"""Every command in the README and the docs runs, unless a visible line above its block says what it needs.

Such a line is alone, in italics, and starts with Needs, Takes or Run by: `*Needs a GPU.*`. All other blocks
of shell run here, page by page in a folder of its own. There `bench` is a program that makes runs small.
`test_habits.py` looks up the commands and options of all blocks, also of those that do not run.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from bench.paths import checkout

HOME = checkout() or Path()
pytestmark = pytest.mark.skipif(not (HOME / "docs").is_dir(), reason="not a checkout with its docs")

PAGES = [HOME / "README.md", HOME / "CONTRIBUTING.md", *sorted((HOME / "docs").rglob("*.md"))]
AS_WRITTEN = (HOME / "docs" / "start.md",)  # small as it is, and its output is compared
MARK = re.compile(r"\*(Needs|Takes|Run by) .+\*")
FENCE = re.compile(r"^ *```(\w+)\n(.*?)^ *```", re.M | re.S)

BENCH = """#!{python}
import os, socket, subprocess, sys, time
words, small = sys.argv[1:], {small}
if small and words[:1] == ["run"] and "--dry-run" not in words:
    words += ["--budget", "20", "--seeds", "1", "--local"]
    if not {{"-d", "--datasets", "--protocol"}} & set(words):
        words += ["--datasets", "mini-digits"]
command = [sys.executable, "-m", "bench", *words]
if words[:1] != ["serve"]:
    sys.exit(subprocess.call(command))
server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
open("server.pid", "w").write(str(server.pid))
while server.poll() is None:
    try:
        sys.exit(socket.create_connection(("127.0.0.1", 8765), 1).close())
    except OSError:
        time.sleep(0.2)
sys.exit("the server has ended")
"""


@dataclass(frozen=True)
class Block:
    """A block of a page. mark: the line above it that says why it does not run here; else empty."""

    language: str
    text: str
    mark: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for fence in FENCE.finditer(text):
        above = text[: fence.start()].rstrip().rpartition("\n")[2].strip()
        found.append(Block(fence[1], dedent(fence[2]), above if MARK.fullmatch(above) else ""))
    return found


def in_shell(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language in ("sh", "bash", "console", "shell")]


def short(page: Path) -> str:
    return str(page.relative_to(HOME))


def plain(text: str) -> list[str]:
    """Lines without frames of tables and without repeated blanks."""
    return [" ".join(re.sub("[┃│┡━╇┩└─┴┘┏┳┓]", " ", line).split()) for line in text.splitlines()]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder with what the commands write into, and with the programs that stand before others."""
    (tmp_path / "methods").mkdir()
    (tmp_path / "docs").mkdir()
    shutil.copy(HOME / "README.md", tmp_path)
    shutil.copy(HOME / "docs" / "results.md", tmp_path / "docs")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "pip").write_text("#!/bin/sh\n")  # what it would install is here
    (programs / "pip").chmod(0o755)
    return tmp_path


def run(block: Block, folder: Path, small: bool) -> str:
    """The output of a block. Fails with all of it if one of its commands fails."""
    program = folder / "programs" / "bench"
    program.write_text(BENCH.format(python=sys.executable, small=small))
    program.chmod(0o755)
    paths = {
        "PATH": f"{folder / 'programs'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HOME), os.environ.get("PYTHONPATH")])),
        "BENCH_METHODS": str(folder / "methods"),
    }
    shell = ["bash", "-euo", "pipefail", "-c", block.text]
    done = subprocess.run(shell, cwd=folder, env=os.environ | paths, capture_output=True, text=True)
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not shutil.which("bash") or not shutil.which("curl"), reason="no bash or no curl")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(not block.mark for block in in_shell(page))], ids=short
)
def test_the_commands_of_a_page_run(page: Path, scratch: Path) -> None:
    said: list[str] = []
    try:
        for block in blocks(page):
            if block in in_shell(page) and not block.mark:
                said += plain(run(block, scratch, small=page not in AS_WRITTEN))
            elif block.language == "text" and page in AS_WRITTEN:
                wrong = [line for line in plain(block.text) if line and line not in said]
                assert wrong == [], "the page shows lines that its commands do not print"
    finally:
        if (scratch / "server.pid").exists():
            os.kill(int((scratch / "server.pid").read_text()), signal.SIGTERM)


def test_blocks_and_marks_are_found() -> None:
    """If none were found, the test above would check nothing."""
    start = in_shell(HOME / "docs" / "start.md")
    assert start[0].mark.startswith("*Run by") and "pip install" in start[0].text
    assert "bench run" in start[1].text and not start[1].mark
    running = [page for page in PAGES if any(not block.mark for block in in_shell(page))]
    assert len(running) >= 5


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_a_mark_that_names_a_file_names_one_that_exists(page: Path) -> None:
    for block in in_shell(page):
        for target in re.findall(r"\]\(([^)]+)\)", block.mark):
            assert (page.parent / target).exists(), block.mark
