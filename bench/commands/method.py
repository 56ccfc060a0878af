"""`bench new-method` writes a starting file; `bench check` checks that a method keeps the contract."""

import re
import time
from pathlib import Path

import click

from bench.commands import options
from bench.errors import UserError

TEMPLATE = '''\
"""{title}: write here in one sentence what is tuned and how.

Authors. Title. Venue and year, link.
"""

from dataclasses import dataclass

from torch import Tensor

from bench.blackbox import cross_entropy
from bench.method import Method
from bench.optim import SPSA, SPSASettings
from bench.prompt import Prompt


@dataclass(frozen=True)
class Params(SPSASettings):
    """The parameters. `bench run --set {name}.m=8` changes one, and the record keeps their values."""

    m: int = 4  # context tokens
    a: float = 0.03  # SPSA's step (the other constants are inherited)


class {title}(Method):
    title = "{title}"  # the row's name in the tables
    paper = ""  # e.g. "Park et al., ICLR 2025"
    access = ("text context",)  # or pixels, visual tokens, template, logits head: see bench/prompt.py
    Params = Params

    @property
    def n_params(self) -> int:
        """The number of tuned parameters; the tables show it under #Params."""
        return self.params.m * self.box.spec.text_width

    def start(self) -> Tensor:
        """The untuned state, a flat tensor. Draw random numbers only from self.rng (self.normal uses it)."""
        return self.normal(self.n_params, std=0.02)

    def prompt(self, state: Tensor) -> Prompt:
        """The prompt of a state. The record keeps the state, so that the prompt can be built again."""
        return Prompt(context=state.view(self.params.m, -1), state=state)

    def tune(self) -> None:
        """Spend queries until the black box refuses one; the harness then ends the run."""
        optimiser = SPSA(self.x0, self.rng, self.params)
        for batch in self.box.batches():  # seeded, the same for every method
            prompts = [self.prompt(x) for x in optimiser.ask()]
            logits = self.box.logits(batch, prompts)  # [K, B, C]: K queries
            optimiser.tell(cross_entropy(logits, batch.labels))
            self.box.report(self.prompt(optimiser.x))  # what you would deploy now
'''


@click.command("new-method")
@click.argument("name")
@click.option(
    "--folder",
    type=options.PLACE,
    help="Folder of the new file. Default: $BENCH_METHODS, else methods/.",
)
def new_method(name: str, folder: Path | None) -> None:
    """Write NAME.py, a commented starting file for a method.

    It is a complete method (SPSA on a text context) that runs without changes. Replace the parts that the
    comments name.

    \b
    Example:
      bench new-method mine
      bench check mine
    """
    from bench.plugins import METHODS

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(
            f"{name!r} cannot be a method's name: use small letters, digits and _, and begin with a letter."
        )
    if name == "all":
        raise UserError(
            "'all' cannot be a method's name, because --methods all means every method: choose another."
        )
    if name in METHODS.files():
        raise UserError(f"a method {name!r} exists already: {METHODS.file(name)}. Choose another name.")
    path = (folder or METHODS.own or METHODS.shipped) / f"{name}.py"
    title = "".join(part.capitalize() for part in name.split("_"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "x", encoding="utf-8") as file:
            file.write(TEMPLATE.format(name=name, title=title))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}. Choose another --folder.") from error
    click.echo(f"wrote {path}")
    click.echo(f"next: bench check {name}")
    if folder:
        click.echo(f"(first set BENCH_METHODS={folder}, so that bench finds the file)")


@click.command()
@click.argument("name")
@click.option("--dataset", default="mini-digits", show_default=True, help="A data set of the mini suite.")
@click.option(
    "--budget",
    type=click.IntRange(100, options.LARGEST),
    default=2000,
    show_default=True,
    help="Queries of the longest run.",
)
def check(name: str, dataset: str, budget: int) -> None:
    """Check that the method NAME keeps the contract (about a minute).

    The points: it keeps awkward budgets, the same cell gives the same record in another process, the prompt
    rebuilt from its record gives the same logits, and it learns. Exit code 1 if a point is not kept.

    \b
    Example:
      bench check zip
    """
    from bench.contract import check as run_check

    begun, broken = time.monotonic(), 0
    for verdict in run_check(name, dataset, budget):
        broken += not verdict.kept
        mark = (
            click.style("kept  ", fg="green") if verdict.kept else click.style("BROKEN", fg="red", bold=True)
        )
        click.echo(f"{mark}  {verdict.point}: {verdict.detail}")
    seconds = time.monotonic() - begun
    if broken:
        click.echo(f"{name} breaks {broken} point(s) of the contract ({seconds:.0f} s).", err=True)
        raise SystemExit(1)
    click.echo(f"{name} keeps the contract ({seconds:.0f} s). Next: bench run --methods {name}")
