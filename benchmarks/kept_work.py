"""Measures what is not computed again: texts of a pass, images of a scoring pass, features of crops.

    python benchmarks/kept_work.py texts [--queries 1200]
    python benchmarks/kept_work.py scoring [--images 20000]
    python benchmarks/kept_work.py crops [--model ViT-B-16/random] [--steps 3]
    python benchmarks/kept_work.py memory [--classes 1000] [--candidates 40]

Each part does the same work twice in one run, with and without what is kept, and checks that the results are
the same to the byte. Times are CPU seconds of one thread; `scoring` on a processor has no device that could
work while images are decoded, so its ratio is that of the work alone.

    texts     cells of BBT, CraFT and BPT-VLM on the mini suite's sets; without: encoded for every batch
    scoring   ten prompts of BAR on a made-up test set of JPEG files; without: one pass per prompt
    crops     two text methods on one augmented stream; without: the first one, which encodes the crops
    memory    the peak while many candidates are encoded for many classes; --stacked: as on a GPU
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.blackbox import BudgetSpent, Loss, cross_entropy
from bench.contract import lasting
from bench.data.images import FileImages, View
from bench.data.split import Item
from bench.data.task import TestSet
from bench.lab import CellFeatures, Lab, Settings
from bench.loader import Loader
from bench.models import TextTower, load_backbone
from bench.paths import cache_dir
from bench.plan import make_cells
from bench.predictor import LocalPredictor
from bench.prompt import Batch, Prompt
from bench.record import Record
from bench.remembered import Remembered
from bench.resolve import Resolved, resolve
from bench.runner import cpu_name, prepare, run_cell
from bench.scorer import Scorer
from bench.suite import load_suite
from bench.trial import Trial

ROUNDS = 3


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """CPU seconds and the result."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def mini(method: str, budget: int, **what: object) -> list[Resolved]:
    suite = load_suite("mini")
    return resolve(make_cells(suite, (method,), budgets=[budget], **what), suite)  # type: ignore[arg-type]


# Texts


@contextmanager
def text_for_every_batch() -> Iterator[None]:
    """Inside the block, each query encodes its text, as before texts were kept for a pass."""

    def pass_loss(
        self: Trial,
        prompts: Sequence[Prompt],
        loss: Loss = cross_entropy,
        batches: Sequence[Batch] | None = None,
    ) -> Tensor:
        whole = self.loader.train_pass if batches is None else tuple(batches)
        self.meter.require(len(prompts) * len(whole))
        total = torch.zeros(len(prompts), dtype=torch.float64)
        for batch in whole:
            total += len(batch) * loss(self.logits(batch, prompts), batch.labels)
        return total / self.spec.train_size

    def get(self: Remembered, kind: object, given: Tensor, make: Callable[[], Tensor]) -> Tensor:
        return make()

    with patch.object(Trial, "pass_loss", pass_loss), patch.object(Remembered, "get", get):
        yield


def texts(queries: int, datasets: Sequence[str] | None, methods: Sequence[str]) -> None:
    print(f"{queries} queries, {ROUNDS} interleaved rounds, medians\n")
    print("| method | data set | text for every batch | text once | ratio |\n|---|---|---:|---:|---:|")
    lab = Lab(Settings())
    for method in methods:
        ratios = []
        for one in mini(method, queries, datasets=datasets):
            seconds: dict[bool, list[float]] = {False: [], True: []}
            records: list[Record] = []
            run_cell(replace(one, cell=replace(one.cell, budget=1)), Settings(), lab)  # loads what is kept
            for once in (False, True) * ROUNDS:
                with patch.dict({}) if once else text_for_every_batch():
                    spent, record = timed(lambda one=one: run_cell(one, Settings(), lab))
                seconds[once].append(spent)
                assert isinstance(record, Record) and record.ok, record
                records.append(record)
            assert len({str(lasting(record)) for record in records}) == 1
            slow, fast = (float(np.median(seconds[once])) for once in (False, True))
            ratios.append(slow / fast)
            print(
                f"| {method} | {one.cell.dataset} | {slow:.2f} s | {fast:.2f} s | {slow / fast:.1f} |",
                flush=True,
            )
        print(f"| {method} | least and median | | | {min(ratios):.1f}, {np.median(ratios):.1f} |")


# Scoring


def pictures(folder: Path, count: int, kinds: int = 100) -> list[Item]:
    """`count` names of JPEG files of 500 x 375 pixels; `kinds` of them differ, the others are links."""
    rng = np.random.default_rng(0)
    for i in range(kinds):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{i}.jpg", quality=90)
    for i in range(kinds, count):
        (folder / f"{i}.jpg").symlink_to(f"{i % kinds}.jpg")
    return [Item(f"{i}.jpg", i % 10) for i in range(count)]


def scoring(images: int, method: str, prompts: int = 10) -> float:
    """Prints the times. Returns how much less one pass for all prompts takes."""
    (one,) = mini(method, 10, datasets=["mini-digits"])
    lab = Lab(Settings())
    lab.load(one)
    box, trial = prepare(one, lab)
    view = View(lab.backbone(one).image_size)
    states = [box.x0 * (1 + 0.01 * k) for k in range(prompts)]
    sent = [trial.door.deployed(box.prompt(state)) for state in states]
    with tempfile.TemporaryDirectory() as folder:
        test = FileImages(Path(folder), pictures(Path(folder), images), view, keep=False)
        tests = {"test": TestSet("made up", trial.classes, trial.template, test)}
        loader = Loader(lab.task(one).train, one.cell, "cpu", lab.backbone(one).dtype)
        scorer = Scorer(
            LocalPredictor(lab.backbone(one), CellFeatures(lab, one.precision)), loader, tests, trial.classes
        )
        alone, first = timed(lambda: scorer.score(sent[0]))
        together, every = timed(lambda: scorer.score_all(sent))
    assert every[0] == first  # type: ignore[index]
    print(f"{images} JPEG files of 500 x 375 pixels, mini model, {method}, {prompts} prompts")
    print(f"one pass per prompt (one of them measured, times {prompts}): {prompts * alone:.0f} s")
    print(f"one pass for all: {together:.0f} s, {prompts * alone / together:.1f} times faster")
    return prompts * alone / together


# Crops


@contextmanager
def empty_cache() -> Iterator[None]:
    """Inside the block, the cache holds the mini suite's pictures alone."""
    drawn = cache_dir() / "mini"
    drawn.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, {"BENCH_CACHE": folder}):
        (Path(folder) / "mini").symlink_to(drawn.absolute())
        yield


def crops(model: str, steps: int, batch: int) -> float:
    """ZIP's and plain SPSA's steps on the same crops. Returns how much less the second method takes.

    Scoring is left out: both read kept features there.
    """
    with empty_cache():
        spent = {}
        for method in ("zip", "spsa"):
            (one,) = mini(method, 10 * steps, datasets=["mini-digits"], backbone=model)
            one = replace(one, cell=replace(one.cell, augment=True, batch_size=batch), precision="float32")
            lab = Lab(Settings(cache_limit=1 << 30))
            tuner, trial = prepare(one, lab)
            trial.scorer.score = lambda prompt: {}  # type: ignore[method-assign]
            trial.report(tuner.prompt(tuner.x0))
            lab.backbone(one).text_tower(trial.classes).encode(torch.zeros(1, 8, trial.spec.text_width))

            def tune(tuner: object = tuner) -> None:
                with suppress(BudgetSpent):
                    tuner.tune()  # type: ignore[attr-defined]

            spent[method], _ = timed(tune)
            checked, _ = timed(lab.augmented.write)
            print(
                f"{method}: {steps} steps in {spent[method]:.1f} s, then {checked:.1f} s to check and write"
            )
        ratio = spent["zip"] / spent["spsa"]
    print(
        f"{model}, {steps} steps of 10 queries on batches of {batch} crops, float32: {ratio:.0f} times faster"
    )
    return ratio


# Memory


def resident(name: str) -> float:
    """MiB of this process, as Linux counts them: VmRSS now, VmHWM at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 2**10


@torch.no_grad()
def memory(classes: int, candidates: int, layers: int, stacked: bool) -> None:
    """The peak of one call. One layer follows the other, so a few layers need nearly as much as all."""
    names = [f"thing {i} of a kind" for i in range(classes)]
    backbone = load_backbone("ViT-B-16/random")
    del backbone.model.transformer.resblocks[layers:]
    tower = TextTower(backbone.model, backbone.tokenizer, names, stacked=stacked)
    contexts = 0.02 * torch.randn(candidates, 8, backbone.text_width)
    tower.encode(contexts[:1, :1])
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    before = resident("VmRSS")
    seconds, found = timed(lambda: tower.encode(contexts))
    more = resident("VmHWM") - before
    kind = "stacked blocks, as on a GPU" if stacked else "one block after the other"
    print(f"{candidates} candidates of 8 tokens, {classes} classes ({int(tower.ends.sum())} tokens), {kind}:")
    print(
        f"{seconds:.0f} s, {more:.0f} MiB more than before, with the result of {found.nbytes / 2**20:.0f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("texts", "scoring", "crops", "memory"))
    parser.add_argument("--queries", type=int, default=1200)
    parser.add_argument("--methods", default="bbt,craft,bptvlm")
    parser.add_argument("--datasets", help="default: the mini suite's ten")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--method", default="bar")
    parser.add_argument("--model", default="ViT-B-16/random")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--stacked", action="store_true")
    a = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{time.strftime('%Y-%m-%d')}, {cpu_name()}, one thread, PyTorch {torch.__version__}")
    if a.part == "texts":
        methods = a.methods.split(",")
        texts(a.queries, a.datasets.split(",") if a.datasets else None, methods)
    elif a.part == "scoring":
        scoring(a.images, a.method)
    elif a.part == "crops":
        crops(a.model, a.steps, a.batch)
    else:
        memory(a.classes, a.candidates, a.layers, a.stacked)


if __name__ == "__main__":
    main()
