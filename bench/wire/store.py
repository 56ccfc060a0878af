"""Answers that were paid for, on disk: a question that was answered once is not asked again.

A file of SQLite, which survives a process that is killed and which several processes may share. A row is the
answer to one image and its texts, under the sha256 of both and of the endpoint.
"""

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.errors import UserError
from bench.wire.failed import WireFailed

TABLES = """
CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, run TEXT, said BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent (run TEXT PRIMARY KEY, dollars REAL);
"""
PARTS = 500  # keys of one look-up; SQLite takes 999


@dataclass(frozen=True)
class Kept:
    """said: [C] float64, as the endpoint said it. run: in which it was asked."""

    said: Tensor
    run: str


class Answers:
    """The store of one file; None: in memory. Threads may share it. Raises UserError if it cannot be used."""

    def __init__(self, path: str | None) -> None:
        self._lock = threading.Lock()
        try:
            if path:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path or ":memory:", timeout=60.0, check_same_thread=False)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=NORMAL")
            with self._base:
                self._base.executescript(TABLES)
        except (sqlite3.Error, OSError) as error:
            raise UserError(f"the answers in {path} cannot be used: {error}. Move that file away.") from None

    def close(self) -> None:
        self._base.close()

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Kept]:
        """What is kept of these."""
        found: dict[bytes, Kept] = {}
        with self._lock:
            for start in range(0, len(keys), PARTS):
                part = keys[start : start + PARTS]
                marks = ",".join("?" * len(part))
                asked = f"SELECT key, run, said FROM answers WHERE key IN ({marks})"
                for key, run, said in self._base.execute(asked, part):
                    numbers = np.frombuffer(said, dtype="<f8").copy()
                    found[key] = Kept(torch.from_numpy(numbers), run)
        return found

    def keep(self, rows: Iterable[tuple[bytes, Tensor]], run: str) -> None:
        """Write answers [C] down, at once: a process that is killed afterwards has them."""
        given = [(key, run, said.numpy().astype("<f8").tobytes()) for key, said in rows]
        with self._lock, self._base:
            self._base.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", given)

    def paid(self) -> float:
        """Dollars that all runs have spent which share this store."""
        with self._lock:
            return float(self._base.execute("SELECT COALESCE(SUM(dollars), 0) FROM spent").fetchone()[0])

    def spend(self, run: str, dollars: float, limit: float | None) -> None:
        """Take dollars from what all runs may spend that share this store, in all their processes.

        dollars: negative ones are given back. Raises WireFailed if they do not fit.
        """
        if not dollars:
            return
        with self._lock, self._base:
            self._base.execute("BEGIN IMMEDIATE")
            spent = float(self._base.execute("SELECT COALESCE(SUM(dollars), 0) FROM spent").fetchone()[0])
            # a sum of cents may end a rounding error above its limit
            if limit is not None and spent + dollars > limit * (1 + 1e-9):
                raise WireFailed(
                    f"{spent:.4f} of {limit:g} dollars are spent in this results folder, and {dollars:.4f} "
                    "more do not fit: give a higher --spend"
                )
            added = "ON CONFLICT(run) DO UPDATE SET dollars = dollars + excluded.dollars"
            self._base.execute(f"INSERT INTO spent VALUES (?, ?) {added}", (run, dollars))
