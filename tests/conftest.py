"""What all tests share: the signals as a terminal sets them, the option --renew, and one fixture.

A shell starts background jobs with SIGINT ignored (nohup: SIGHUP). Child processes inherit that, and a run
ignores a signal that it was told to ignore. The tests of interruption need a run that reacts.
"""

import importlib.util
import signal
from pathlib import Path
from types import ModuleType

import pytest

for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew", action="store_true", help="write tests/golden/traces.json again")


@pytest.fixture(scope="session")
def same_bytes() -> ModuleType:
    """benchmarks/same_bytes.py as a module."""
    path = Path(__file__).parents[1] / "benchmarks" / "same_bytes.py"
    spec = importlib.util.spec_from_file_location("same_bytes", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
