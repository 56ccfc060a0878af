"""The contract that every method must keep, checked on one small data set.

`bench check` and the tests use the same functions.
"""

import ast
import importlib
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from bench.answered import Level
from bench.blackbox import PUBLIC, ModelSpec
from bench.chat import ChatSettings
from bench.deploy import deployed
from bench.errors import UserError, did_you_mean
from bench.isolation import Spoiled
from bench.lab import Lab, Settings
from bench.loader import Sample
from bench.outcome import accuracy, bits
from bench.plan import make_cells
from bench.plugins import METHODS, PACKAGE_OF_METHODS, closure, load_method
from bench.predictor import Answers, Encodings, Predictor
from bench.prompt import Batch, Prompt
from bench.record import Record, Wired, lasting
from bench.resolve import Resolved, resolve, resolve_record
from bench.runner import pack, prepare, rebuild, run_cell
from bench.suite import load_suite
from bench.trial import Trial

IMPORTS = (
    "bench.access", "bench.blackbox", "bench.exact", "bench.method", "bench.methods", "bench.optim",
    "bench.prompt", "bench.templates",
)  # fmt: skip
LIBRARIES = (
    "__future__", "collections", "dataclasses", "functools", "itertools", "math", "numpy", "scipy", "torch",
    "typing",
)  # fmt: skip
FORBIDDEN = (
    "open", "eval", "exec", "compile", "globals", "vars", "getattr", "setattr", "delattr", "breakpoint",
    "__import__", "__builtins__",
    "torch.load", "torch.hub", "torch.jit", "torch.from_file", "torch.serialization", "torch.package",
    "torch.ops", "torch.classes", "torch.multiprocessing",
    "numpy.load", "numpy.loadtxt", "numpy.genfromtxt", "numpy.fromfile", "numpy.memmap", "numpy.lib",
    "numpy.ctypeslib", "scipy.io",
)  # fmt: skip
SETTINGS = Settings(chat=ChatSettings(scripted=True))  # the scripted model gives the same answers each time
AWKWARD = (1, 7, 53)  # budgets (queries) below one step, or between two steps


ACCESS, BUDGET, RUNS = "access: public names only", "budget kept", "runs"
REPORTS = "reports a prompt"
SAME, REBUILT = "same record in another process", "prompt rebuilt from its record"
ONE_BY_ONE, LEARNS = "images one by one", "learns more than noise"
# In the order in which they are checked.
POINTS = (ACCESS, BUDGET, RUNS, REPORTS, SAME, REBUILT, ONE_BY_ONE, LEARNS)
LEAST_Z = -2.0  # of the change of the validation accuracy: chance alone goes below it in 2 of 100 runs


@dataclass(frozen=True)
class Verdict:
    """One point of the contract. note: what is allowed and seldom meant; "" if there is nothing to say."""

    point: str
    kept: bool
    detail: str
    note: str = ""


def check(
    name: str, dataset: str = "mini-digits", budget: int = 1000, overrides: Sequence[str] = ()
) -> Iterator[Verdict]:
    """Check the contract for one method on one data set of the mini suite, and yield each verdict.

    overrides: as of `bench run --set`, e.g. ["zip.rank=1"]. Prompts are scored on validation images, so that
    nobody tunes a method on what a check says about test images. Raises UserError for an unknown method, data
    set or parameter.
    """
    load_method(name)
    yield reads_no_further(METHODS.file(name))
    suite = load_suite("mini")
    where: dict[str, Any] = {"datasets": [dataset], "budgets": [budget], "overrides": overrides}
    cells = resolve(make_cells(suite, [name], score="val", **where), suite)
    if len(cells) > 1:
        raise UserError(f"--set gives {len(cells)} rows: a check takes one value of each parameter.")
    (cell,) = cells
    lab = Lab(SETTINGS)
    yield keeps_its_budget(cell, lab)
    record, counted = counted_run(cell, lab)
    yield runs(record, counted)
    if record.ok:
        yield _answer(REPORTS, reports, record, lab)
        yield _answer(SAME, same_in_another_process, cell, record)
        yield _answer(REBUILT, rebuilt_from_its_record, record, lab)
        yield _answer(ONE_BY_ONE, images_one_by_one, record, lab)
        yield _answer(LEARNS, learns, record, lab)


def _answer(point: str, verdict: Callable[..., Verdict], *args: Any) -> Verdict:
    """The verdict on a point. The point is broken if the method raises an exception."""
    try:
        return verdict(*args)
    except Exception as error:
        return Verdict(point, False, f"{type(error).__name__}: {error}")


def reads_no_further(path: Path) -> Verdict:
    """The method's files use only public names and allowed imports, so they cannot read weights or labels."""
    found = []
    for file in closure(path):
        where = "" if file == path else f"{file.name}, "
        found += [f"{where}line {line}: {what}" for line, what in Reading(file).found]
    return Verdict(ACCESS, not found, "; ".join(found) or "all imports and names are allowed")


class Reading(ast.NodeVisitor):
    """The names in a file that a method may not use, with their lines.

    It follows names through imports and assignments.
    """

    def __init__(self, path: Path) -> None:
        self.found: list[tuple[int, str]] = []
        self._known: dict[str, str] = {}  # a name in this file -> the dotted name that it stands for
        tree = ast.parse(path.read_text(encoding="utf-8"))
        self._learn(tree)
        self.visit(tree)

    def _learn(self, tree: ast.Module) -> None:
        """Collect the names that imports and assignments define: `import torch as t`, `box = self.box`."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    first = alias.name.split(".")[0]
                    self._known[alias.asname or first] = alias.name if alias.asname else first
            elif isinstance(node, ast.ImportFrom):
                self._known |= {one.asname or one.name: f"{_source(node)}.{one.name}" for one in node.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign | ast.NamedExpr | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [target.id for target in targets if isinstance(target, ast.Name)]
                if isinstance(node.value, ast.Name | ast.Attribute):
                    self._known |= {name: self._dotted(node.value) for name in names}

    def _dotted(self, node: ast.expr) -> str:
        """A name or an attribute as it is written, but with the full name for its first part."""
        first, dot, rest = ast.unparse(node).partition(".")
        return f"{self._known.get(first, first)}{dot}{rest}"

    def _note(self, node: ast.stmt | ast.expr, what: str) -> None:
        self.found.append((node.lineno, what))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if not _allowed(alias.name):
                self._note(node, f"imports {alias.name}")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            name = f"{_source(node)}.{alias.name}"
            helper = _source(node) == PACKAGE_OF_METHODS
            if not _allowed(_real(name)) or (_hidden(alias.name) and not helper):
                self._note(node, f"imports {name}")

    def visit_Name(self, node: ast.Name) -> None:
        dotted = self._known.get(node.id, node.id)
        if isinstance(node.ctx, ast.Load) and _barred(dotted):
            self._note(node, f"uses {dotted}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        dotted, owner = self._dotted(node), self._dotted(node.value)
        private = _hidden(node.attr) and ast.unparse(node.value) not in ("self", "cls", "super()")
        if owner in ("self.box", "box") and node.attr not in PUBLIC:
            said = f"reaches for {ast.unparse(node)}, which the black box does not have"
            self._note(node, f"{said}. {did_you_mean(node.attr, PUBLIC)}")
        elif private:
            self._note(node, f"reaches for {ast.unparse(node)}")
        elif _barred(real := _real(dotted)) or (real.startswith("bench.") and not _allowed(real)):
            self._note(node, f"uses {real}")
        else:
            self.generic_visit(node)


def _source(node: ast.ImportFrom) -> str:
    """The module from which names are imported. A relative import means a file in the methods' folders."""
    return ".".join(filter(None, (PACKAGE_OF_METHODS if node.level else "", node.module)))


def _real(dotted: str) -> str:
    """A dotted name with the module to which it belongs: bench.optim.torch.load -> torch.load."""
    for name in IMPORTS:
        importlib.import_module(name)
    module = sys.modules.get(dotted.split(".")[0])
    parts = dotted.split(".")[1:]
    while module is not None and parts and isinstance(inner := getattr(module, parts[0], None), ModuleType):
        module, parts = inner, parts[1:]
    return dotted if module is None else ".".join([module.__name__, *parts])


def _hidden(name: str) -> bool:
    """Whether a name starts with an underscore. A class may use its own: self._x, super().__init__."""
    return name.startswith("_")


def _barred(name: str) -> bool:
    return any(name == barred or name.startswith(f"{barred}.") for barred in FORBIDDEN)


def _allowed(name: str) -> bool:
    if _barred(name):
        return False
    return name.split(".")[0] in LIBRARIES or ".".join(name.split(".")[:2]) in IMPORTS


class Counting:
    """A predictor that counts the queries which pass through it, independently of the meter."""

    def __init__(self, inner: Predictor) -> None:
        self._inner, self.calls = inner, 0

    @property
    def device(self) -> str:
        return self._inner.device

    @property
    def dtype(self) -> torch.dtype:
        return self._inner.dtype

    @property
    def model(self) -> ModelSpec:
        return self._inner.model

    @property
    def level(self) -> Level:
        return self._inner.level

    @property
    def cost(self) -> Wired | None:
        return self._inner.cost

    def embed_words(self, words: str) -> Tensor:
        return self._inner.embed_words(words)

    def prepare(self, prompts: Sequence[Prompt], classes: tuple[str, ...], template: str) -> Answers:
        answers = self._inner.prepare(prompts, classes, template)

        def answer(sample: Sample) -> Tensor:
            self.calls += len(prompts)
            return answers(sample)

        return answer

    def encode(self, prompts: Sequence[Prompt], classes: tuple[str, ...], template: str) -> Encodings:
        encodings = self._inner.encode(prompts, classes, template)

        def encoding(sample: Sample) -> tuple[Tensor, Tensor]:
            self.calls += len(prompts)
            return encodings(sample)

        return encoding


def counted_run(cell: Resolved, lab: Lab) -> tuple[Record, int]:
    """The record of a run, and the number of queries that really reached the model."""
    counters: list[Counting] = []

    def watch(predictor: Predictor) -> Predictor:
        counters.append(Counting(predictor))
        return counters[-1]

    try:
        record = run_cell(cell, SETTINGS, lab, watch)
    except Spoiled as spoiled:
        record = spoiled.record
    return record, counters[0].calls


def keeps_its_budget(cell: Resolved, lab: Lab) -> Verdict:
    """A run never spends more than its budget, and a budget below one step gives a record as well."""
    point, spent = BUDGET, []
    for budget in AWKWARD:
        record, counted = counted_run(with_budget(cell, budget), lab)
        if not record.ok:
            return Verdict(point, False, f"budget {budget}: {record.reason}")
        if not record.queries == counted <= budget:
            return Verdict(point, False, f"budget {budget}: {record.queries} recorded, {counted} counted")
        spent.append(f"{record.queries} of {budget}")
    return Verdict(point, True, "queries: " + ", ".join(spent))


def with_budget(resolved: Resolved, budget: int) -> Resolved:
    """The same cell with another budget (queries)."""
    return replace(resolved, cell=replace(resolved.cell, budget=budget))


def runs(record: Record, counted: int) -> Verdict:
    """The run ends without an error, and the recorded queries are those that were counted."""
    if not record.ok:
        return Verdict(RUNS, False, record.reason)
    spent, budget = record.queries, record.cell.budget
    detail = f"{spent:,} of {budget:,} queries in {record.run.seconds:.1f} s, {record.n_params:,} parameters"
    if spent != counted:
        detail += f", but {counted:,} queries reached the model"
    return Verdict(RUNS, spent == counted, detail, early(record))


def early(record: Record) -> str:
    """A note if everything that a run did would have fitted into its budget once more; else ""."""
    spent, budget = record.queries, record.cell.budget
    if record.n_params == 0 or 2 * spent > budget:
        return ""
    return (
        f"it spent only {spent:,} of {budget:,} queries: tune() returned before the budget was spent, or "
        "its next step needs more than are left. If that is not meant, let tune() loop until the box ends it."
    )


def reports(record: Record, lab: Lab) -> Verdict:
    """The deployed prompt is another one than the untuned prompt, which the harness deploys at the start."""
    if record.n_params == 0:
        return Verdict(REPORTS, True, "the method has nothing to tune")
    method, _ = prepare(resolve_record(record), lab)
    if record.prompt != pack(method.prompt(method.x0)):
        return Verdict(REPORTS, True, "the deployed prompt is a tuned one")
    detail = (
        "tune() never reported a prompt other than the untuned one, so the untuned one is deployed: call "
        "self.box.report(...) with the prompt that you would deploy"
    )
    return Verdict(REPORTS, False, detail)


def same_in_another_process(cell: Resolved, record: Record) -> Verdict:
    """A new process, in which nothing is cached, makes the same record."""
    # Unlike multiprocessing.Pool, it notices that its process has died.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        other = pool.submit(run_cell, cell, SETTINGS).result()
    mine, theirs = lasting(record), lasting(other)
    differing = [key for key in mine if mine[key] != theirs[key]]
    detail = f"differs in {', '.join(differing)}" if differing else "all bytes are equal"
    return Verdict(SAME, not differing, detail)


def rebuilt_from_its_record(record: Record, lab: Lab) -> Verdict:
    """The prompt that is built from the record has the recorded accuracy, each time it is built."""
    try:
        (prompt, _, trial), (again, _, other) = rebuild(record, lab), rebuild(record, lab)
    except Exception as error:
        if record.prompt.state is None and record.prompt.template is None:
            what = "the deployed Prompt holds no state, so a record cannot rebuild it: add state=state to it"
            return Verdict(REBUILT, False, f"{what} ({type(error).__name__}: {error})")
        raise
    found = {name: accuracy(outcome) for name, outcome in trial.scorer.score(prompt).items()}
    gap = (answer(trial, prompt) - answer(other, again)).abs().max().item()
    same = found == record.accuracy and gap < 1e-4
    scores = f"{found['test']:.1f} against {record.accuracy['test']:.1f} %"
    detail = f"validation accuracy {scores}, logits differ by {gap:.0e}"
    return Verdict(REBUILT, same, detail)


def images_one_by_one(record: Record, lab: Lab) -> Verdict:
    """A deployed prompt treats each image alone: it may not learn from the test set on which it is scored."""
    point = ONE_BY_ONE
    prompt, _, trial = rebuild(record, lab)
    if all(part is None for part in (prompt.pixels, prompt.head, prompt.adapter, prompt.local)):
        return Verdict(point, True, "the prompt changes no pixels, logits or features")
    whole, loader = trial.loader.train_pass[0], trial.loader
    alone = [loader.give(loader.train, index[None], labelled=False) for index in whole.index]
    answers = torch.cat([answer(trial, prompt, one) for one in alone])
    gap = (answer(trial, prompt, whole) - answers).abs().max().item()
    return Verdict(point, gap < 1e-4, f"largest difference {gap:.1e}")


def learns(record: Record, lab: Lab) -> Verdict:
    """On the train set the deployed prompt's loss is below the untuned prompt's: z > 0 over the images.

    For a method that follows errors (see Method.follows) its errors are compared: its loss may rise. The
    accuracy on the validation images may not fall by more than chance explains, either: the mean change over
    these images has to be above LEAST_Z standard errors.

    Measured with ZIP and SPSA on mini-digits, 14 seeds each, 1,000 queries: 2 of 28 runs fail this check. Of
    28 runs whose losses were shuffled before the optimiser got them, 3 pass. A method that learns but fails
    passes with a larger budget. The numbers are the same on every processor, and so is the verdict.
    """
    point = LEARNS
    if record.n_params == 0:
        return Verdict(point, True, "the method has nothing to tune")
    prompt, method, trial = rebuild(record, lab)
    what = method.follows(method.params)
    gain = on_train_set(trial, method.prompt(method.x0), what) - on_train_set(trial, prompt, what)
    z, change = z_of(gain), gain.mean().item()
    first, last = (scored(trial, one) for one in (method.prompt(method.x0), prompt))
    better = z_of(last - first)
    way = "falls" if change > 0 else "does not fall" if change == 0 else "rises"
    moved = f"the train {what} {way}" + (f" by {abs(change):.3f}" if change else "")
    detail = f"{moved} (z = {z:.1f}, must be above 0)"
    scores = f"validation accuracy {100 * first.mean():.1f} -> {100 * last.mean():.1f} %"
    detail += f"; {scores} (z = {better:.1f}, must be above {LEAST_Z:g})"
    return Verdict(point, z > 0 and better > LEAST_Z, detail)


def z_of(change: Tensor) -> float:
    """By how many standard errors the mean of a change [N] over images is above 0."""
    return float(change.mean() / (change.std() / len(change) ** 0.5 + 1e-12))


def scored(trial: Trial, prompt: Prompt) -> Tensor:
    """[N] float64: 1 for each validation image that a prompt gets right, else 0. No query."""
    found = trial.scorer.score(trial.door.deployed(prompt))["test"]
    return torch.from_numpy(bits(found)).double()


def on_train_set(trial: Trial, prompt: Prompt, what: str) -> Tensor:
    """[N] of each training image the cross-entropy ("loss") or the mistake ("error": 0 or 1). No query."""
    found = []
    for batch in trial.loader.train_pass:
        logits = answer(trial, prompt, batch)
        if what == "error":
            found.append((logits.argmax(1) != batch.labels).double())
        else:
            found.append(torch.nn.functional.cross_entropy(logits, batch.labels, reduction="none"))
    return torch.cat(found)


@torch.no_grad()
def answer(trial: Trial, prompt: Prompt, batch: Batch | None = None) -> Tensor:
    """[B, C] the deployed prompt's logits of one batch (default: the first). Costs no query."""
    batch = batch or trial.loader.train_pass[0]
    at_work = deployed(prompt, trial.predictor, trial.classes, trial.template, trial.classes)
    return at_work(trial.loader.behind(batch))
