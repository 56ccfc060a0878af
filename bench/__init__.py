"""The reference benchmark for black-box prompt tuning of vision-language models.

From Python: `bench.run`, `bench.load`, `bench.table`, `bench.plot` and `bench.compare` (see bench/api.py).
They are imported when they are first used, so that `import bench` is cheap.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_FROM_PYTHON = ("compare", "load", "plot", "run", "table")


def __getattr__(name: str) -> Any:
    """PEP 562: the functions of bench/api.py. Not kept here: a cell may add no name to a module."""
    if name in _FROM_PYTHON:
        return getattr(import_module(f"{__name__}.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_FROM_PYTHON})
