"""A run that is killed, and started again, pays for nothing twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from wired import HOME, asking, meter, run_over, served

SCRIPT = """
import sys
from wired import asking, run_over
address, store = sys.argv[1:]
cell = asking(address, "hf", "bar", answers=["probs"], budgets=[6], score="val")
print("go", flush=True)
record = run_over(cell, store=store, run="again", drift=0.0)
print(record.ok, record.error, flush=True)
"""


def test_a_killed_cell_goes_on_and_pays_nothing_twice(tmp_path: Path) -> None:
    store = str(tmp_path / "answers.sqlite")
    environment = os.environ | {"PYTHONPATH": f"{HOME}:{HOME / 'tests'}"}
    with served("--latency", "10ms", "--price", "1.0") as address:
        images = 0
        for _ in range(3):
            command = [sys.executable, "-c", SCRIPT, address, store]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
            assert process.stdout is not None
            assert process.stdout.readline() == "go\n"
            begun = time.monotonic()
            while meter(address)["images"] < images + 60 and time.monotonic() - begun < 60:
                time.sleep(0.02)
            images = meter(address)["images"]
            os.kill(process.pid, signal.SIGKILL)
            process.wait(20)
        cell = asking(address, "hf", "bar", answers=["probs"], budgets=[6], score="val")
        resumed = run_over(cell, store=store, run="again")
        paid = meter(address)
        again = run_over(cell, store=store, run="third", drift=0.0)
        untouched = meter(address)["images"]
        whole = run_over(cell, fresh=True, run="whole")
        unbroken = meter(address)["images"] - untouched
    assert resumed.ok and again.ok and whole.ok, (resumed.error, again.error, whole.error)
    assert images >= 150
    assert resumed.trace == again.trace == whole.trace
    assert resumed.prompt == again.prompt == whole.prompt
    # both include the requests of the probe
    assert paid["images"] == unbroken
    assert untouched == paid["images"]
    cost = again.run.wire
    assert cost is not None
    assert (cost.images, cost.requests, again.queries) == (0, 0, 6)
    assert cost.hits > 0
