"""A server on a free port of the loopback, and cells that ask it, for tests."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bench.data.dataset import RenderedDataset
from bench.lab import Lab, Settings
from bench.plan import make_cells
from bench.record import Record
from bench.remote import Endpoint, Wiring
from bench.resolve import Resolved, resolve
from bench.runner import run_cell
from bench.suite import load_suite
from bench.wire.connect import endpoint

ROUTES = {"oip": "/v2/models/clip", "hf": "/hf/models/clip", "rank": "/rank", "chat": "/v1"}
PROBED = 4  # images of a probe
HOME = Path(__file__).parents[1]


@contextmanager
def served(*flags: str, **keys: str) -> Iterator[str]:
    """The address of `bench serve` with these flags, in a process of its own. keys: $BENCH_KEY_NAME."""
    command = [sys.executable, "-m", "bench", "serve", "--port", "0", *flags]
    environment = os.environ | {"PYTHONPATH": str(HOME), "PYTHONUNBUFFERED": "1"}
    environment |= {f"BENCH_KEY_{name.upper()}": key for name, key in keys.items()}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HOME, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert " at http" in line, line
        yield line.split()[-1]
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def few_images() -> Iterator[None]:
    """Inside, the mini suite's data sets have at most 49 images to score on, of all classes."""
    whole = RenderedDataset.images

    def some(self: Any, items: Any, view: Any, keep: bool, device: Any = "cpu") -> Any:
        return whole(self, items if keep else items[:: max(1, len(items) // 25)], view, keep, device)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RenderedDataset, "images", some)
        yield


def meter(address: str, key: str = "") -> dict[str, Any]:
    """What a key has used, as the server counts it."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    found: dict[str, Any] = httpx2.get(f"{address}/meter", headers=headers).json()
    return found


def asking(address: str, dialect: str, method: str, **what: Any) -> Resolved:
    """A cell of mini-digits whose model is at that address. what: arguments of make_cells."""
    return cell_of(method, endpoint(address + ROUTES[dialect], dialect), **what)


def cell_of(method: str, at: Endpoint | None, **what: Any) -> Resolved:
    """A cell of mini-digits, of the model at an endpoint or in this process, with pixels in bytes."""
    suite = load_suite("mini")
    fields = {"datasets": ["mini-digits"], "pixels_8bit": True} | what
    (cell,) = resolve(make_cells(suite, [method], endpoint=at, **fields), suite, endpoint=at)
    return cell


def run_over(cell: Resolved, **wiring: Any) -> Record:
    """Run a cell in this process. wiring: of bench.remote.Wiring."""
    settings = Settings(wiring=Wiring(**({"first_wait": 0.02} | wiring)))
    lab = Lab(settings)
    try:
        return run_cell(cell, settings, lab)
    finally:
        lab.clear()


def streamed(response: httpx2.Response) -> httpx2.Response:
    """The response as it comes from a socket, its body not read yet."""
    if not response.is_stream_consumed:
        return response
    body = httpx2.ByteStream(response.content)
    return httpx2.Response(response.status_code, headers=response.headers, stream=body)
