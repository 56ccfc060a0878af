"""The data-set cards: one TOML file each, in the checkout's datasets/ folder (this one, in a wheel).

`BENCH_DATASETS=/dir` adds a folder of your own. Loading and checking them is bench.data.card's work.
"""

import os
from pathlib import Path

from bench.errors import UserError
from bench.paths import checkout

_home = checkout()
if _home is not None:
    __path__.append(str(_home / "datasets"))


def card_files() -> dict[str, Path]:
    """Every card on disk by name (the file's stem), sorted. Raises UserError if two folders share a name."""
    own = os.environ.get("BENCH_DATASETS")
    if own and not Path(own).expanduser().is_dir():
        raise UserError(f"BENCH_DATASETS is {own!r}, which is no folder: create it or unset the variable.")
    folders = [Path(folder) for folder in __path__] + ([Path(own).expanduser()] if own else [])
    found: dict[str, Path] = {}
    for path in sorted(path for folder in folders for path in folder.glob("*.toml")):
        if path.stem in found:
            raise UserError(f"two cards are called {path.stem!r}: {found[path.stem]} and {path}. Rename one.")
        found[path.stem] = path
    return dict(sorted(found.items()))
