"""The arrows of the architecture: imports point one way, and tables cost no torch."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bench
from bench.contract import IMPORTS, LIBRARIES
from bench.methods import method_files

PACKAGE = Path(bench.__file__).parent

# A file may import from its own layer and from those below. A new file of the package needs a place here.
LAYERS = [
    {"", "errors", "paths", "toml", "signals", "cache"},
    {"cell", "prompt"},
    {
        "blackbox",
        "method",
        "optim",
        "data",
        "models",
        "mini",
        "methods",
        "datasets",
        "suites",
        "store",
        "gpu",
    },
    {"run"},
    {"pool", "plan", "report"},
    {"progress", "contract", "check"},
    {"cli", "__main__"},
]


def imports(path: Path) -> Iterator[str]:
    """Dotted names of the modules a file imports, anywhere in it; not those that only type checkers see."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            package = node.module or ""
            modules = (f"{package}.{alias.name}" for alias in node.names)
            yield from (name if _is_module(name) else package for name in modules)


def _is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def layer(module: str) -> int:
    """The layer of a dotted name below bench."""
    part = module.partition(".")[2].partition(".")[0]
    found = [number for number, names in enumerate(LAYERS) if part in names]
    assert found, f"bench.{part} has no layer in {__file__}"
    return found[0]


def sources() -> list[str]:
    return sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("source", sources())
def test_imports_point_down(source):
    own = ".".join(("bench", *Path(source).with_suffix("").parts)).removesuffix(".__init__")
    upward = [
        name
        for name in imports(PACKAGE / source)
        if name.split(".")[0] == "bench" and layer(name) > layer(own)
    ]
    assert upward == []


@pytest.mark.parametrize("name", method_files())
def test_a_method_sees_the_black_box_and_nothing_else(name):
    for module in imports(method_files()[name]):
        root = module.split(".")[0]
        assert module in IMPORTS or (root != "bench" and root in LIBRARIES), module


def test_plug_in_folders_are_no_packages():
    home = PACKAGE.parent
    if not (home / "pyproject.toml").exists():
        pytest.skip("not a checkout")
    assert not (home / "methods" / "__init__.py").exists()
    assert not list((home / "datasets").rglob("*.py"))


def loaded(script: str, *suspects: str) -> set[str]:
    """Which of the suspects a fresh process has loaded after the script."""
    script += "\nimport sys\nprint('LOADED', *{name.split('.')[0] for name in sys.modules})"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), str(Path(__file__).parent)]),
    }
    output = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    ).stdout
    names = next(line for line in output.splitlines() if line.startswith("LOADED")).split()
    return set(names) & set(suspects)


def test_reports_load_neither_torch_nor_ray():
    modules = [
        ".".join(("bench", *Path(s).with_suffix("").parts)) for s in sources() if s.startswith("report")
    ]
    lines = [f"import {name.removesuffix('.__init__')}" for name in modules]
    assert len(lines) > 5
    assert loaded("\n".join([*lines, "import bench.store"]), "torch", "ray", "open_clip", "timm") == set()


def test_help_loads_next_to_nothing():
    script = """
from click.testing import CliRunner
from bench.cli import main
for arguments in (["--help"], ["run", "--help"]):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0 and "Usage" in result.output, result.output
"""
    assert loaded(script, "torch", "ray", "pandas", "matplotlib", "open_clip") == set()


def test_a_local_run_never_loads_ray():
    script = """
import tempfile, toy_runs
from bench.pool import run_all
done = []
settings = toy_runs.Settings(tempfile.gettempdir())
run_all([toy_runs.cell()], settings, run=toy_runs.run, on_record=done.append, local=True)
assert len(done) == 1
"""
    assert loaded(script, "ray", "torch") == {"torch"}
