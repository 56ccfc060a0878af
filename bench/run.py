"""One cell from start to record. Read this first: the way of the data in one page."""

import base64
import os
import platform
import resource
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench import __version__
from bench.blackbox import BlackBox, BudgetSpent, Images
from bench.cell import Cell
from bench.data.card import joint_hash, load_card
from bench.data.images import View
from bench.data.task import Task, load_task
from bench.gpu import PEAK
from bench.method import Method
from bench.methods import load_method, make_params, method_hash
from bench.models import load_backbone, load_encoder
from bench.models.features import features
from bench.prompt import Prompt
from bench.store import SCHEMA
from bench.suites import Suite, load_suite

TABLES = 32  # feature tables a process keeps


@dataclass(frozen=True)
class Settings:
    """How to run, not what to run. Only the precision moves numbers: with another one a record is stale."""

    device: str = "cpu"
    precision: str = "float32"
    data_root: str | None = None
    offline: bool = False


class Lab:
    """What one process has loaded: models, tasks, features. Kept, so that the next cell starts at once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.backbone = lru_cache(2)(self._backbone)
        self.encoder = lru_cache(2)(self._encoder)
        self._tasks = lru_cache(4)(self._task)
        self._splits: dict[tuple[str, ...], str] = {}
        self._tables: dict[tuple[object, str], Tensor] = {}

    def task(self, cell: Cell) -> Task:
        """Training images and test sets, the same for every method and budget."""
        return self._tasks(replace(cell, method="", budget=0, batch_size=0, overrides=()))

    def hashes(self, cell: Cell) -> dict[str, str]:
        """sha256 of what a cell's numbers come from and only loading tells: the split, the weights. Kept."""
        key = (cell.dataset, cell.protocol, cell.backbone, cell.suite)
        if key not in self._splits:
            self._splits[key] = self.task(cell).split_hash  # the same for all seeds
        return {"split": self._splits[key], "weights": self.backbone(cell.backbone).weights_hash}

    def features(self, model: Any, images: Images) -> Tensor:
        """[N, width] features of a whole set of plain images: worked out once, kept on disk and here."""
        key = (model.identity, images.key)
        if key not in self._tables:
            if len(self._tables) >= TABLES:
                self._tables.pop(next(iter(self._tables)))
            self._tables[key] = features(model, images)
        return self._tables[key]

    def _backbone(self, name: str) -> Any:
        s = self.settings
        return load_backbone(name, device=s.device, precision=s.precision, offline=s.offline)

    def _encoder(self, name: str) -> Any:
        return load_encoder(name, device=self.settings.device, offline=self.settings.offline)

    def _task(self, cell: Cell) -> Task:
        backbone = self.backbone(cell.backbone)
        view = View(backbone.image_size, backbone.resize_mode, backbone.interpolation)
        return open_task(cell, self.settings, view)


def open_task(cell: Cell, settings: Settings, view: View) -> Task:
    """The task of a cell, its images as `view` says. Raises UserError for data that is missing or wrong."""
    return load_task(
        cell.dataset,
        protocol=cell.protocol,
        seed=cell.seed,
        shots=cell.shots,
        view=view,
        root=settings.data_root,
        score=cell.score,
        targets=targets(cell),
        device=settings.device,
    )


def prepare(cell: Cell, lab: Lab, box_type: type[BlackBox] = BlackBox) -> tuple[Method, BlackBox, Any]:
    """The method, its black box and its parameters, with nothing spent yet. Raises UserError."""
    params = params_in_force(cell)
    cls = load_method(cell.method)
    box = box_type(lab.backbone(cell.backbone), lab.task(cell), cell, cls.access, lab)
    return cls(box, params, cell.seed_for("method")), box, params


def params_in_force(cell: Cell) -> Any:
    """The method's defaults, the suite's values over them, the cell's overrides on top."""
    layers = suite_values(load_suite(cell.suite), cell.method, cell.dataset)
    return make_params(cell.method, *layers, dict(cell.overrides))


def suite_values(suite: Suite, method: str, dataset: str) -> tuple[dict[str, Any], ...]:
    """What a suite says of a method, each over the last: its image encoder, where the method has one, the
    method's own table, and what that table holds for the data set."""
    known = {f.name for f in fields(load_method(method).Params)}
    table = dict(suite.methods.get(method, {}))
    own = table.pop("datasets", {}).get(dataset, {})
    return {"encoder": suite.encoder} if "encoder" in known else {}, table, own


def run_cell(
    cell: Cell, settings: Settings, lab: Lab | None = None, box_type: type[BlackBox] = BlackBox
) -> dict[str, Any]:
    """Run one cell and return its record, ready for JSON.

    A method's exception becomes a record with status "failed" and its traceback; UserError (bad input) and
    KeyboardInterrupt pass through.
    """
    lab = lab or _lab(settings)
    started, clock = datetime.now(timezone.utc), time.perf_counter()
    torch.set_num_threads(1)  # one thread a worker: faster in sum, and the same sums everywhere
    method, box, params = prepare(cell, lab, box_type)
    error = None
    try:
        box.report(method.prompt(method.x0))
        with suppress(BudgetSpent):
            method.tune()
        box.finish()
    except Exception:
        error = traceback.format_exc()
    return {
        "schema": SCHEMA,
        "status": "failed" if error else "ok",
        "error": error,
        "cell": cell.as_dict(),
        "title": method.title,
        "variant": cell.variant,
        "access": list(method.access),
        "white_box": method.white_box,
        "n_params": method.n_params,
        "params": asdict(params),
        "queries": box.spent,
        "image_queries": box.image_queries,
        "accuracy": box.trace[-1].accuracy if not error else {},
        "n_test": box.n_test,
        "trace": [asdict(point) for point in box.trace],
        "prompt": pack(box.deployed),
        "hashes": expected(cell, lab)["hashes"],
        "run": {
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - clock, 3),
            **machine(settings),
        },
    }


def targets(cell: Cell) -> tuple[str, ...]:
    """The data sets a prompt is carried over to, its own first; none where it is scored at home."""
    return load_suite(cell.suite).tests(cell.protocol, cell.dataset)


def expected(cell: Cell, lab: Lab | None = None) -> dict[str, Any]:
    """What a current record of this cell agrees with; without a lab only what costs no loading."""
    card = joint_hash(load_card(name).hash for name in targets(cell) or (cell.dataset,))
    return {
        "params": asdict(params_in_force(cell)),
        "hashes": {"method": method_hash(cell.method), "card": card} | (lab.hashes(cell) if lab else {}),
        **({"run": {"precision": lab.settings.precision}} if lab else {}),
    }


def pack(prompt: Prompt | None) -> dict[str, str | None]:
    """A deployed prompt as data: its state (base64 of little-endian float32) or its words."""
    if prompt is None:
        return {"state": None, "template": None}
    state = None
    if prompt.state is not None:
        state = base64.b64encode(prompt.state.detach().cpu().numpy().astype("<f4").tobytes()).decode()
    return {"state": state, "template": prompt.template}


def rebuild(record: dict[str, Any], lab: Lab) -> tuple[Prompt, Method, BlackBox]:
    """The deployed prompt of a record, its method, and a fresh black box to send it through."""
    method, box, _ = prepare(Cell.from_dict(record["cell"]), lab)
    stored = record["prompt"]
    if stored["state"] is None:
        return replace(method.prompt(None), template=stored["template"]), method, box
    state = np.frombuffer(base64.b64decode(stored["state"]), dtype="<f4").copy()
    return method.prompt(torch.from_numpy(state).to(box.device)), method, box


def machine(settings: Settings) -> dict[str, Any]:
    """Where and with what a record was made. Peak memory is the process's, cells before this one included."""
    device = settings.device
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    on_gpu = device.startswith("cuda")
    gpu_memory = {PEAK: round(torch.cuda.max_memory_reserved(device) / 2**20, 1)} if on_gpu else {}
    packages = ("torch", "torchvision", "open_clip_torch", "timm", "ray", "numpy", "pillow", "cma")
    return {
        "peak_memory_mib": round(peak, 1),
        **gpu_memory,
        "device": device,
        "precision": settings.precision,
        "hardware": torch.cuda.get_device_name(device) if on_gpu else cpu_name(),
        "pid": os.getpid(),
        "versions": {
            "bench": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in packages},
        },
    }


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@lru_cache(1)
def _lab(settings: Settings) -> Lab:
    """This process's lab: loading is what costs, so it outlives a cell."""
    return Lab(settings)
