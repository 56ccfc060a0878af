"""How many bits the differences of the visual methods need: what rounding does to what a step is made of.

    python benchmarks/precision.py [--backbone mini|ViT-B-16/random] [--steps 20] [--images 32]

A step of these methods looks at the differences between the losses of its candidates. The same candidates are
sent to the same image tower with linear and convolution layers of 53, 24, 11 and 8 significant bits (float64,
float32, float16, bfloat16). Printed is the error of the differences against 53 bits, as a share of the
differences (root mean squares over steps and candidates), and the correlation of the two. The method follows
the exact answers. Parameters: those of the mini suite for the model "mini", else the paper's.
"""

import argparse
import time
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bench.blackbox import BudgetSpent, cross_entropy
from bench.lab import CellFeatures, Lab, Settings
from bench.loader import Sample
from bench.models import Backbone
from bench.params import make_params
from bench.plan import make_cells
from bench.plugins import load_method
from bench.predictor import Answers, LocalPredictor, Predictor
from bench.prompt import Prompt
from bench.resolve import resolve
from bench.runner import cpu_name, prepare
from bench.suite import load_suite

BITS = {24: "float32", 11: "float16", 8: "bfloat16"}
METHODS = ("bar", "vp", "blackvip", "bptvlm")
ENCODER = "vit_base_patch16_224:random"  # beside a model of 224 pixels, for BlackVIP


@dataclass
class Twice:
    """A predictor that also answers with other layers, and notes the losses [K] of each call by bits.

    After `most` calls it ends the run.
    """

    exact: Predictor
    others: dict[int, Predictor]
    most: int
    losses: list[dict[int, Tensor]] = field(default_factory=list)

    def __getattr__(self, name: str) -> object:
        return getattr(self.exact, name)

    def prepare(self, prompts: Sequence[Prompt], classes: tuple[str, ...], template: str) -> Answers:
        every = {53: self.exact, **self.others}
        answers = {bits: one.prepare(prompts, classes, template) for bits, one in every.items()}

        def answer(sample: Sample) -> Tensor:
            if len(self.losses) == self.most:
                raise BudgetSpent
            found = {bits: one(sample) for bits, one in answers.items()}
            self.losses.append({bits: cross_entropy(one, sample.labels) for bits, one in found.items()})
            return found[53]

        return answer


def with_layers(backbone: Backbone, dtype: str) -> Backbone:
    """The same model, with other image layers."""
    twin = copy(backbone)
    vars(twin)["_images"] = backbone._tower(dtype)
    return twin


def losses(method: str, backbone: str, steps: int, images: int) -> list[dict[int, Tensor]]:
    """The losses of each call of a method's first steps, by bits."""
    suite = load_suite("mini")
    paper = backbone != "mini"
    values = vars(make_params(method, {})) if paper else {}
    values = {name: ENCODER if name == "encoder" else value for name, value in values.items()}
    asked = [f"{method}.{name}={_text(value)}" for name, value in values.items()]
    cells = make_cells(
        suite, [method], datasets=["mini-digits"], seeds=[1], backbone=backbone, overrides=asked
    )
    (resolved,) = (one for one in resolve(cells, suite, "float64") if one.cell.method == method)
    resolved = replace(resolved, cell=replace(resolved.cell, batch_size=images))
    lab = Lab(Settings())
    model, features = lab.backbone(resolved), CellFeatures(lab, resolved.precision)
    others: dict[int, Predictor] = {
        bits: LocalPredictor(with_layers(model, dtype), features, trunks=dtype)
        for bits, dtype in BITS.items()
    }
    spy: list[Twice] = []

    def watch(exact: Predictor) -> Predictor:
        spy.append(Twice(exact, others, steps))
        return spy[0]  # type: ignore[return-value]

    tuned, trial = prepare(resolved, lab, watch)
    trial.trace.due = lambda *_: False  # type: ignore[method-assign]  # nothing is scored
    trial.report(tuned.prompt(tuned.x0))
    with suppress(BudgetSpent):
        tuned.tune()
    return spy[0].losses


def _text(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value).lower()


def differences(found: Sequence[dict[int, Tensor]], bits: int) -> Tensor:
    """Each loss less the mean of its call, of all calls."""
    return torch.cat([one[bits] - one[bits].mean() for one in found])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="mini")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--images", type=int, default=32, help="per batch")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{time.strftime('%Y-%m-%d')}, {cpu_name()}, PyTorch {torch.__version__}, {arguments.backbone}")
    heads = [
        "method",
        "difference",
        *(f"{what}: {bits} bits" for what in ("error", "correlation") for bits in BITS),
    ]
    print(f"| {' | '.join(heads)} |")
    print("|---|" + "---:|" * 7)
    for name in arguments.methods.split(","):
        found = losses(name, arguments.backbone, arguments.steps, arguments.images)
        exact = differences(found, 53)
        size = exact.square().mean().sqrt()
        errors = [(differences(found, bits) - exact).square().mean().sqrt() / size for bits in BITS]
        fits = [torch.corrcoef(torch.stack([differences(found, bits), exact]))[0, 1] for bits in BITS]
        row = [
            load_method(name).title,
            f"{size:.2g}",
            *(f"{e:.1%}" for e in errors),
            *(f"{c:.3f}" for c in fits),
        ]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
