"""`bench new-method` writes a starting file; `bench check` checks that a method keeps the contract."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import click

from bench.commands import options
from bench.errors import UserError
from bench.words import counted

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
    help="Folder of the new file. Default: $BENCH_METHODS, else ./methods.",
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
    if taken := METHODS.found().get(name):
        raise UserError(f"a method {name!r} exists already: {taken[0]}. Choose another name.")
    path = (folder or METHODS.place) / f"{name}.py"
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
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="[METHOD.]NAME=VALUE",
    help="A parameter of the method, e.g. rank=1. Can be repeated.",
)
@click.option(
    "--time-limit",
    type=options.Real(0, 1e6, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds that the check may take.",
)
@click.option(
    "--memory-limit",
    type=options.Real(0, 1e5, min_open=True),
    default=4.0,
    show_default=True,
    help="GiB of memory that each process of the check may take (on Linux).",
)
def check(
    name: str,
    dataset: str,
    budget: int,
    overrides: tuple[str, ...],
    time_limit: float,
    memory_limit: float,
) -> None:
    """Check that the method NAME keeps the contract (about a minute).

    The points: it keeps awkward budgets, it reports a prompt, the same cell gives the same record in another
    process, the prompt rebuilt from its record gives the same logits, and it learns: the train loss falls,
    and the accuracy on validation images does not fall by more than chance. Exit code 1 if a point is not
    kept. A note says what is allowed and seldom meant, such as an end before half of the budget is spent.

    The method runs in a process of its own, which ends at the limits and with Ctrl-C. It still has your
    rights: read a stranger's file before you run it.

    \b
    Examples:
      bench check zip
      bench check zip --set rank=1 --time-limit 120
    """
    from bench.apart import Ended, apart
    from bench.contract import Verdict
    from bench.contract import check as run_check

    sets = [one if "." in one.partition("=")[0] else f"{name}.{one}" for one in overrides]
    begun, broken = time.monotonic(), 0

    def verdicts() -> Iterator[Verdict]:
        memory = int(memory_limit * 2**30)
        try:
            yield from apart(run_check, name, dataset, budget, sets, seconds=time_limit, memory=memory)
        except Ended as error:
            yield Verdict("comes to its end", False, f"{error}.")

    for verdict in verdicts():
        broken += not verdict.kept
        mark = (
            click.style("kept  ", fg="green") if verdict.kept else click.style("BROKEN", fg="red", bold=True)
        )
        remedy = "" if verdict.kept else _remedy(verdict.detail)
        click.echo(f"{mark}  {verdict.point}: {verdict.detail}{remedy}")
        if verdict.note:
            click.echo(f"{click.style('note  ', fg='yellow')}  {verdict.point}: {verdict.note}")
    seconds = time.monotonic() - begun
    if broken:
        click.echo(f"{name} breaks {counted(broken, 'point')} of the contract ({seconds:.0f} s).", err=True)
        raise SystemExit(1)
    click.echo(f"{name} keeps the contract ({seconds:.0f} s). Next: bench run --methods {name}")


def _remedy(line: str) -> str:
    """What a user can do about a limit that this line tells of."""
    if "ran longer than" in line:
        return " Give it more with --time-limit, or a smaller --budget."
    if any(sign in line for sign in ("MemoryError", "can't allocate memory", "not enough memory")):
        return " It may have reached --memory-limit."
    return ""
