"""`bench run`: flags to a plan, and the plan onto processors."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from bench.answered import DEFAULT, FORMS
from bench.cell import PROTOCOLS, REFERENCE, SCORES, Cell
from bench.commands import options
from bench.commands.options import NAMES, QUERIES, WHOLE_NUMBERS
from bench.errors import UserError

if TYPE_CHECKING:
    from bench.lab import Settings
    from bench.plan import Plan
    from bench.resolve import Resolved
    from bench.store import Store
    from bench.suite import Suite


@click.command()
@click.option(
    "--methods",
    "-m",
    type=NAMES,
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
@click.option("--datasets", "-d", type=NAMES, help="Cards of datasets/. Default: the suite's.")
@click.option("--seeds", type=WHOLE_NUMBERS, help="e.g. 1,2,3 or 1-3. Default: 1.")
@click.option("--budget", "-b", "budgets", type=QUERIES, help="Queries, e.g. 500,5000. Default: the suite's.")
@click.option("--shots", type=WHOLE_NUMBERS, help="Training images a class. Default: the suite's.")
@click.option("--protocol", type=click.Choice(PROTOCOLS), default="few-shot", show_default=True)
@click.option("--backbone", help="open_clip model/weights, e.g. ViT-B-16/openai. Default: the suite's.")
@click.option(
    "--set",
    "overrides",
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
    "--answers",
    type=NAMES,
    default=DEFAULT,
    show_default=True,
    help=f"What the box answers with: {FORMS}. Several make several records per cell.",
)
@click.option("--pixels-8bit", is_flag=True, help="Round pixel prompts to bytes, as an API takes them.")
@options.results()
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
    help="float32; float64 (the same numbers on every processor); bf16-images (for image features that are "
    "kept), fp16-text, or both: fp16-text+bf16-images. Default: the suite's.",
)
@click.option("--offline", is_flag=True, help="Never touch the network.")
@click.option(
    "--retry-stale",
    is_flag=True,
    help="Run again what was made with a method, card or split that has changed.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
def run(**given: Any) -> None:
    """Run every method x data set x seed x budget cell that is not done yet.

    Records are written as cells finish, so an interrupted run goes on where it stopped. A failed cell is
    retried the next time; the others go on. Exit code 1 if a cell failed, 2 for bad input.
    """
    raise SystemExit(run_cells(**given))


def run_cells(
    *,
    suite: str,
    results: Path,
    methods: tuple[str, ...],
    root: str | None,
    device: str,
    precision: str | None,
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
    from bench.lab import Settings
    from bench.plan import check_inputs, check_without_fetching, make_cells, make_plan, refuse
    from bench.resolve import resolve
    from bench.store import Store
    from bench.suite import load_suite

    if local and (workers or ray_address or gpus_per_cell):
        raise UserError(
            "--local runs one cell at a time in this process: leave out --workers, --ray-address "
            "and --gpus-per-cell, or --local."
        )
    if REFERENCE not in methods and "all" not in methods:
        methods = (*methods, REFERENCE)
    chosen = load_suite(suite)
    if "all" in methods:
        methods = everything(chosen, what["answers"])
    cells = resolve(make_cells(chosen, methods, **what), chosen, precision)
    device = pick_device(device, local, elsewhere=bool(ray_address and gpus_per_cell))
    settings = Settings(device, str(Path(root).resolve()) if root else None, offline)
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
        where = Where(workers, ray_address, gpus_per_cell, local)
        return carry_out(plan, plan.todo(retry_stale), settings, store, where)


def everything(suite: "Suite", answers: Sequence[str]) -> tuple[str, ...]:
    """The methods that can work with these answers; the others are named on standard error."""
    from bench.plugins import METHODS
    from bench.resolve import misfit

    why = {name: [m for one in answers if (m := misfit(suite, name, one))] for name in METHODS.files()}
    for reasons in why.values():
        click.echo("".join(f"left out: {reason}\n" for reason in reasons), nl=False, err=True)
    return tuple(name for name, reasons in why.items() if not reasons)


@dataclass(frozen=True)
class Where:
    """On which processors: the options of that name."""

    workers: int | None
    ray_address: str | None
    gpus_per_cell: float | None
    local: bool


def carry_out(
    plan: "Plan", todo: "Sequence[Resolved]", settings: "Settings", store: "Store", where: Where
) -> int:
    """Run what is to be run, keep its records, show the table; the exit code."""
    from bench.run import run_cell
    from bench.schedule.gpu import rounds
    from bench.schedule.job import Interrupted
    from bench.schedule.pool import run_all
    from bench.schedule.progress import Progress

    progress = Progress(one.cell for one in todo)
    failed: list[tuple[Cell, str]] = []
    on_gpus = settings.device.startswith("cuda") and not where.local
    share = where.gpus_per_cell or (None if on_gpus else 0.0)  # None: to be found out
    try:
        with progress:
            for part, gpus in rounds(todo, plan.cells, store, share, where.workers):
                summary = run_all(
                    part,
                    settings,
                    run=run_cell,
                    on_record=lambda record: progress.record(record, store.write(record)),
                    on_event=progress.event,
                    workers=where.workers,
                    ray_address=where.ray_address,
                    gpus_per_cell=gpus,
                    local=where.local,
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
    echo_table([one.cell for one in plan.cells], store.root)
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


def echo_plan(plan: "Plan", retry_stale: bool) -> None:
    """What was asked for and how much of it is done, one line per row."""
    from bench.plan import queries
    from bench.store import Status

    marks: tuple[Status, ...] = get_args(Status)
    click.echo(f"{'method':<40}{'cells':>7}{'queries':>12}  " + "".join(f"{mark:>9}" for mark in marks))
    for name, cells, asked, status in plan.rows():
        click.echo(f"{name:<40}{cells:>7}{asked:>12,}  " + "".join(f"{status[m]:>9}" for m in marks))
    todo = plan.todo(retry_stale)
    click.echo(f"{len(todo)} of {len(plan.cells)} cells to run: at most {queries(todo):,} queries")
    stale = Counter(plan.status.values())["stale"]
    if stale and not retry_stale:
        click.echo(
            f"{stale} records are stale (other code, method, card, split, parameters or precision) "
            "and are left as they are: --retry-stale runs them again."
        )


def echo_table(cells: Sequence[Cell], results: Path) -> None:
    """The table of this run: its rows, data sets and seeds, at its largest budget."""
    from rich.console import Console

    from bench.report.frame import load
    from bench.report.render import render
    from bench.report.tables import Form, tables

    largest = max(cells, key=lambda cell: (cell.budget, cell.shots))
    names = ("suite", "backbone", "shots", "budget", "batch_size", "score", "answers", "pixels_8bit")
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
