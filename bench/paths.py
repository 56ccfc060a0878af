"""Where things lie on disk: the cache, the data sets, the package itself."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
HOME = PACKAGE.parent  # the folder that has to be on sys.path for `import bench`
RESULTS = Path("runs")  # where records go, and reports look, unless told otherwise


def checkout() -> Path | None:
    """The source checkout this package runs from, or None when it was installed from a wheel."""
    return HOME if (HOME / "pyproject.toml").exists() and (HOME / "methods").is_dir() else None


def cache_dir() -> Path:
    """Rendered images and image features: `BENCH_CACHE`, else ~/.cache/bench. Safe to delete at any time."""
    return Path(os.environ.get("BENCH_CACHE") or Path.home() / ".cache" / "bench").expanduser()


def data_root() -> Path:
    """The folder that holds the papers' data sets: `BENCH_DATA`, else ./data."""
    return Path(os.environ.get("BENCH_DATA") or "data").expanduser()
