"""Verifies the rows of the leaderboard whose records a branch adds, changes or removes.

    python .ci/records.py BASE      with BASE what the branch goes into, e.g. origin/main

A row is one method under one protocol of a suite. It is verified whole, because a table takes it whole: a
seed that one data set lacks shows only beside the others. Exit code 1 if anything is wrong.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
DEPTH = 6  # results/SUITE/PROTOCOL/DATASET/METHOD/FILE


def changed(base: str) -> list[Path]:
    """The records that the commits since `base` touch, relative to the checkout."""
    command = ["git", "diff", "-z", "--name-only", "--no-renames", f"{base}...HEAD", "--", "results/*.json"]
    names = subprocess.run(command, cwd=HOME, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [Path(name) for name in names.split("\0") if name]


def rows(records: Iterable[Path]) -> list[Path]:
    """The folders of these records' rows, one for each data set; a record elsewhere stands for itself."""
    found: set[Path] = set()
    for record in records:
        if len(record.parts) == DEPTH:
            results, suite, protocol, _, method, _ = record.parts
            found |= set((HOME / results / suite / protocol).glob(f"*/{method}"))
        elif (HOME / record).exists():
            found.add(HOME / record)
    return sorted(path.relative_to(HOME) for path in found)


def verify(paths: Iterable[Path]) -> int:
    """The exit code of `bench results verify` on a copy of these paths: it names no fault of other rows."""
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            copy = shutil.copytree if (HOME / path).is_dir() else shutil.copy
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            copy(HOME / path, Path(folder) / path)
        command = [sys.executable, "-m", "bench", "results", "verify", "results", "--rescore"]
        return subprocess.run(command, cwd=folder, check=False).returncode


def main() -> int:
    """The exit code: 0 where every row is sound or no record is touched, 1 or 2 otherwise."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        touched = changed(sys.argv[1])
    except subprocess.CalledProcessError:
        return 2  # git has said why
    left = rows(touched)
    print(f"records added, changed or removed: {len(touched)}; folders to verify: {len(left)}", flush=True)
    return verify(left) if left else 0


if __name__ == "__main__":
    sys.exit(main())
