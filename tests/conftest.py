"""What all tests share: the signals as a terminal sets them, the option --renew, and the benchmark scripts.

A shell starts background jobs with SIGINT ignored (nohup: SIGHUP). Child processes inherit that, and a run
ignores a signal that it was told to ignore. The tests of interruption need a run that reacts.
"""

import importlib.util
import os
import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester"]
# Two workers run the tests (pyproject.toml), and each has one core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# HYPOTHESIS_PROFILE=large tries many more made-up inputs, others each time.
_common = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("small", max_examples=60, derandomize=True, **_common)
settings.register_profile("large", max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "3000")), **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "small"))

for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew", action="store_true", help="write tests/golden/traces.json again")


def script(name: str) -> ModuleType:
    """benchmarks/NAME.py as a module."""
    path = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module while the file runs
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def board() -> ModuleType:
    """benchmarks/board.py as a module."""
    return script("board")


@pytest.fixture(scope="session")
def same_bytes() -> ModuleType:
    """benchmarks/same_bytes.py as a module."""
    return script("same_bytes")


@pytest.fixture(scope="session")
def kept_work() -> ModuleType:
    """benchmarks/kept_work.py as a module."""
    return script("kept_work")


@pytest.fixture(scope="session")
def image_tower() -> ModuleType:
    """benchmarks/image_tower.py as a module."""
    return script("image_tower")


@pytest.fixture(scope="session")
def precision() -> ModuleType:
    """benchmarks/precision.py as a module."""
    return script("precision")


@pytest.fixture(scope="session")
def simulation() -> ModuleType:
    """benchmarks/error_rates.py as a module."""
    return script("error_rates")


@pytest.fixture(scope="session")
def tuning() -> ModuleType:
    """benchmarks/tune_mini.py as a module."""
    return script("tune_mini")
