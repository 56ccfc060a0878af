"""The architecture: imports point one way, there is no circle, and reports do not load torch."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import bench
from bench.contract import IMPORTS, LIBRARIES
from bench.plugins import METHODS

PACKAGE = Path(bench.__file__).parent

# A file may import from its own layer and from those below. A new file of the package needs a place here.
LAYERS = [
    {
        "",
        "errors",
        "files",
        "paths",
        "toml",
        "cache",
        "exact",
        "code",
        "retry",
        "pixels",
        "http",
        "remembered",
        "words",
    },
    {"answered"},
    {"access", "remote", "pulse"},
    {"cell", "prompt", "methods", "precision"},
    {"protocols", "blackbox", "record", "optim"},
    {"chat"},
    {"method", "meter", "outcome", "isolation", "store", "door", "endpoint"},
    {"plugins"},
    {"params", "suite", "declared", "data", "models", "mini", "templates"},
    {"loader", "trace", "resolve", "checks"},
    {"predictor"},
    {"coarse", "deploy"},
    {"wire", "serve"},
    {"scorer", "lab"},
    {"trial"},
    {"runner"},
    {"again"},
    {"plan", "forecast", "schedule", "report", "bill"},
    {"contract", "apart"},
    {"testing"},
    {"commands", "__main__"},
    {"api"},
]


def imports(path: Path) -> Iterator[str]:
    """Dotted names of all modules that a file imports.

    Imports in functions, those for type checkers, and import_module with a literal name count, too.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            package = node.module or ""
            modules = (f"{package}.{alias.name}" for alias in node.names)
            yield from (name if _is_module(name) else package for name in modules)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (name.value for name in node.args if isinstance(name, ast.Constant))


def _is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def module_of(source: str) -> str:
    """'report/frame.py' -> 'bench.report.frame'."""
    return ".".join(("bench", *Path(source).with_suffix("").parts)).removesuffix(".__init__")


def layer(module: str) -> int:
    """The layer of a module of bench."""
    part = module.partition(".")[2].partition(".")[0]
    found = [number for number, names in enumerate(LAYERS) if part in names]
    assert found, f"bench.{part} has no layer in {__file__}"
    return found[0]


def sources() -> list[str]:
    return sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


def ours(source: str) -> set[str]:
    return {name for name in imports(PACKAGE / source) if name.split(".")[0] == "bench"}


@pytest.mark.parametrize("source", sources())
def test_imports_point_down(source: str) -> None:
    own = module_of(source)
    assert [name for name in ours(source) if layer(name) > layer(own)] == []


def test_imports_form_no_circle() -> None:
    """Each module counts by itself; a package's __init__ does not stand for the modules in the package."""
    graph = {module_of(source): ours(source) - {module_of(source)} for source in sources()}
    assert len(graph) > 60 and graph["bench.trial"] >= {"bench.meter", "bench.scorer"}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_every_form_of_import_is_found(tmp_path: Path) -> None:
    text = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from bench.store import Store\n"
        "def f():\n    import importlib\n    importlib.import_module('bench.plan')\n"
    )
    (tmp_path / "one.py").write_text(text)
    assert {"bench.store", "bench.plan"} <= set(imports(tmp_path / "one.py"))


@pytest.mark.parametrize("name", METHODS.files())
def test_a_method_imports_the_black_box_and_nothing_else(name: str) -> None:
    for module in imports(METHODS.file(name)):
        root = module.split(".")[0]
        allowed = module in IMPORTS or module.startswith("bench.methods.")
        assert allowed or (root != "bench" and root in LIBRARIES), module


def test_the_folders_of_plug_ins_are_not_packages() -> None:
    home = PACKAGE.parent
    if not (home / "pyproject.toml").exists():
        pytest.skip("not a checkout")
    assert not (home / "methods" / "__init__.py").exists()
    assert not list((home / "datasets").rglob("*.py"))


def loaded(script: str, *suspects: str) -> set[str]:
    """The modules among `suspects` that a new process has loaded after the script."""
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


def test_reports_load_neither_torch_nor_ray() -> None:
    lines = [f"import {module_of(s)}" for s in sources() if s.startswith("report")]
    assert len(lines) > 5
    lines += ["import bench.store, bench.record, bench.commands.report, bench.commands.results"]
    assert loaded("\n".join(lines), "torch", "ray", "open_clip", "timm") == set()


def test_help_loads_no_large_package() -> None:
    script = """
from click.testing import CliRunner
from bench.commands.main import main
for arguments in (["--help"], ["run", "--help"]):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0 and "Usage" in result.output, result.output
"""
    assert loaded(script, "torch", "ray", "pandas", "matplotlib", "open_clip") == set()


def test_a_local_run_never_loads_ray() -> None:
    script = """
import tempfile, toy_runs
from bench.schedule.pool import run_all
done = []
settings = toy_runs.Settings(tempfile.gettempdir())
run_all([toy_runs.resolved()], settings, run=toy_runs.run, on_record=done.append, local=True)
assert len(done) == 1
"""
    assert loaded(script, "ray", "torch") == {"torch"}
