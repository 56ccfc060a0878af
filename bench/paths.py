"""The folders on disk: the cache, the data sets, the package itself."""

import os
from pathlib import Path

from bench.errors import UserError

PACKAGE = Path(__file__).resolve().parent
HOME = PACKAGE.parent  # this folder must be on sys.path for `import bench`
RESULTS = Path("runs")  # the default folder of the records, for runs and for reports


def checkout() -> Path | None:
    """The source checkout from which this package runs; None if it was installed from a wheel."""
    return HOME if (HOME / "pyproject.toml").exists() and (HOME / "methods").is_dir() else None


def cache_dir() -> Path:
    """The folder of rendered images and image features: `BENCH_CACHE`, else ~/.cache/bench.

    It can be deleted at any time. Raises RuntimeError where there is no home folder.
    """
    return Path(os.environ.get("BENCH_CACHE") or Path.home() / ".cache" / "bench").expanduser()


def data_root() -> Path:
    """The folder that holds the papers' data sets: `BENCH_DATA`, else ./data."""
    return expanded(os.environ.get("BENCH_DATA") or "data")


def expanded(path: str) -> Path:
    """The path that a user means, '~' for the home folder. Raises UserError where there is no such folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path!r} names the home folder of nobody here: write the path out.") from error
