"""`bench run`: makes a plan from the flags, runs its cells, and prints their table."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from bench.answered import DEFAULT, FORMS
from bench.cell import PROTOCOLS, REFERENCE, SCORES, Cell
from bench.commands import options
from bench.commands.language_model import chat_settings, echo_chats, llm
from bench.commands.options import NAMES, QUERIES, WHOLE_NUMBERS
from bench.commands.wire import agree_on_dollars, echo_dollars, endpoint_given, wire, wiring_of
from bench.errors import UserError
from bench.pulse import LIMITS, Limits, in_words
from bench.words import counted

if TYPE_CHECKING:
    from bench.lab import Settings
    from bench.plan import Plan
    from bench.remote import Endpoint
    from bench.resolve import Resolved
    from bench.store import Store
    from bench.suite import Suite

CACHE_GIB = 10  # enough for the features of a suite's crops; see --cache-limit


@click.command()
@click.option(
    "--methods",
    "-m",
    type=NAMES,
    default="zip,blackvip",
    show_default=True,
    help="Names of files in methods/, or all: those that ask no language model. `manual`, the hand template "
    "(0 queries), is always added.",
)
@click.option(
    "--suite",
    "-s",
    default="mini",
    show_default=True,
    help="mini (part of the package), zip or craft (the papers'), or the path of your own .toml file.",
)
@click.option("--datasets", "-d", type=NAMES, help="Names of cards in datasets/. Default: the suite's.")
@click.option("--seeds", type=WHOLE_NUMBERS, help="Seeds, e.g. 1,2,3 or 1-3. Default: 1.")
@click.option(
    "--budget",
    "-b",
    "budgets",
    type=QUERIES,
    help="Queries per cell, e.g. 5000. 500,5000 makes a cell for each budget. Default: the suite's.",
)
@click.option("--shots", type=WHOLE_NUMBERS, help="Training images per class, e.g. 16. Default: the suite's.")
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    default="few-shot",
    show_default=True,
    help="few-shot: tune and score on all classes. base-to-new: tune on half of the classes, score on each "
    "half. cross-dataset, ood: tune on one data set, score on others.",
)
@click.option(
    "--backbone",
    help="An open_clip model and its weights, e.g. ViT-B-16/openai; the address of an endpoint; or a "
    ".toml file that declares one (docs/serve.md). Default: the suite's.",
)
@wire
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="METHOD.NAME=VALUE[,VALUE]",
    help="A parameter of a method, e.g. zip.rank=1,2,5; each value makes a row. Can be repeated.",
)
@click.option(
    "--score",
    type=click.Choice(SCORES),
    default="test",
    show_default=True,
    help="Images to score on. val: validation images, so that you can choose parameters without test images.",
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
@options.root()
@click.option(
    "--workers",
    type=click.IntRange(1, 100_000),
    help="Number of cells that run at the same time. Default: one per core, or as many as the GPUs take.",
)
@click.option(
    "--ray-address",
    help="host:port of a Ray cluster to join; auto: the Ray that runs on this machine. Default: a new Ray.",
)
@click.option(
    "--gpus-per-cell",
    type=options.Real(0, 100_000, min_open=True),
    help="GPUs per cell, e.g. 0.25: four cells share a GPU. Default: follows from the memory that the first "
    "cell of each method needed.",
)
@click.option(
    "--local",
    is_flag=True,
    help="Run in this process, one cell after the other, without Ray. A method that calls os._exit, or stays "
    "in native code, then ends or blocks the whole run.",
)
@click.option(
    "--cell-timeout",
    type=options.Real(0, 100_000, min_open=True),
    default=LIMITS.cell / 3600,
    show_default=True,
    help="Hours that a cell may take. After them it fails, and the other cells go on.",
)
@click.option(
    "--quiet-timeout",
    type=options.Real(0, 100_000, min_open=True),
    default=LIMITS.quiet / 3600,
    show_default=True,
    help="Hours that a method may work without a query, a report or its end. After them its cell fails.",
)
@click.option(
    "--cell-memory",
    type=options.Real(0, 100_000, min_open=True),
    help="GiB of memory that a worker may take; a method that needs more fails. Default: no limit.",
)
@click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, or auto (cuda if this machine has it)."
)
@click.option(
    "--precision",
    help="float32; float64 (the same numbers on every processor); or parts joined with +: fp16-text (text "
    "layers in float16), bf16-images (image layers in bfloat16, for images that no prompt changes), "
    "fp16-pixels (image layers in float16, for images that a prompt changes, where the method allows it), "
    "fp16-scores (image layers in float16, for scoring all checkpoints but the last). A record names the "
    "parts that were in force for its method. Default: the suite's.",
)
@click.option(
    "--cache-limit",
    type=options.Real(0, 1_000_000),
    default=CACHE_GIB,
    show_default=True,
    metavar="GIB",
    help="GiB on disk ($BENCH_CACHE) for features of augmented images, which all text methods of a data set "
    "and seed share. Those that were used longest ago are removed. 0: they are computed each time.",
)
@click.option(
    "--offline", is_flag=True, help="Do not use the network; what is not on this machine is an error."
)
@llm
@click.option(
    "--retry-stale",
    is_flag=True,
    help="Also run the cells whose records are stale: made with other code, or with a method, card, split, "
    "parameters or precision that have changed.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check all input and print the plan, with the hours, memory and disk that it will take as far as "
    "records of such cells tell; run and download nothing.",
)
def run(**given: Any) -> None:
    """Run every cell that has no record yet, and print the table.

    A cell is one method on one data set with one seed and one budget. A cell's record is written when the
    cell ends. If a run is interrupted, the same command continues it. A failed cell does not stop the others;
    the next run tries it again.

    Exit code: 0; 1 if a cell failed; 2 for wrong input; 128 + the signal's number if a signal ended the run.

    \b
    Examples:
      bench run --methods zip,blackvip --budget 5000
      bench run --methods all --seeds 1,2,3 --dry-run
      bench run --methods zip --protocol base-to-new --local
      bench run --suite zip --root DATA --methods zip,manual
    """
    raise SystemExit(run_cells(**given).code)


@dataclass(frozen=True)
class Ran:
    """How a run ended. code: 0; 1 if a cell failed; 128 + signal if it was interrupted."""

    code: int
    plan: "Plan"
    store: "Store"


def run_cells(
    *,
    suite: str,
    results: Path,
    methods: tuple[str, ...],
    root: Path | None,
    device: str,
    precision: str | None,
    cache_limit: float,
    offline: bool,
    retry_stale: bool,
    dry_run: bool,
    workers: int | None,
    ray_address: str | None,
    gpus_per_cell: float | None,
    local: bool,
    cell_timeout: float,
    quiet_timeout: float,
    cell_memory: float | None,
    backbone: str | None,
    dialect: str | None,
    fresh: bool,
    spend: float | None,
    **what: Any,
) -> Ran:
    """Run cells as the flags ask: `bench run` and `bench.run` call this.

    Raises UserError for wrong input, before any query is spent.
    """
    from bench.forecast import forecast
    from bench.lab import Settings
    from bench.plan import (
        check_chats,
        check_inputs,
        check_without_fetching,
        make_cells,
        make_plan,
        probe_endpoints,
        refuse,
    )
    from bench.resolve import resolve
    from bench.store import Store
    from bench.suite import load_suite

    if local and (workers or ray_address or gpus_per_cell or cell_memory):
        raise UserError(
            "--local runs one cell at a time in this process: leave out --local, or leave out --workers, "
            "--ray-address, --gpus-per-cell and --cell-memory."
        )
    memory = None if cell_memory is None else int(cell_memory * 2**30)
    limits = Limits(cell_timeout * 3600, quiet_timeout * 3600, memory)
    if REFERENCE not in methods and "all" not in methods:
        methods = (*methods, REFERENCE)
    chat = chat_settings(offline, **{name: what.pop(name) for name in list(what) if name.startswith("llm_")})
    chosen = load_suite(suite)
    wiring = wiring_of(results, fresh, spend)
    endpoint = endpoint_given(backbone, dialect, wiring, offline)
    if "all" in methods:
        methods = that_fit(chosen, methods, what["answers"], endpoint)
    made = make_cells(chosen, methods, backbone=backbone, endpoint=endpoint, **what)
    cells = resolve(made, chosen, precision, endpoint)
    device = pick_device(device, local, elsewhere=bool(ray_address and gpus_per_cell))
    folder, limit = str(root.absolute()) if root else None, int(cache_limit * 2**30)
    settings = Settings(device, folder, offline, chat, wiring, limit)
    store = Store(results)
    if dry_run:
        checked = check_without_fetching(cells, settings)
        plan = make_plan(cells, store, checked.lab)
        echo_plan(plan, retry_stale, limits)
        echo_chats(plan.todo(retry_stale), chat)
        for line in forecast(plan.todo(retry_stale), results).lines(
            len(plan.todo(retry_stale)), 1 if local else workers
        ):
            click.echo(line)
        echo_notes(checked.notes)
        echo_dollars(plan.todo(retry_stale), checked.lab)
        for name in checked.absent:
            click.echo(f"not on this machine: {name} (the run downloads it first).")
        refuse(checked.faults)
        check_chats(plan.todo(retry_stale), settings, ask=False)
        return Ran(0, plan, store)
    lab, notes = check_inputs(cells, settings)
    with store.lock():
        plan = make_plan(cells, store, lab)
        echo_plan(plan, retry_stale, limits)
        echo_chats(plan.todo(retry_stale), chat)
        echo_notes(notes)
        check_chats(plan.todo(retry_stale), settings, ask=True)
        agree_on_dollars(plan.todo(retry_stale), lab, wiring)
        for line in probe_endpoints(plan.todo(retry_stale), lab):
            click.echo(line)
        where = Where(workers, ray_address, gpus_per_cell, local, limits)
        code = carry_out(plan, plan.todo(retry_stale), settings, store, where)
        if code <= 1:
            echo_notes(notes)  # below the table, too
        return Ran(code, plan, store)


def echo_notes(notes: Sequence[str]) -> None:
    """Print what a reader of the plan and of the table has to know."""
    for note in notes:
        click.echo(f"note: {note}.")


def that_fit(
    suite: "Suite", methods: Sequence[str], answers: Sequence[str], endpoint: "Endpoint | None"
) -> tuple[str, ...]:
    """Those of "all" methods that can work with these answers; the others are named on standard error."""
    from bench.plan import named
    from bench.resolve import misfit

    def leave_out(why: str) -> None:
        click.echo(f"left out: {why}", err=True)

    why = {
        name: [m for one in answers if (m := misfit(suite, name, one, endpoint=endpoint))]
        for name in named(methods, leave_out)
    }
    for reasons in why.values():
        for reason in reasons:
            leave_out(reason)
    return tuple(name for name, reasons in why.items() if not reasons)


@dataclass(frozen=True)
class Where:
    """On which processors the cells run, and how long: the values of the options with these names."""

    workers: int | None
    ray_address: str | None
    gpus_per_cell: float | None
    local: bool
    limits: Limits


def carry_out(
    plan: "Plan", todo: "Sequence[Resolved]", settings: "Settings", store: "Store", where: Where
) -> int:
    """Run the cells `todo`, write their records, and print the table of the plan. Returns the exit code."""
    from bench.runner import run_cell
    from bench.schedule.gpu import rounds
    from bench.schedule.job import Interrupted
    from bench.schedule.pool import run_parts
    from bench.schedule.progress import Progress

    progress = Progress(one.cell for one in todo)
    on_gpus = settings.device.startswith("cuda") and not where.local
    share = where.gpus_per_cell or (None if on_gpus else 0.0)  # None: `rounds` decides
    try:
        with progress:
            summary = run_parts(
                rounds(todo, plan.cells, store, share, where.workers),
                len(todo),
                settings,
                run=run_cell,
                on_record=lambda record: progress.record(record, store.write(record)),
                on_event=progress.event,
                workers=where.workers,
                ray_address=where.ray_address,
                local=where.local,
                limits=where.limits,
            )
    except Interrupted as stop:
        click.echo(
            f"{stop}: {counted(progress.done, 'cell is', 'cells are')} written, {len(todo) - progress.done} "
            "left. Run the same command again to continue.",
            err=True,
        )
        return 128 + stop.signum
    echo_table([one.cell for one in plan.cells], store.root)
    for cell, line in summary.failed:
        click.echo(f"failed: {cell.path}: {line}", err=True)
    if summary.failed:
        click.echo(
            f"{len(summary.failed)} of {counted(len(todo), 'cell')} failed. The records hold the tracebacks. "
            "Run the same command to try again.",
            err=True,
        )
    return 1 if summary.failed else 0


def pick_device(name: str, local: bool, elsewhere: bool) -> str:
    """The device to run on; 'auto' is 'cuda' if this machine has a GPU, else 'cpu'.

    elsewhere: the workers run on GPUs of a cluster, which Ray checks; this machine needs none.
    Raises UserError for a device that this machine does not have.
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
        raise UserError(f"--device {name}: this machine has no such device. Use cpu, cuda or auto.")
    if ":" in name and not local:  # each worker sees the one GPU that Ray gives it
        raise UserError(
            f"--device {name} needs --local: add it, or use cuda and choose GPUs with CUDA_VISIBLE_DEVICES."
        )
    return name


def echo_plan(plan: "Plan", retry_stale: bool, limits: Limits) -> None:
    """Print the plan: one line per row of the table, with its number of cells by status; then the totals."""
    from bench.plan import queries

    for line in plan_lines(plan):
        click.echo(line)
    todo = plan.todo(retry_stale)
    cells, most = counted(len(plan.cells), "cell"), counted(queries(todo), "query")
    click.echo(f"{len(todo)} of {cells} to run: at most {most}")
    click.echo(
        f"a cell may take {in_words(limits.cell)} (--cell-timeout), and its method may be quiet for "
        f"{in_words(limits.quiet)} (--quiet-timeout)"
    )
    stale = Counter(plan.status.values())["stale"]
    if stale and not retry_stale:
        click.echo(
            f"{counted(stale, 'record is', 'records are')} stale (made with other code, method, card, split, "
            "parameters or precision) and not made again: add --retry-stale to run the cells again."
        )


def plan_lines(plan: "Plan", width: int = 80) -> Iterator[str]:
    """The plan as a table of at most `width` columns, with a column for each status that occurs.

    A row's name that is too long goes on lines of its own.
    """
    from bench.store import Status

    rows = [("method", "cells", "queries", None), *plan.rows()]
    there = {mark for *_, status in plan.rows() for mark in status}
    marks = [mark for mark in get_args(Status) if mark in there]
    left = width - 7 - 13 - 9 * len(marks)
    for name, cells, asked, status in rows:
        *first, last = textwrap.wrap(name, left, subsequent_indent="  ") or [""]
        yield from first
        numbers = marks if status is None else [f"{status[mark]}" for mark in marks]
        most = asked if isinstance(asked, str) else f"{asked:,}"
        yield f"{last:<{left}}{cells:>7}{most:>13}" + "".join(f"{number:>9}" for number in numbers)


def echo_table(cells: Sequence[Cell], results: Path) -> None:
    """Print the table of these cells, with their methods, data sets and seeds, at the largest budget."""
    from rich.console import Console

    from bench.report.answers import answers_table, by_answers
    from bench.report.frame import load
    from bench.report.render import render
    from bench.report.tables import Form, tables

    largest = max(cells, key=lambda cell: (cell.budget, cell.shots))
    names = (
        "suite",
        "backbone",
        "shots",
        "budget",
        "batch_size",
        "score",
        "answers",
        "pixels_8bit",
        "endpoint",
    )
    wanted: dict[str, Any] = {name: getattr(largest, name) for name in names}
    for name, column in (("methods", "method"), ("datasets", "dataset"), ("seeds", "seed")):
        wanted[name] = tuple(dict.fromkeys(getattr(cell, column) for cell in cells))
    found = load(results, lambda message: click.echo(f"warning: {message}", err=True))
    try:
        made = tables(found, largest.protocol, "measured", Form(partial=True), **wanted)
        if len({cell.answers for cell in cells}) > 1:
            several = {**wanted, "answers": None, "protocol": largest.protocol}
            made.append(answers_table(by_answers(found, partial=True, **several)))
    except UserError as error:
        click.echo(f"no table: {error}", err=True)
        return
    console = Console()
    for one in made:
        click.echo(
            render(one, "terminal", console.width if console.is_terminal else None, console.is_terminal)
        )
