"""The command line: flags <-> functions. The only file that exits."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from bench import __version__
from bench.cell import PROTOCOLS, SCORES
from bench.errors import UserError

RESULTS = "results/runs"  # the default folder of records

EPILOG = """\b
Examples
  bench run --methods zip,blackvip --budget 5000      the mini suite, no download needed
  bench run --methods all --seeds 1,2,3 --dry-run     what would run, and what is done already
  bench run --methods zip --set zip.rank=1,2,5        one row for each value
  bench table few-shot                                the table of what has run
  bench plot curves                                   accuracy against queries
"""


class Commands(click.Group):
    """Turns a UserError into one line and exit code 2; finds the commands of other files when asked."""

    # name -> (module, attribute): loaded on use, so that `bench table` imports neither torch nor ray
    LAZY = {
        "data": ("bench.data.commands", "data"),
        "table": ("bench.report.commands", "table"),
        "plot": ("bench.report.commands", "plot"),
        "audit": ("bench.report.commands", "audit"),
        "leaderboard": ("bench.report.commands", "leaderboard"),
        "results": ("bench.report.commands", "results"),
        "check": ("bench.check", "check"),
        "new-method": ("bench.check", "new_method"),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self.LAZY])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in self.LAZY:
            from importlib import import_module

            module, attribute = self.LAZY[name]
            return getattr(import_module(module), attribute)
        return super().get_command(ctx, name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(2)


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """The reference benchmark for black-box prompt tuning of vision-language models.

    One query is one call of the model: one prompt on one batch of images. Methods are files in methods/,
    data sets cards in datasets/, results JSON records, one a cell (method x data set x seed x budget).
    """


def names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """'a,b' -> ('a', 'b')."""
    if value is None:
        return None
    parts = tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
    if not parts:
        raise UserError("an empty list: name at least one.")
    return parts


def whole_numbers(_: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """'1,2' or '1-3' -> (1, 2, 3). Raises UserError for anything else."""
    parts = names(_, parameter, value)
    if parts is None:
        return None
    numbers: list[int] = []
    for part in parts:
        first, dash, last = part.replace("_", "").partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise UserError(f"--{parameter.name} takes whole numbers such as 500,5000 or 1-3, not {part!r}.")
        numbers += range(int(first), int(last) + 1) if dash else [int(first)]
    return tuple(dict.fromkeys(numbers))


@main.command()
@click.option(
    "--methods",
    "-m",
    callback=names,
    default="zip,blackvip,manual",
    show_default=True,
    help="Names of files in methods/, or all.",
)
@click.option(
    "--suite",
    "-s",
    default="mini",
    show_default=True,
    help="mini (embedded), zip or craft (the papers'), or the path of your own .toml.",
)
@click.option("--datasets", "-d", callback=names, help="Cards of datasets/. Default: the suite's.")
@click.option("--seeds", callback=whole_numbers, help="e.g. 1,2,3 or 1-3. Default: 1.")
@click.option(
    "--budget", "-b", "budgets", callback=whole_numbers, help="Queries, e.g. 500,5000. Default: the suite's."
)
@click.option("--shots", callback=whole_numbers, help="Training images a class. Default: the suite's.")
@click.option("--protocol", type=click.Choice(PROTOCOLS), default="few-shot", show_default=True)
@click.option("--backbone", help="open_clip model/weights, e.g. ViT-B-16/openai. Default: the suite's.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="METHOD.NAME=VALUE[,VALUE]",
    help="A method's parameter; several values make several rows. Repeatable.",
)
@click.option(
    "--score",
    type=click.Choice(SCORES),
    default="test",
    show_default=True,
    help="val: score on validation images, to choose parameters without touching the test set.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=RESULTS,
    show_default=True,
    help="Folder of the records.",
)
@click.option("--root", help="Folder of the papers' data sets. Default: $BENCH_DATA, else ./data.")
@click.option(
    "--workers", type=click.IntRange(1), help="Cells at a time. Default: one a core, or a GPU's share."
)
@click.option("--ray-address", help="Join this Ray cluster ('auto' for the one on this machine).")
@click.option("--gpus-per-cell", type=click.FloatRange(0, min_open=True), help="e.g. 0.25: four cells a GPU.")
@click.option("--local", is_flag=True, help="Run in this process, one cell after the other, without Ray.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@click.option("--precision", default="float32", show_default=True)
@click.option("--offline", is_flag=True, help="Never touch the network.")
@click.option(
    "--retry-stale",
    is_flag=True,
    help="Run again what was made with a method, card or split that has changed.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
def run(**options: Any) -> None:
    """Run every method x data set x seed x budget cell that is not done yet.

    Records are written as cells finish, so an interrupted run goes on where it stopped. A failed cell is
    retried the next time; the others go on. Exit code 1 if a cell failed, 2 for bad input.
    """
    _run(**options)


def _run(
    *,
    suite: str,
    results: Path,
    methods: tuple[str, ...],
    settings: tuple[str, ...],
    root: str | None,
    device: str,
    precision: str,
    offline: bool,
    retry_stale: bool,
    dry_run: bool,
    workers: int | None,
    ray_address: str | None,
    gpus_per_cell: float | None,
    local: bool,
    **what: Any,
) -> None:
    from bench.plan import check_inputs, make_cells, make_plan
    from bench.pool import Interrupted, run_all
    from bench.progress import progress
    from bench.run import Settings, run_cell
    from bench.store import Store
    from bench.suites import load_suite

    chosen = load_suite(suite)
    cells = make_cells(chosen, methods, settings=settings, **what)
    how = Settings(pick_device(device), precision, root, offline)
    store = Store(results)
    if dry_run:
        check_inputs(cells, how)
        echo_plan(make_plan(cells, store))
        return
    with store.lock():
        check_inputs(cells, how)
        plan = make_plan(cells, store)
        echo_plan(plan)
        todo = plan.todo(retry_stale)
