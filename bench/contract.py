"""The contract every method must keep, checked on one small set. `bench check` and the tests run the same."""

import ast
import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.blackbox import UNKNOWN, AccessDenied, Batch, BlackBox
from bench.cell import Cell
from bench.methods import load_method, method_files
from bench.plan import make_cells
from bench.prompt import WHITE_BOX, Prompt
from bench.run import Lab, Settings, rebuild, run_cell
from bench.suites import load_suite

IMPORTS = ("bench.blackbox", "bench.method", "bench.methods", "bench.optim", "bench.prompt")
LIBRARIES = (
    "__future__", "collections", "dataclasses", "functools", "itertools", "math", "numpy", "scipy", "torch",
    "typing",
)  # fmt: skip
FORBIDDEN = (
    "open", "eval", "exec", "compile", "globals", "vars", "getattr", "__import__", "__builtins__",
    "torch.load", "torch.hub", "torch.jit", "np.load", "np.fromfile", "np.memmap", "numpy.load",
    "numpy.fromfile", "numpy.memmap", "scipy.io",
)  # fmt: skip
HARNESS = ("score", "trace", "finish", "deployed", "n_test")  # of the black box, for the harness alone
AWKWARD = (1, 7, 53)  # queries: below a step, not a multiple of one


@dataclass(frozen=True)
class Verdict:
    """One point of the contract."""

    point: str
    kept: bool
    detail: str


def check(name: str, dataset: str = "mini-digits", budget: int = 1000) -> Iterator[Verdict]:
    """Run the contract for one method on one data set of the mini suite, a verdict at a time.

    Raises UserError for an unknown method or data set.
    """
    load_method(name)
    yield reads_no_further(method_files()[name])
    cell = make_cells(load_suite("mini"), [name], datasets=[dataset], budgets=[budget])[0]
    lab = Lab(Settings())
    yield keeps_its_budget(cell, lab)
    record, box = guarded_run(cell, lab)
    yield runs(record)
    if record["status"] == "ok":
        yield _answer(same_in_another_process, cell, record)
        yield _answer(rebuilt_from_its_record, record, box.deployed, lab)
        yield _answer(images_one_by_one, record, lab)
        yield _answer(learns, record, lab)


def _answer(point: Callable[..., Verdict], *args: Any) -> Verdict:
    """A point's verdict; what the method raises on the way breaks it."""
    try:
        return point(*args)
    except Exception as error:
        return Verdict(point.__name__.replace("_", " "), False, f"{type(error).__name__}: {error}")


def reads_no_further(path: Path) -> Verdict:
    """The file uses public names and declared imports only: no weights, files or labels by the back door."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found += [f"line {node.lineno}: imports {n}" for n in _imported(node) if not _allowed(n)]
        elif (
            isinstance(node, ast.Attribute)
            and not _own(node)
            and (node.attr[0] == "_" or node.attr in HARNESS)
        ):
            found.append(f"line {node.lineno}: reaches for {ast.unparse(node)}")
        elif isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in FORBIDDEN:
            found.append(f"line {node.lineno}: uses {ast.unparse(node)}")
    return Verdict(
        "access: public names only", not found, "; ".join(found) or "imports and names are in order"
    )


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Dotted names, e.g. bench.optim.SPSA of `from bench.optim import SPSA`."""
    inside = f"{node.module or ''}." if isinstance(node, ast.ImportFrom) else ""
    return [inside + alias.name for alias in node.names]


def _allowed(name: str) -> bool:
    if any(name == barred or name.startswith(f"{barred}.") for barred in FORBIDDEN):
        return False
    return name.split(".")[0] in LIBRARIES or ".".join(name.split(".")[:2]) in IMPORTS


def _own(node: ast.Attribute) -> bool:
    """self._x and super().__init__ are a class's own business."""
    owner = ast.unparse(node.value)
    return owner in ("self", "cls", "super()")


class GuardedBox(BlackBox):
    """A black box that counts a second time and knows who reaches into it."""

    def __init__(self, *args: Any) -> None:
        self.calls = 0
        super().__init__(*args)

    def logits(self, batch: Batch, prompts: Sequence[Prompt]) -> Tensor:
        if self.calls != self.spent:
            raise AccessDenied(f"{self.calls} queries were made and the meter shows {self.spent}")
        answer = super().logits(batch, prompts)
        self.calls += len(prompts)
        if answer.requires_grad and WHITE_BOX not in self._access:
            raise AccessDenied("the black box let a gradient out")
        return answer

    def __getattribute__(self, name: str) -> Any:
        if (name.startswith("_") and not name.startswith("__")) or name in HARNESS:
            caller = sys._getframe(1).f_code.co_filename
            if "bench/methods" in caller or caller in map(str, method_files().values()):
                raise AccessDenied(f"{Path(caller).name} reaches into the black box for {name}")
        return super().__getattribute__(name)


def guarded_run(cell: Cell, lab: Lab) -> tuple[dict[str, Any], BlackBox]:
    """A run in a guarded box, and the box. The record's "counted" holds the second count of queries."""
    boxes: list[GuardedBox] = []

    class Box(GuardedBox):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            boxes.append(self)

    record = run_cell(cell, Settings(), lab, Box)
    return record | {"counted": boxes[0].calls}, boxes[0]


def keeps_its_budget(cell: Cell, lab: Lab) -> Verdict:
    """Nothing ends above its budget, and a budget below one step still leaves a record."""
    spent = []
    for budget in AWKWARD:
        record, _ = guarded_run(replace(cell, budget=budget), lab)
        if record["status"] != "ok":
            return Verdict("budget kept", False, f"budget {budget}: {_last(record['error'])}")
        if not record["queries"] == record["counted"] <= budget:
            detail = f"budget {budget}: {record['queries']} recorded, {record['counted']} counted"
            return Verdict("budget kept", False, detail)
        spent.append(f"{record['queries']} of {budget}")
    return Verdict("budget kept", True, "queries: " + ", ".join(spent))


def runs(record: dict[str, Any]) -> Verdict:
    """The run ends well and counts right."""
    if record["status"] != "ok":
        return Verdict("runs", False, _last(record["error"]))
    seconds, params = record["run"]["seconds"], record["n_params"]
    detail = f"{record['queries']:,} queries in {seconds:.1f} s, {params:,} parameters"
    return Verdict("runs", record["queries"] == record["counted"], detail)


def same_in_another_process(cell: Cell, record: dict[str, Any]) -> Verdict:
    """A fresh process, nothing cached in it, leaves the same record."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        other = pool.apply(run_cell, (cell, Settings()))
    mine, theirs = comparable(record), comparable(other)
    differing = [key for key in mine if mine[key] != theirs.get(key)]
    detail = f"differs in {', '.join(differing)}" if differing else "byte for byte"
    return Verdict("same record in another process", not differing, detail)


def comparable(record: dict[str, Any]) -> dict[str, str]:
    """A record's lasting part, each entry as JSON."""
    return {
        key: json.dumps(value, sort_keys=True)
        for key, value in record.items()
        if key not in ("run", "counted")
    }


def rebuilt_from_its_record(record: dict[str, Any], deployed: Prompt | None, lab: Lab) -> Verdict:
    """The prompt built from the record's numbers gives the deployed one's logits, and its accuracy."""
    prompt, _, box = rebuild(record, lab)
    accuracy = box.score(prompt)
    batch = box.train_pass()[0]
    gap = (answer(box, batch, prompt) - answer(box, batch, deployed or prompt)).abs().max().item()
    same = accuracy == record["accuracy"] and gap < 1e-4
    detail = f"{accuracy} against {record['accuracy']}, logits differ by {gap:.0e}"
    return Verdict("prompt rebuilt from its record", same, detail)


def images_one_by_one(record: dict[str, Any], lab: Lab) -> Verdict:
    """A deployed prompt looks at one image at a time: it may not learn from the test set it is scored on."""
    point = "images one by one"
    prompt, _, box = rebuild(record, lab)
    if prompt.pixels is None:
        return Verdict(point, True, "leaves the pixels alone")
    whole = box.train_pass()[0]
    alone = [
        prompt.pixels(Batch(whole.source, index[None], UNKNOWN, None, whole.device)) for index in whole.index
    ]
    gap = (prompt.pixels(whole) - torch.cat(alone)).abs().max().item()
    return Verdict(point, gap < 1e-4, f"largest difference {gap:.1e}")


def learns(record: dict[str, Any], lab: Lab) -> Verdict:
    """On the train set the deployed prompt's loss is below the untuned one's, beyond chance: z > 2."""
    point = "learns more than noise"
    if record["n_params"] == 0:
        return Verdict(point, True, "nothing to tune")
    prompt, method, box = rebuild(record, lab)
    gain = image_losses(box, method.prompt(method.x0)) - image_losses(box, prompt)
    z = (gain.mean() / (gain.std() / len(gain) ** 0.5 + 1e-12)).item()
    first, last = (record["trace"][i]["accuracy"]["test"] for i in (0, -1))
    fall = f"train loss falls by {gain.mean():.3f} (z = {z:.1f}, wanted: above 2)"
    detail = f"{fall}; test accuracy {first:.1f} -> {last:.1f} %"
    return Verdict(point, z > 2, detail)


def image_losses(box: BlackBox, prompt: Prompt) -> Tensor:
    """[N] cross-entropy of each training image, through the head the prompt brings."""
    losses = []
    for batch in box.train_pass():
        logits = answer(box, batch, prompt)
        losses.append(torch.nn.functional.cross_entropy(logits, batch.labels, reduction="none"))
    return torch.cat(losses)


def answer(box: BlackBox, batch: Batch, prompt: Prompt) -> Tensor:
    """[B, C] logits, through the head the prompt brings. One query."""
    box.report(prompt)
    logits = box.logits(batch, [prompt])
    return (logits if prompt.head is None else prompt.head(logits))[0].detach()


def _last(error: str) -> str:
    return error.strip().splitlines()[-1]
