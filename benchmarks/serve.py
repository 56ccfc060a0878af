"""How many images a second `bench serve` answers, compared with the same model in this process.

    python benchmarks/serve.py [--backbone mini] [--images 512] [--rounds 5]

The server runs in a process of its own on the loopback. The client is that of `bench run`, without a store.
All ways send the same number of images with the same 10 texts. No image is sent twice, so that nobody answers
from memory. The ways take turns, and the best round of each counts, as the machine may do other work as well.
Processor time is that of server and client together (Linux only); other work changes it less than wall time.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bench.answered import parse
from bench.data.images import View
from bench.models import load_backbone
from bench.remote import AT_ONCE, Wiring
from bench.runner import cpu_name
from bench.serve.model import Model
from bench.wire.asker import Asked, Tally
from bench.wire.connect import connected, endpoint

TEXTS = tuple(f"a photo of the digit {i}." for i in range(10))
ROUTES = {"oip": "/v2/models/clip", "hf": "/hf/models/clip"}


@contextmanager
def served(backbone: str) -> Iterator[tuple[str, int]]:
    """The address of a server, and its process."""
    command = [sys.executable, "-m", "bench", "serve", "--backbone", backbone, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1], process.pid
    finally:
        process.terminate()
        process.wait(20)


def in_process(backbone: str, precision: str) -> Callable[[Tensor], object]:
    """The model of the server, without one."""
    loaded = load_backbone(backbone, "cpu", precision).warm()
    model = Model(loaded, parse("logits"), View(loaded.image_size, loaded.resize_mode, loaded.interpolation))
    return lambda images: model.said(model.images(images) @ model.texts(TEXTS).T)


def over_the_wire(address: str, dialect: str, at_once: int) -> Callable[[Tensor], object]:
    """The same, asked for."""
    asker = connected(endpoint(address + ROUTES[dialect], dialect), replace(Wiring(), at_once=at_once))
    return lambda images: asker.ask([Asked(images, TEXTS)], Tally())


def worked(pid: int) -> float:
    """Processor seconds of another process and of this one."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK") + time.process_time()


def seconds(way: Callable[[], object], pid: int) -> tuple[float, float]:
    """Wall and processor time of one call."""
    begun, before = time.perf_counter(), worked(pid)
    way()
    return time.perf_counter() - begun, worked(pid) - before


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--backbone", default="mini")
    parser.add_argument("--precision", default="float64", help="of both sides; bench serve has it for mini")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with served(given.backbone) as (address, pid):
        ways = {"in this process": in_process(given.backbone, given.precision)}
        for dialect in ROUTES:
            for at_once in (1, 8):
                name = f"{dialect}, {AT_ONCE[dialect]} images a request, {at_once} at a time"
                ways[name] = over_the_wire(address, dialect, at_once)
        size = endpoint(address + ROUTES["oip"], "oip").image_size
        shape, draw = (given.images, 3, size, size), torch.Generator().manual_seed(0)
        best = dict.fromkeys(ways, (float("inf"), float("inf")))
        for _ in range(given.rounds):
            for name, way in ways.items():
                images = torch.randint(256, shape, generator=draw, dtype=torch.uint8)
                wall, cpu = seconds(partial(way, images), pid)
                best[name] = min(best[name][0], wall), min(best[name][1], cpu)
    print(f"{cpu_name()}, torch {torch.__version__}, {given.images} images, best of {given.rounds}")
    print(f"{'':<40}{'images/s':>10}{'ratio':>8}{'ms of processor an image':>26}{'ratio':>8}")
    first = best["in this process"]
    for name, (wall, cpu) in best.items():
        shown = f"{given.images / wall:>10,.0f}{first[0] / wall:>8.2f}"
        print(f"{name:<40}{shown}{1000 * cpu / given.images:>26.2f}{first[1] / cpu:>8.2f}")


if __name__ == "__main__":
    main()
