"""Runs one cell, from start to record. Read this file first: it shows the path of the data in one page."""

import base64
import os
import platform
import resource
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import lru_cache
from importlib.metadata import version

import numpy as np
import torch

from bench import __version__
from bench.answered import parse
from bench.blackbox import BudgetSpent
from bench.chat import ChatFailed, Conversation
from bench.errors import UserError
from bench.isolation import Before, Spoiled
from bench.lab import CellFeatures, Lab, Settings
from bench.method import Method
from bench.models.backbone import model_dtype
from bench.params import make_params
from bench.plugins import load_method
from bench.predictor import LocalPredictor, Predictor
from bench.prompt import Prompt
from bench.pulse import OutOfTime, Pulse, Stopped
from bench.record import Deployed, Expected, Made, Record, as_read, failure
from bench.resolve import Resolved, described, resolve_record
from bench.trial import Trial, Watch
from bench.wire.failed import WireFailed

# The packages that draw numbers, supply data or compute.
PACKAGES = (
    "torch", "torchvision", "open_clip_torch", "timm", "ray", "numpy", "scipy", "scikit-learn", "pillow",
    "matplotlib", "cma",
)  # fmt: skip


def run_cell(
    resolved: Resolved,
    settings: Settings,
    lab: Lab | None = None,
    watch: Watch = lambda predictor: predictor,
    pulse: Pulse | None = None,
) -> Record:
    """Run one cell and return its record.

    An exception in the method gives a record with status "failed" and the traceback, whatever its type. So
    does a change of what later cells use, however the method ended. UserError (bad input), Stopped and Ctrl-C
    pass through. Raises Spoiled if this process should run no more cells. watch, pulse: see Trial.
    """
    lab = lab or _lab(settings)
    started, clock = datetime.now(timezone.utc), time.perf_counter()
    torch.set_num_threads(1)  # one thread per worker: faster in total, and the order of sums is fixed
    lab.load(resolved)
    lab.augmented.forget()
    before, pulse = Before(), pulse or Pulse()
    pulse.start()
    try:
        record = _attempt(resolved, settings, lab, watch, pulse)
    finally:
        pulse.end()
        faults = before.compare(lab.broken)
        if faults.spoiled:
            lab.clear()
    if not faults:
        lab.augmented.write()
    else:
        record = replace(record, status="failed", error=f"{record.error or ''}{faults}", accuracy={})
    made = machine(settings.device, resolved.precision, started, round(time.perf_counter() - clock, 3))
    made = replace(made, wire=record.run.wire, flipped=record.run.flipped)
    record = as_read(replace(record, run=made))
    if faults.spoiled:
        raise Spoiled(record)
    return record


def _attempt(resolved: Resolved, settings: Settings, lab: Lab, watch: Watch, pulse: Pulse) -> Record:
    """The record of a method's run, without its `run` field; a failed record if the method raises."""
    trial = conversation = None
    try:
        conversation = converse(resolved, settings)
        method, trial = prepare(resolved, lab, watch, conversation, pulse)
        about = described(type(method))
        trial.report(method.prompt(method.x0))
        with suppress(BudgetSpent):
            method.tune()
        trial.finish()
        record = replace(_record(resolved, lab, method, trial), **about)
    except (UserError, Stopped):
        raise
    except OutOfTime as error:
        lab.clear()  # it may have come in the middle of a change
        record = _failed(resolved, trial, str(error))
    except (ChatFailed, WireFailed) as error:
        record = _failed(resolved, trial, str(error))
    except BaseException as error:  # SystemExit and KeyboardInterrupt, too, if the method raises them
        if _from_the_keyboard(error):
            raise
        record = _failed(resolved, trial, traceback.format_exc())
    return record if conversation is None else conversation.written_to(record)


def _from_the_keyboard(error: BaseException) -> bool:
    """Whether a KeyboardInterrupt may be Ctrl-C: Python raises one, unless a run has its own handler."""
    mine = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    return isinstance(error, KeyboardInterrupt) and mine and handler is signal.default_int_handler


def _failed(resolved: Resolved, trial: Trial | None, error: str) -> Record:
    """The record of a failed run, with the queries that it spent."""
    record = replace(failure(resolved.cell, error), params=dict(resolved.params))
    if trial is None:
        return record
    meter, points = trial.meter, trial.trace.scored
    made = Made(wire=trial.predictor.cost)
    return replace(record, queries=meter.spent, image_queries=meter.image_queries, trace=points, run=made)


def converse(resolved: Resolved, settings: Settings) -> Conversation | None:
    """The conversation of a cell whose method asks a language model, else None.

    Raises UserError if the language model cannot be asked.
    """
    if resolved.model is None:
        return None
    from bench import endpoint  # imports an HTTP client, which other cells do not need

    return endpoint.converse(resolved.cell, resolved.model, settings.chat)


def prepare(
    resolved: Resolved,
    lab: Lab,
    watch: Watch = lambda predictor: predictor,
    conversation: Conversation | None = None,
    pulse: Pulse | None = None,
) -> tuple[Method, Trial]:
    """The method and the trial behind its box. No query is spent yet. Raises UserError."""
    cell = resolved.cell
    cls = load_method(cell.method, fresh=True)
    params = make_params(cell.method, resolved.params)
    features = CellFeatures(lab, resolved.precision)
    predictor, rough = predictor_of(resolved, lab, features), rough_predictor(resolved, lab, features)
    trial = Trial(cell, lab.task(resolved), predictor, features, cls.access, watch, pulse, rough)
    chat = None if conversation is None else conversation.chat
    return cls(trial.box, params, cell.seed_for("method"), chat), trial


def predictor_of(resolved: Resolved, lab: Lab, features: CellFeatures) -> Predictor:
    """What answers in a cell: the model of this process, or an endpoint. Raises UserError."""
    cell = resolved.cell
    if not cell.endpoint:
        return LocalPredictor(lab.backbone(resolved), features, cell.pixels_8bit)
    from bench.wire.predictor import RemotePredictor

    dtype = model_dtype(resolved.precision)
    return RemotePredictor(lab.asker(resolved), parse(cell.answers), lab.settings.device, dtype)


def rough_predictor(resolved: Resolved, lab: Lab, features: CellFeatures) -> Predictor | None:
    """What answers when earlier checkpoints are scored; None if the precision has no arithmetic for that."""
    cell = resolved.cell
    model = None if cell.endpoint else lab.backbone(resolved).rough
    return None if model is None else LocalPredictor(model, features, cell.pixels_8bit, "rough trunk")


def _record(resolved: Resolved, lab: Lab, method: Method, trial: Trial) -> Record:
    points = trial.trace.scored
    return Record(
        cell=resolved.cell,
        status="ok",
        n_params=int(method.n_params),
        params=dict(resolved.params),
        queries=trial.meter.spent,
        image_queries=trial.meter.image_queries,
        accuracy=points[-1].accuracy,
        n_test=trial.scorer.n_test,
        n_train=len(lab.task(resolved).train),
        trace=points,
        prompt=pack(trial.deployed),
        deploy_queries=0 if trial.deployed is None else len(trial.deployed.sent),
        outcomes=trial.outcomes,
        hashes=expected(resolved, lab).hashes,
        targets=resolved.targets,
        run=Made(wire=trial.predictor.cost, flipped=trial.scorer.flipped),
    )


def expected(resolved: Resolved, lab: Lab | None = None) -> Expected:
    """What a current record of this cell must agree with. Without a lab, only what needs no loading."""
    if lab is None:
        return Expected(resolved.params, resolved.hashes, resolved.precision)
    weights = lab.weights_hash(resolved)
    hashes = replace(resolved.hashes, split=lab.split_hash(resolved), weights=weights)
    return Expected(resolved.params, hashes, resolved.precision)


def pack(prompt: Prompt | None) -> Deployed:
    """A deployed prompt as data for a record."""
    if prompt is None:
        return Deployed()
    state = None
    if prompt.state is not None:
        state = base64.b64encode(prompt.state.detach().cpu().numpy().astype("<f4").tobytes()).decode()
    return Deployed(state, prompt.template)


def unpack(stored: Deployed, method: Method) -> Prompt:
    """The prompt from the data of `pack`, built again by its method."""
    if stored.state is None:
        return replace(method.prompt(None), template=stored.template)
    state = np.frombuffer(base64.b64decode(stored.state), dtype="<f4").copy()
    return method.prompt(torch.from_numpy(state).double().to(method.box.device))


def rebuild(record: Record, lab: Lab) -> tuple[Prompt, Method, Trial]:
    """The deployed prompt of a record, its method, and a new trial that can send it. Raises UserError."""
    method, trial = prepare(resolve_record(record), lab)
    return trial.door.deployed(unpack(record.prompt, method)), method, trial


def machine(device: str, precision: str, started: datetime, seconds: float) -> Made:
    """When, where and with what a record was made."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    on_gpu = device.startswith("cuda")
    return Made(
        started=started.isoformat(timespec="seconds"),
        seconds=seconds,
        device=device,
        precision=precision,
        hardware=hardware(device),
        pid=os.getpid(),
        peak_memory_mib=round(peak, 1),
        peak_gpu_memory_mib=round(torch.cuda.max_memory_reserved(device) / 2**20, 1) if on_gpu else None,
        versions={
            "bench": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
    )


def hardware(device: str) -> str:
    """The name of what computes on this device."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else cpu_name()


def cpu_name() -> str:
    """The processor's name, from the system."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@lru_cache(1)
def _lab(settings: Settings) -> Lab:
    """The lab of this process. It outlives a cell, because loading takes long."""
    return Lab(settings)
