"""`bench results verify | show | export | pack | import | publish`."""

from pathlib import Path

import click

from bench.commands import options
from bench.commands.options import NAMES
from bench.commands.report import FORMAT, TO_FILE, form_of, records, show, warn
from bench.commands.submit import pack, take
from bench.errors import UserError


@click.group()
def results() -> None:
    """Verify, show, export, pack, import or publish records.

    \b
    Examples:
      bench results verify runs
      bench results export runs.csv
    """


@results.command("verify")
@click.argument("path", type=options.PLACE)
@click.option("--rescore", "rescoring", is_flag=True, help="Build each deployed prompt again and score it.")
@click.option(
    "--rerun", "runs", type=options.COUNT, default=0, help="Run this many cells again. Default: none."
)
@click.option("--seed", type=options.COUNT, default=0, show_default=True, help="Of the draw of --rerun.")
@click.option("--methods", type=NAMES, help="Methods that --rescore and --rerun take. Default: all.")
@click.option("--datasets", type=NAMES, help="Data sets that --rescore and --rerun take. Default: all.")
@click.option("--all", "every", is_flag=True, help="Show every line. Default: the first 10 of each kind.")
@click.option("--by", default="", help="Your name, for the list of what was verified.")
@options.root(existing=True)
@click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, or auto (cuda if this machine has it)."
)
@click.pass_context
def results_verify(
    context: click.Context,
    path: Path,
    rescoring: bool,
    runs: int,
    seed: int,
    methods: tuple[str, ...] | None,
    datasets: tuple[str, ...] | None,
    every: bool,
    by: str,
    root: Path | None,
    device: str,
) -> None:
    """Check the records at PATH before you submit them, or before you believe them.

    PATH is a record or a folder of records. Each fault is one line: the file, and what is wrong with it; the
    first 10 lines of a kind are shown, and a summary at the end counts each kind. Each record is compared
    with itself, with the method, suite, cards and code of this installation, and with the other records.

    --rescore also builds each deployed prompt again and scores it on the test images. --rerun N also runs N
    cells again, one of each method in turn, and compares all bytes but when, where and how long. A record
    whose method asked a language model is always run again, from its transcript. Nothing is sent.

    What was checked of which record is kept in verified.jsonl in the results folder, and reports show it. A
    record that is changed afterwards no longer counts.

    Exit code: 0 if all is well, 1 if there is a fault, 3 if there is none but something could not be checked
    here.

    \b
    Examples:
      bench results verify runs
      bench results verify runs --rescore --rerun 10 --by "A. Reader"
    """
    from bench.commands.verify import LINES, Verification, select

    if not by.isprintable():
        raise UserError("--by has to be a line of text.")
    work = Verification(path, root, device, by, None if every else LINES)
    with work:
        chosen = select(work.reading.sound, methods, datasets)
        work.replay()
        if rescoring:
            work.rescore(chosen)
        if runs:
            work.rerun(chosen, runs, seed)
    for line in work.summary():
        click.echo(line)
    context.exit(work.exit_code)


@results.command("show")
@click.argument("path", type=click.Path(path_type=Path))
@FORMAT
@TO_FILE
def results_show(path: Path, form: str | None, output: Path | None) -> None:
    """Print one record in detail.

    PATH is a record. The tables show the accuracy for each class, the calibration if the record has it, and
    which classes were most often taken for others. A note says what was verified of the record.

    \b
    Example:
      bench results show runs/mini/few-shot/mini-digits/zip/NAME.json
    """
    from bench.record import read
    from bench.report.single import record_tables
    from bench.report.verified import Logs, told

    try:
        record = read(path)
        made = record_tables(record, told(record, Logs(warn).of(path)))
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    show(made, form or form_of(output), output)


@results.command("export")
@options.results()
@click.argument("path", type=options.PLACE)
@click.option(
    "--format", "form", type=click.Choice(["csv", "parquet"]), help="Default: what the ending of PATH means."
)
def results_export(results: Path, path: Path, form: str | None) -> None:
    """Write all records as two tables, PATH-cells and PATH-traces.

    The first has one row per cell and test set, the second one per checkpoint and test set.

    \b
    Examples:
      bench results export runs.csv
      bench results export runs --format parquet
    """
    from bench.report.export import export

    for file in export(records(results), path, form):
        click.echo(f"wrote {file}", err=True)


@results.command("publish")
@options.results(default=Path("results"))
@click.option(
    "--readme",
    type=options.PLACE,
    default=Path("README.md"),
    show_default=True,
    help="File whose part between the `published` marks gets one small table.",
)
@click.option(
    "--page",
    type=options.PLACE,
    default=Path("docs/results.md"),
    show_default=True,
    help="File whose part between the `published` marks gets sentences, whole tables and pictures.",
)
@click.option("--suite", default="mini", show_default=True, help="Suite to publish.")
def results_publish(results: Path, readme: Path, page: Path, suite: str) -> None:
    """Write the repository's own tables, pictures and page.

    They are made from the records in the folder --results. The tables and pictures go to its folder named
    after the suite, the page with all results to leaderboard.html in it, the main tables into --page, and a
    small table into the README.

    \b
    Example:
      bench results publish
    """
    from bench.report.publish import publish

    for path in publish(records(results), results, readme, page, suite):
        click.echo(f"wrote {path}", err=True)


results.add_command(pack)
results.add_command(take)
