"""CPU seconds of the leaderboard page: another checkout's code and this one's, on the same records, in turn.

    git worktree add ../before COMMIT
    python benchmarks/leaderboard.py --before ../before

Each time is that of one new process, from its start, with imports, reading of the records and the page. The
ratio is of the medians, so that it does not depend on how busy the machine is.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parents[1]
CODE = """
import sys, time
from pathlib import Path
from bench.report.frame import load
from bench.report.leaderboard import page
folder = Path(sys.argv[1])
found = load(folder)
made = page(found, folder)
print(time.process_time(), len(made), found.cells["path"].nunique(), "torch" in sys.modules)
"""


def timed(checkout: Path, records: Path) -> tuple[float, str]:
    """CPU seconds of one process with a checkout's code, and what it says of the page."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", CODE, str(records)]
    done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=True)
    seconds, size, files, torch = done.stdout.split()
    loaded = "with" if torch == "True" else "without"
    return float(seconds), f"{int(files):,} records, {int(size) / 1e6:.2f} MB, {loaded} torch"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--before", type=Path, help="A checkout with older code. Default: only this one.")
    parser.add_argument("--records", type=Path, default=HERE / "results", help="Folder of the records.")
    parser.add_argument("--runs", type=int, default=3, help="Processes of each checkout. Default: 3.")
    given = parser.parse_args()
    places = {"before": given.before, "now": HERE} if given.before else {"now": HERE}
    found: dict[str, list[tuple[float, str]]] = {name: [] for name in places}
    for _ in range(given.runs):
        for name, place in places.items():
            found[name].append(timed(place.resolve(), given.records.resolve()))
    middle = {name: float(np.median([seconds for seconds, _ in runs])) for name, runs in found.items()}
    for name, runs in found.items():
        print(f"{name}: {middle[name]:.2f} s of CPU time ({runs[0][1]})")
    if given.before:
        print(f"ratio: {middle['before'] / middle['now']:.2f}")


if __name__ == "__main__":
    main()
