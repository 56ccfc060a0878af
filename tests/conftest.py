"""Before any test: the signals as a terminal leaves them.

A shell starts background jobs with SIGINT ignored (nohup: SIGHUP), children inherit that, and a run that is
told to ignore a signal does so. The tests of interruption want a run that listens.
"""

import signal

import pytest

for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew", action="store_true", help="write tests/golden/traces.json anew")
