"""`bench table | plot | audit | leaderboard | results`."""

import shutil
import sys
from pathlib import Path
from typing import Any

import click

from bench.answered import FORMS as FORMS_OF_ANSWERS
from bench.cell import PROTOCOLS, SCORES
from bench.commands import options
from bench.commands.options import NAMES, NUMBERS, QUERIES, WHOLE_NUMBERS, Command
from bench.errors import UserError
from bench.plugins import METHODS, method_hash
from bench.report.frame import Results, load, missing_cells, select
from bench.report.render import FORMS, render

SUFFIXES = {".md": "markdown", ".csv": "csv", ".tex": "latex", ".html": "html", ".txt": "terminal"}


def warn(message: str) -> None:
    """Say it on standard error, so that a table on standard output stays clean."""
    click.echo(f"warning: {message}", err=True)


def conditions(command: Command) -> Command:
    """The options that choose which records may share a table or plot."""
    return options.stack(
        [
            options.results(),
            click.option("--suite", help="mini, zip, craft, ..."),
            click.option("--backbone", help="As in the records; needed where they hold several."),
            click.option("--shots", type=int, help="Images per class."),
            click.option("--budget", type=int, help="Queries."),
            click.option("--batch-size", type=int, help="Images per query."),
            click.option("--score", type=click.Choice(SCORES), default="test", show_default=True),
            click.option("--answers", help=f"{FORMS_OF_ANSWERS}. Default: logits where there are several."),
            click.option("--methods", type=NAMES, help="Comma-separated; default all."),
            click.option("--datasets", type=NAMES, help="Comma-separated; default all."),
            click.option("--seeds", type=WHOLE_NUMBERS, help="e.g. 1,2,3 or 1-3; default all."),
        ]
    )(command)


def records(folder: Path) -> Results:
    """The folder's records; damaged ones and those of another version of a method are named on stderr."""
    found, files = load(folder, warn), METHODS.files()
    for method, part in found.cells.groupby("method"):
        old = part[~part["hash_method"].isin(["", method_hash(str(method))])] if method in files else part[:0]
        if len(old):
            count = old["path"].nunique()
            warn(f"{count} records of {method} are stale, made with another {files[str(method)].name}")
    return found


def form_of(output: Path | None) -> str:
    """The form a file's ending asks for. Raises UserError for an ending that says nothing."""
    if output is None:
        return "terminal"
    if output.suffix not in SUFFIXES:
        raise UserError(f"{output}: end its name in {', '.join(SUFFIXES)}, or say --format.")
    return SUFFIXES[output.suffix]


def write(text: str, output: Path | None) -> None:
    """To standard output, or to a file whose path is then named on standard error."""
    if output is None:
        click.echo(text, nl=not text.endswith("\n"))
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}; choose another place with -o") from error
    click.echo(f"wrote {output}", err=True)


@click.command()
@click.argument("kind", type=click.Choice([*PROTOCOLS, "ranks", "efficiency"]))
@click.option("--protocol", type=click.Choice(PROTOCOLS), default="few-shot", help="Of ranks and efficiency.")
@conditions
@click.option(
    "--source", type=click.Choice(["measured", "published", "both"]), default="measured", show_default=True
)
@click.option(
    "--format", "form", type=click.Choice([*FORMS, "terminal"]), help="Default: by the ending of -o."
)
@click.option("--partial", is_flag=True, help="Print a table with holes, n beside each incomplete mean.")
@click.option("--spread", type=click.Choice(["sd", "ci", "none"]), default="sd", show_default=True)
@click.option("--harmonic", type=click.Choice(["mean", "of-averages"]), default="mean", show_default=True)
@click.option("--at", type=int, help="ranks: after so many queries; default the whole budget.")
@click.option(
    "--image-queries", "images", type=click.IntRange(0), help="Cut every run at so many images scored once."
)
@click.option("--targets", type=NUMBERS, default=(), help="efficiency: absolute accuracies, e.g. 50,60.")
@click.option("--digits", type=click.IntRange(0, 6), default=1, show_default=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write to a file instead of the screen."
)
def table(
    kind: str,
    protocol: str,
    results: Path,
    source: str,
    form: str | None,
    partial: bool,
    spread: Any,
    harmonic: Any,
    at: int | None,
    images: int | None,
    targets: tuple[float, ...],
    digits: int,
    output: Path | None,
    **wanted: Any,
) -> None:
    """The papers' tables, from records, from the papers, or both; ranks with ties; query efficiency."""
    from bench.report import summary
    from bench.report.published import SOURCES
    from bench.report.tables import Form, tables

    form = form or form_of(output)
    asked = Form(partial, spread, harmonic, digits, images)
    if images is not None and (kind not in PROTOCOLS or source == "published"):
        raise UserError("--image-queries cuts measured runs: it goes with the protocols' tables alone.")
    if kind in PROTOCOLS:
        found = None if source == "published" else records(results)
        suites = {one.suite for one in SOURCES} - set(found.cells["suite"] if found else ())
        if source == "both" and wanted["suite"] in suites:
            warn(f"no records of suite {wanted['suite']} in {results} yet: the papers' rows alone")
            source = "published"
        made = tables(found, kind, source, asked, **wanted)
    else:
        chosen = select(records(results), protocol=protocol, **wanted)
        ranks = kind == "ranks"
        made = [
            summary.ranks_table(chosen, at, partial)
            if ranks
            else summary.efficiency_table(chosen, absolute=targets, partial=partial)
        ]
    screen = output is None and sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if screen else None
    write("\n".join(render(one, form, width, colour=screen) for one in made), output)


@click.group()
def plot() -> None:
    """Pictures from records: curves, efficiency, ablation, cd, params."""


def picture(command: Command) -> Command:
    """The options every plot has."""
    wide = click.option(
        "--width", type=click.FloatRange(2, 20), default=7.0, show_default=True, help="Inches."
    )
    out = click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        multiple=True,
        help=".png, .svg or .pdf; repeatable.",
    )
    protocol = click.option("--protocol", type=click.Choice(PROTOCOLS), default="few-shot", show_default=True)
    return protocol(conditions(wide(out(command))))


def pictured(results: Path, wanted: dict[str, Any]) -> Results:
    """The records a picture is of; holes are named on standard error."""
    found = select(records(results), **wanted)
    missing = missing_cells(found)
    if missing:
        warn(
            f"{len(missing)} cells are missing, so rows may stand on different runs: {'; '.join(missing[:5])}"
        )
    return found


def save_all(figure: Any, output: tuple[Path, ...], default: str) -> None:
    """Into every file asked for, or PNG and SVG under the plot's own name."""
    from bench.report.drawing import save

    for path in output or (Path(f"{default}.png"), Path(f"{default}.svg")):
        save(figure, path)
        click.echo(f"wrote {path}", err=True)


@plot.command("curves")
@picture
@click.option("--linear", is_flag=True, help="Linear query axis instead of a logarithmic one.")
@click.option("--marks", type=QUERIES, default=(), help="Budgets to mark, e.g. 500,5000.")
def plot_curves(
    results: Path, output: tuple[Path, ...], width: float, linear: bool, marks: tuple[int, ...], **wanted: Any
) -> None:
    """Accuracy against queries, a panel a data set and their average."""
    from bench.report.plots import curves

    save_all(curves(pictured(results, wanted), not linear, width, marks), output, "curves")


@click.command()
@click.option(
    "--format", "form", type=click.Choice([*FORMS, "terminal"]), help="Default: by the ending of -o."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write to a file instead of the screen."
)
def audit(form: str | None, output: Path | None) -> None:
    """Recompute every average and harmonic mean the papers printed; list what cannot be right."""
    from bench.report.audit import audit as checks
    from bench.report.audit import table as findings

    form = form or form_of(output)
    screen = output is None and sys.stdout.isatty()
    write(
        render(findings(checks()), form, shutil.get_terminal_size().columns if screen else None, screen),
        output,
    )


@plot.command("efficiency")
@picture
@click.option("--targets", type=NUMBERS, default=(), help="Absolute accuracies, e.g. 50,60.")
def plot_efficiency(
    results: Path, output: tuple[Path, ...], width: float, targets: tuple[float, ...], **wanted: Any
) -> None:
    """Targets solved against queries, and expected queries to each target."""
    from bench.report.plots import efficiency_plot

    save_all(efficiency_plot(pictured(results, wanted), width, targets), output, "efficiency")


@plot.command("ablation")
@click.argument("parameter", metavar="METHOD.PARAMETER")
@picture
def plot_ablation(
    parameter: str, results: Path, output: tuple[Path, ...], width: float, **wanted: Any
) -> None:
    """Accuracy against one swept parameter, e.g. zip.rank."""
    from bench.report.plots import ablation

    method, dot, name = parameter.partition(".")
    if not dot:
        raise UserError(f"{parameter!r} names no parameter: write METHOD.PARAMETER, e.g. zip.rank")
    wanted["methods"] = (method,)
    save_all(
        ablation(select(records(results), **wanted), method, name, width), output, f"ablation-{method}-{name}"
    )


@plot.command("cd")
@picture
@click.option("--at", type=int, help="After so many queries; default the whole budget.")
def plot_cd(results: Path, output: tuple[Path, ...], width: float, at: int | None, **wanted: Any) -> None:
    """Average accuracies on a line; bars join methods that are not told apart."""
    from bench.report.diagram import cd

    save_all(cd(pictured(results, wanted), at, width), output, "cd")


@plot.command("params")
@picture
@click.option("--at", type=int, help="After so many queries; default the whole budget.")
def plot_params(results: Path, output: tuple[Path, ...], width: float, at: int | None, **wanted: Any) -> None:
    """Accuracy against the number of tuned parameters."""
    from bench.report.plots import params

    save_all(params(select(records(results), **wanted), at, width), output, "params")


@click.command()
@options.results()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("leaderboard.html"), show_default=True
)
@click.option("--variants", is_flag=True, help="Rank rows with overridden parameters too.")
def leaderboard(results: Path, output: Path, variants: bool) -> None:
    """One self-contained page from all records."""
    from bench.report.leaderboard import page

    write(page(records(results), output.parent, variants), output)


@click.group()
def results() -> None:
    """Check records before submitting them; export them."""


@results.command("verify")
@click.argument("path", type=click.Path(path_type=Path))
@click.pass_context
def results_verify(context: click.Context, path: Path) -> None:
    """Say in words what is wrong with the records at PATH; exit code 1 if anything is."""
    from bench.report.faults import verify
    from bench.report.frame import record_files

    faults = verify(path)
    for fault in faults:
        click.echo(fault)
    n = len(record_files(path))
    click.echo(
        f"{n} record{'s' * (n > 1)}: " + (f"{len(faults)} faults" if faults else "fit for the leaderboard")
    )
    context.exit(1 if faults else 0)


@results.command("export")
@options.results()
@click.argument("path", type=click.Path(path_type=Path))
def results_export(results: Path, path: Path) -> None:
    """Write all records as one tidy .parquet or .csv: a row a cell and test set, a row a trace point."""
    from bench.report.export import export

    export(records(results), path)
    click.echo(f"wrote {path}", err=True)


@results.command("publish")
@options.results(default=Path("results"))
@click.option("--readme", type=click.Path(path_type=Path), default=Path("README.md"), show_default=True)
@click.option("--suite", default="mini", show_default=True)
def results_publish(results: Path, readme: Path, suite: str) -> None:
    """Make the README's tables, plots and page again from committed records."""
    from bench.report.publish import publish

    for path in publish(records(results), results, readme, suite):
        click.echo(f"wrote {path}", err=True)
