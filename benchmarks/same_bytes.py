"""Are the bytes the same on every processor? Does the same work under all kernel settings of this machine.

    python benchmarks/same_bytes.py                 # the full check, under every combination of settings
    python benchmarks/same_bytes.py images --few    # one quantity, one setting changed at a time
    python benchmarks/same_bytes.py images --renew  # write the sha256 of the pictures into the cards again

Each combination runs in its own process, because libraries choose their kernels when they are loaded. A
quantity is a function that returns {item: sha256}. To add one, add an entry to QUANTITIES.

Other processors may have kernels that this machine does not have. So two more things are measured for the
images: how near a value comes to a rounding or a threshold, and whether bytes change when the result of every
inexact float64 operation is changed in its 14th digit. That is about fifty times as much as a kernel or a
library changes it.
"""

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from bench.answered import DEFAULT
from bench.contract import Counting
from bench.data.card import load_card
from bench.data.dataset import pictures_sha256
from bench.lab import Lab, Settings
from bench.loader import Sample
from bench.mini import world
from bench.models import features as features_of
from bench.plan import make_cells
from bench.plugins import DATASETS, METHODS
from bench.predictor import Answers, Predictor
from bench.prompt import Prompt
from bench.record import Made, dump
from bench.resolve import Resolved, resolve
from bench.runner import run_cell
from bench.suite import load_suite

SHAKE = 1e-14  # relative
BUDGET = int(os.environ.get("SAME_BYTES_BUDGET", "1000"))  # queries of a record
# (method, answers) -> queries of a short record. CraFT, CMA-ES and BPT-VLM score whole populations
# before their first step. With labels alone, many candidates have the same loss, and their order decides.
SHORT = {
    ("zip", "logits"): 100,
    ("craft", "logits"): 450,
    ("cmaes", "label"): 450,
    ("bptvlm", "logits"): 120,
    ("blackvip", "logits"): 10,
}


def images(names: Iterable[str] = world.names()) -> dict[str, str]:
    """Every split of the mini suite, rendered anew."""
    return {
        f"{name}/{split}": pictures_sha256(*pictures)
        for name in names
        for split, pictures in world.draw(name).items()
    }


def shaken_images() -> dict[str, str]:
    """The sets drawn by code, with every inexact float64 result changed at random in its 14th digit.

    mini-digits is left out: its pictures are computed exactly by every kernel, and many values lie on a half.
    """
    with Shaken():
        return images(world.TASKS)


def features() -> dict[str, str]:
    """The features that are kept of every test set: those of the model and of BlackVIP's encoder."""
    found = {}
    for one in cells(("blackvip",), world.names(), 1):
        lab = Lab(Settings())
        for model in (lab.backbone(one), lab.encoder("mini", one.precision)):
            (test,) = lab.task(one).tests.values()
            table = features_of(model, test.images).numpy()
            found[f"{one.cell.dataset}/{type(model).__name__}"] = hashlib.sha256(table.tobytes()).hexdigest()
    return found


def records() -> dict[str, str]:
    """Records and answers of every method on two data sets."""
    return record_sums(cells(tuple(METHODS.files()), ("mini-digits", "mini-shapes"), BUDGET))


def short_records() -> dict[str, str]:
    """Records and answers of the methods in SHORT after a few steps: seconds of work, for the tests."""
    return record_sums(
        one
        for (name, answers), budget in SHORT.items()
        for one in cells((name,), ("mini-digits",), budget, answers)
    )


def record_sums(cells: Iterable[Resolved]) -> dict[str, str]:
    """Run cells of the mini suite: the sha256 of each record, without time and machine, and of all answers.

    The answers show an error at once. A record shows it late, because its numbers are rounded once more.
    """
    lab, found = Lab(Settings()), {}
    for one in cells:
        answers = hashlib.sha256()
        record = run_cell(one, Settings(), lab, partial(Hashing, hash=answers))
        assert record.ok, record.error
        name, text = f"{one.cell.dataset}/{one.cell.method}", dump(replace(record, run=Made()))
        found[name] = hashlib.sha256(text.encode()).hexdigest()
        found[f"{name}/answers"] = answers.hexdigest()
    return found


class Hashing(Counting):
    """A predictor that adds all its answers to a hash, in their order."""

    def __init__(self, inner: Predictor, hash: "hashlib._Hash") -> None:
        super().__init__(inner)
        self._hash = hash

    def prepare(self, prompts: Sequence[Prompt], classes: tuple[str, ...], template: str) -> Answers:
        answers = super().prepare(prompts, classes, template)

        def answer(sample: Sample) -> torch.Tensor:
            logits = answers(sample)
            self._hash.update(logits.detach().numpy().tobytes())
            return logits

        return answer


def unrounded() -> dict[str, str]:
    """Features of random images before they are rounded. Nobody promises that these agree.

    If two settings differ here, they really use different kernels.
    """
    (one,) = cells(("zip",), ("mini-digits",), 1)
    images = torch.rand(32, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    table = Lab(Settings()).backbone(one).encode_images(images).numpy()
    return {"features": hashlib.sha256(table.tobytes()).hexdigest()}


def cells(
    methods: Sequence[str], datasets: Sequence[str], budget: int, answers: str = DEFAULT
) -> list[Resolved]:
    """Cells of the mini suite."""
    suite = load_suite("mini")
    made = make_cells(suite, methods, datasets=datasets, budgets=[budget], answers=[answers])
    return resolve(made, suite)


QUANTITIES: dict[str, Callable[[], dict[str, str]]] = {
    "images": images,
    "features": features,
    "records": records,
    "short-records": short_records,
    "unrounded": unrounded,
}
FULL = ("images", "features", "records")  # what is compared where no quantity is named
BESIDE: dict[str, Callable[[], dict[str, str]]] = {"images": shaken_images}  # has to agree, too

Setting = dict[str, str]  # environment variables


def settings(few: bool) -> Iterator[Setting]:
    """Every combination of the variables that decide the kernels; the first one changes nothing.

    few: only the combinations that change one variable.
    """
    levels = ["default", "avx2", "avx512"]
    own = torch.backends.cpu.get_cpu_capability().lower()
    below = levels[: levels.index(own) + 1] if own in levels else []
    numpys = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])  # beyond those it always uses
    choices = {
        "ATEN_CPU_CAPABILITY": ["", *below],
        "MKL_CBWR": ["", "COMPATIBLE", "AVX2"],
        "ONEDNN_MAX_CPU_ISA": ["", "AVX2"],
        "OMP_NUM_THREADS": ["1", "2"],
        "NPY_DISABLE_CPU_FEATURES": ["", " ".join(numpys)] if numpys else [""],
    }
    for values in itertools.product(*choices.values()):
        changed = sum(value != options[0] for value, options in zip(values, choices.values(), strict=True))
        if not few or changed < 2:
            yield dict(zip(choices, values, strict=True))


def measure(quantities: Sequence[str], setting: Setting, beside: bool = False) -> dict[str, str]:
    """{item: sha256} of these quantities in a process with these settings."""
    environment = {key: value for key, value in os.environ.items() if key not in setting}
    environment |= {key: value for key, value in setting.items() if value}
    command = [sys.executable, __file__, *quantities, "--measure", *(["--beside"] if beside else [])]
    with tempfile.TemporaryDirectory() as cache:  # empty: nothing that another setting has computed
        environment["BENCH_CACHE"] = cache
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def compare(quantity: str, few: bool) -> bool:
    """Print which settings agree with the first one; True if all do."""
    runs = [(setting, False) for setting in settings(few)]
    if quantity in BESIDE:
        runs.append((runs[0][0], True))
    first: dict[str, str] = {}
    agreed = True
    for setting, beside in runs:
        found = measure([quantity], setting, beside)
        first = first or found
        other = [item for item in found if found[item] != first[item]]
        agreed &= not other
        words = [f"{key}={value or 'unset'}" for key, value in setting.items()]
        words += ["every inexact operation changed in its 14th digit"] * beside
        print(f"{'differs' if other else 'same':8} {' '.join(words)}", flush=True)
        for item in other:
            print(f"         {item}")
    print(f"{quantity}: {len(first)} items, {len(runs)} runs, {'all the same' if agreed else 'NOT the same'}")
    return agreed


def _name(func: Any) -> str:
    """ "round" for aten.round.default as for aten.round_.default."""
    return func.__name__.split(".")[0].rstrip("_")


class Shaken(TorchDispatchMode):
    """Changes the result of every inexact float64 operation at random, by up to SHAKE of itself.

    Another kernel or another mathematical library does the same, but changes it less.
    """

    EXACT = frozenset({
        "abs", "cat", "clamp", "clone", "copy", "empty", "fill", "floor", "index", "index_put",
        "max_pool2d_with_indices", "maximum", "neg", "round", "stack", "_to_copy", "where", "zero", "zeros",
    })  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        aliases = [value.alias_info for value in func._schema.returns]
        view = any(alias is not None and not alias.is_write for alias in aliases)
        return result if view or _name(func) in self.EXACT else tree_map(self._shake, result)

    def _shake(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.dtype == torch.float64:
            noise = torch.rand(value.shape, generator=self.generator, dtype=torch.float64)
            value.mul_(1 + SHAKE * (2 * noise - 1))
        return value


class Margins(TorchDispatchMode):
    """How near float64 values come to a point where a small error shows: the least distance per operation.

    For a rounding it is the distance to the next half, for a comparison that between the two sides.
    """

    def __init__(self) -> None:
        super().__init__()
        self.least: dict[str, float] = {}
        self.count: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = _name(func)
        if name in ("round", "gt", "lt", "ge", "le") and args[0].dtype == torch.float64:
            other = args[1] if len(args) > 1 else args[0].floor() + 0.5
            gap = (args[0] - other).abs()
            self.least[name] = min(self.least.get(name, float("inf")), float(gap.min()))
            self.count[name] = self.count.get(name, 0) + gap.numel()
        return func(*args, **(kwargs or {}))


def print_margins() -> None:
    """Print the margins of the pictures drawn by code. Those of mini-digits are computed exactly."""
    with Margins() as margins:
        for name in world.TASKS:
            world.draw(name)
    for name, least in margins.least.items():
        print(f"least distance in {name}: {least:.1e} (of {margins.count[name]:,} values)")


def renew() -> None:
    """Write this machine's sha256 of every split into the cards."""
    found = images()
    for name in world.names():
        path = DATASETS.files()[name]
        text = path.read_text()
        for split, pin in load_card(name).images.sha256.items():
            text = text.replace(pin, found[f"{name}/{split}"])
        path.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("quantities", nargs="*", metavar="QUANTITY", help=", ".join(QUANTITIES))
    parser.add_argument("--few", action="store_true", help="change one setting at a time")
    parser.add_argument("--renew", action="store_true", help="write the pictures' sha256 into the cards")
    parser.add_argument("--measure", action="store_true", help="print this process's own values as JSON")
    parser.add_argument("--beside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.renew:
        renew()
        return
    chosen = args.quantities or list(FULL)
    if args.measure:
        functions = BESIDE if args.beside else QUANTITIES
        print(json.dumps({item: h for quantity in chosen for item, h in functions[quantity]().items()}))
        return
    agreed = [compare(quantity, args.few) for quantity in chosen]
    if "images" in chosen:
        print_margins()
    sys.exit(not all(agreed))


if __name__ == "__main__":
    main()
