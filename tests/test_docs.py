"""The site builds without a warning; every method has a page, with the constants of its own code."""

import re
import runpy
import subprocess
import sys
from dataclasses import dataclass
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any

import pytest

from bench.commands.main import main
from bench.paths import checkout
from bench.plugins import METHODS, load_method

HOME = checkout() or Path()
DOCS = HOME / "docs"
pytestmark = pytest.mark.skipif(not (DOCS / "conf.py").is_file(), reason="not a checkout with its docs")


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "parts.py"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors: a link to nothing or a page without a place is one."""
    pytest.importorskip("sphinx")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(DOCS), str(folder)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.mark.timeout(1200)  # it builds the site, on a machine that may be busy
def test_the_site_has_every_page_and_needs_no_network(site: Path) -> None:
    for page in [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]:
        assert (site / page.relative_to(DOCS)).with_suffix(".html").is_file(), page
    for file in site.rglob("*.html"):
        text = file.read_text(encoding="utf-8")
        assert "<!-- build:" not in text, file
        assert re.findall(r'<(?:script|link)[^>]*(?:src|href)="https?://', text) == [], file
    equations = (site / "methods" / "zip.html").read_text(encoding="utf-8")
    assert equations.count("<math") > 10 and "\\frac" not in equations


@pytest.mark.timeout(1200)
def test_the_reference_has_every_command_and_the_box(site: Path) -> None:
    text = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    assert all(f"bench {name}" in text for name in main.list_commands(None))  # type: ignore[arg-type]
    box = (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert 'id="bench.blackbox.BlackBox.pass_loss"' in box and 'id="bench.optim.CMAES"' in box


def test_each_method_has_a_page_and_each_page_a_method() -> None:
    pages = {path.stem for path in (DOCS / "methods").glob("*.md")} - {"index"}
    assert pages == set(METHODS.files())


@pytest.mark.parametrize("name", sorted(METHODS.files()))
def test_a_methods_page_has_its_parts(name: str, parts: dict[str, Any]) -> None:
    text = (DOCS / "methods" / f"{name}.md").read_text(encoding="utf-8")
    for part in ("facts", "constants", "numbers"):
        assert f"<!-- build: {part} {name} -->" in text
    heads = ["Equations", "Constants", "Departures", "Numbers"]
    assert re.findall(r"^## (.+)$", text, re.M) == heads
    table = parts["constants"](name)
    for one in fields_of(load_method(name).Params):
        assert f"| `{one.name}` | `{parts['show'](one.default)}` |" in table


@dataclass(frozen=True)
class Base:
    """The first class."""

    a: int = 1  # beside
    # above,
    # on two lines
    b: int = 2
    c: str = "long"  # inside
    d: int = 3


@dataclass(frozen=True)
class Derived(Base):
    """The second class."""

    b: int = 5
    d: int = 4  # of its own


def test_comments_are_read_from_the_code(parts: dict[str, Any]) -> None:
    assert parts["comments"](Base) == {"a": "beside", "b": "above, on two lines", "c": "inside", "d": ""}
    homes = [(home.__name__, [one.name for one in own]) for home, own in parts["declared"](Derived)]
    assert homes == [("Base", ["a", "c"]), ("Derived", ["b", "d"])]
    said = [parts["meaning"](Derived, name) for name in "abcd"]
    assert said == ["beside", "above, on two lines", "inside", "of its own"]


def test_our_numbers_are_printed_if_their_records_are_current(parts: dict[str, Any], tmp_path: Path) -> None:
    cell = "bench run --methods manual --datasets mini-digits --local --results results"
    subprocess.run([sys.executable, "-m", *cell.split()], cwd=tmp_path, check=True, capture_output=True)
    shown = parts["ours"]("manual", tmp_path / "results" / "mini")
    assert "| Few-shot accuracy (%) | test | 53.9 |" in shown
    assert "no committed record" in parts["ours"]("zip", tmp_path / "results" / "mini")
    (record,) = (tmp_path / "results").rglob("*.json")
    record.write_text(re.sub(r'"method": "[0-9a-f]{64}"', f'"method": "{"0" * 64}"', record.read_text()))
    parts["current"].cache_clear()
    assert "earlier state" in parts["ours"]("manual", tmp_path / "results" / "mini")


def test_published_numbers_stand_as_they_are_printed(parts: dict[str, Any]) -> None:
    assert "| 63.4 | Caltech101 94.0," in parts["theirs"]("zip")
    assert "holds no number" in parts["theirs"]("head")


def test_a_mark_or_a_link_to_nothing_is_an_error(parts: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        parts["filled"]("<!-- build: nothing -->")
    with pytest.raises(FileNotFoundError):
        parts["filled"]("[a file](../bench/nothing.py)")
    assert parts["filled"]("[bench/run](../bench/cell.py)") == "bench/run (`bench/cell.py`)"
    assert parts["filled"]("[cell.py](../bench/cell.py)") == "`bench/cell.py`"
    assert parts["filled"]("[here](start.md#x)") == "[here](start.md#x)"


def test_a_notebook_becomes_a_page(parts: dict[str, Any]) -> None:
    text = parts["notebook"]((DOCS / "notebooks" / "method.ipynb").read_text(encoding="utf-8"))
    assert text.startswith("# A method of your own") and "```python\nfrom pathlib import Path" in text


def test_the_readme_is_short() -> None:
    lines = (HOME / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
