"""The command line: flags <-> functions. The only file that exits."""

import os
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import click

from bench import __version__
from bench.cell import PROTOCOLS, SCORES
from bench.errors import UserError
from bench.paths import RESULTS

REFERENCE = "manual"  # the zero-shot row: costs no query, and every table and curve is read against it

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

    # name -> (module, attribute, help): loaded on use, so that tables import no torch and --help nothing
    LAZY: ClassVar = {
        "data": ("bench.data.commands", "data", "Data sets on disk: list, verify, get."),
        "table": ("bench.report.commands", "table", "The papers' tables, from records and from the papers."),
        "plot": ("bench.report.commands", "plot", "Pictures: accuracy against queries and others."),
        "audit": ("bench.report.commands", "audit", "Recompute every average the papers print."),
        "leaderboard": ("bench.report.commands", "leaderboard", "One static page of all results."),
        "results": ("bench.report.commands", "results", "Verify and export records."),
        "check": ("bench.check", "check", "Check a method against the contract, in a minute."),
        "new-method": ("bench.check", "new_method", "Write a starting file for a method of your own."),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self.LAZY])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.LAZY:
            return super().get_command(ctx, name)
        module, attribute, _ = self.LAZY[name]
        return getattr(import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = {name: command.get_short_help_str(80) for name, command in self.commands.items()}
        rows = sorted((own | {name: text for name, (_, _, text) in self.LAZY.items()}).items())
        with formatter.section("Commands"):
            formatter.write_dl(rows)

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
        if not first.isdigit() or (dash and not (last.isdigit() and int(first) <= int(last))):
            flag = parameter.opts[0]
            example = "500,5000" if parameter.name == "budgets" else "1,2 or 1-3"
            raise UserError(f"{flag} takes whole numbers, e.g. {example}, not {part!r}.")
        numbers += range(int(first), int(last) + 1) if dash else [int(first)]
    return tuple(dict.fromkeys(numbers))


@main.command()
@click.option(
    "--methods",
    "-m",
    callback=names,
    default="zip,blackvip",
    show_default=True,
    help="Names of files in methods/, or all. The manual prompt (0 queries) always runs along.",
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
@click.option("--ray-address", help="Join this Ray cluster; auto: whichever runs on this machine.")
@click.option(
    "--gpus-per-cell",
    type=click.FloatRange(0, min_open=True),
    help="e.g. 0.25: four cells a GPU. Default: by the memory that the first cell of each method needs.",
)
@click.option("--local", is_flag=True, help="Run in this process, one cell after the other, without Ray.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    help="Also bf16-images (image features that are kept), fp16-text, or both: fp16-text+bf16-images.",
)
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
    raise SystemExit(run_cells(**options))


def run_cells(
    *,
    suite: str,
    results: Path,
    methods: tuple[str, ...],
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
) -> int:
    """The exit code: 0, 1 when a cell failed, 128 + signal when interrupted. Raises UserError."""
    from bench.plan import check_inputs, check_without_fetching, make_cells, make_plan, refuse
    from bench.pool import Interrupted, run_all
    from bench.progress import Progress
    from bench.run import Settings, run_cell
    from bench.store import Store
    from bench.suites import load_suite

    if local and (workers or ray_address or gpus_per_cell):
        raise UserError(
            "--local runs one cell at a time in this process: leave out --workers, --ray-address "
            "and --gpus-per-cell, or --local."
        )
    if suite.endswith(".toml"):  # workers find it by its name
        os.environ["BENCH_SUITES"] = str(Path(suite).resolve().parent)
    if REFERENCE not in methods and "all" not in methods:
        methods = (*methods, REFERENCE)
    cells = make_cells(load_suite(suite), methods, **what)
    device = pick_device(device, local, elsewhere=bool(ray_address and gpus_per_cell))
    settings = Settings(device, precision, str(Path(root).resolve()) if root else None, offline)
    store = Store(results)
    if dry_run:
        lab, absent, faults = check_without_fetching(cells, settings)
        echo_plan(make_plan(cells, store, lab), retry_stale)
        for name in absent:
            click.echo(f"not on this machine: {name} (the run downloads that first).")
        refuse(faults)
        return 0
    lab = check_inputs(cells, settings)
    with store.lock():
        plan = make_plan(cells, store, lab)
        echo_plan(plan, retry_stale)
        todo = plan.todo(retry_stale)
        progress, failed = Progress(todo), []
        parts = [(todo, gpus_per_cell or 0.0)]
        if device.startswith("cuda") and not local and gpus_per_cell is None:
            parts = by_memory(plan, todo, store, workers)
        try:
            with progress:
                for part, gpus in parts:
                    summary = run_all(
                        part,
                        settings,
                        run=run_cell,
                        on_record=lambda record: progress.record(record, store.write(record)),
                        on_event=progress.event,
                        workers=workers,
                        ray_address=ray_address,
                        gpus_per_cell=gpus,
                        local=local,
                        to_follow=len(todo) - progress.done - len(part),
                    )
                    failed += summary.failed
        except Interrupted as stop:
            click.echo(
                f"{stop}: {progress.done} cells are written, {len(todo) - progress.done} are left. "
                "The same command goes on from there.",
                err=True,
            )
            return 128 + stop.signum
    echo_table(cells, results)
    for cell, line in failed:
        click.echo(f"failed: {cell.path}: {line}", err=True)
    if failed:
        click.echo(
            f"{len(failed)} of {len(todo)} cells failed; their tracebacks are in the records, and "
            "the same command tries them again.",
            err=True,
        )
    return 1 if failed else 0


def pick_device(name: str, local: bool, elsewhere: bool) -> str:
    """'auto' -> 'cuda' where there is one, else 'cpu'. Raises UserError for what is not there.

    elsewhere: the workers have GPUs of a cluster, and Ray answers for those.
    """
    import torch

    if elsewhere and name in ("auto", "cuda"):
        return "cuda"
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name).type
    except RuntimeError:
        kind = "unknown"
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise UserError(f"--device {name}: no such device on this machine. Say cpu, cuda, or auto.")
    if ":" in name and not local:  # each worker sees the one GPU that Ray gives it
        raise UserError(
            f"--device {name}: say cuda, and choose GPUs with CUDA_VISIBLE_DEVICES, or add --local."
        )
    return name


def echo_plan(plan: Any, retry_stale: bool) -> None:
    """What was asked for and how much of it is done, a line a method."""
    marks = ("done", "failed", "stale", "damaged", "missing")
    click.echo(f"{'method':<40}{'cells':>7}{'queries':>12}  " + "".join(f"{mark:>9}" for mark in marks))
    for name, cells, queries, status in plan.rows():
        click.echo(f"{name:<40}{cells:>7}{queries:>12,}  " + "".join(f"{status[m]:>9}" for m in marks))
    todo = plan.todo(retry_stale)
    click.echo(f"{len(todo)} of {len(plan.cells)} cells to run: at most {plan.queries(todo):,} queries")
    stale = Counter(plan.status.values())["stale"]
    if stale and not retry_stale:
        click.echo(
            f"{stale} records are stale (made with another method file, card, split, parameter or precision) "
            "and are left as they are: --retry-stale runs them again."
        )


def echo_table(cells: list[Any], results: Path) -> None:
    """The table of this run: its rows, data sets and seeds, at its largest budget."""
    from rich.console import Console

    from bench.report.frame import load
    from bench.report.render import render
    from bench.report.tables import Form, tables

    largest = max(cells, key=lambda cell: (cell.budget, cell.shots))
    names = ("suite", "backbone", "shots", "budget", "batch_size", "score")
    wanted: dict[str, Any] = {name: getattr(largest, name) for name in names}
    for name, column in (("methods", "method"), ("datasets", "dataset"), ("seeds", "seed")):
        wanted[name] = tuple(dict.fromkeys(getattr(cell, column) for cell in cells))
    found = load(results, lambda message: click.echo(f"warning: {message}", err=True))
    try:
        made = tables(found, largest.protocol, "measured", Form(partial=True), **wanted)
    except UserError as error:
        click.echo(f"no table: {error}", err=True)
        return
    console = Console()
    for one in made:
        click.echo(
            render(one, "terminal", console.width if console.is_terminal else None, console.is_terminal)
        )


def by_memory(plan: Any, todo: list[Any], store: Any, workers: int | None) -> Any:
    """(cells, GPUs a cell), one after the other: `workers` share the GPUs, or as many as memory allows."""
    import torch

    from bench.gpu import rounds_by_memory

    if workers:
        return [(todo, 1 / -(-workers // torch.cuda.device_count()))]
    memory = torch.cuda.get_device_properties(0).total_memory / 2**20
    return rounds_by_memory(todo, plan.cells, store, memory)
