"""`bench table | plot | audit | leaderboard`."""

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from bench.answered import FORMS as FORMS_OF_ANSWERS
from bench.answered import parse
from bench.cell import PROTOCOLS, SCORES
from bench.commands import options
from bench.commands.options import NAMES, NUMBERS, QUERIES, WHOLE_NUMBERS, Command
from bench.errors import UserError
from bench.report import asked
from bench.report.asked import OTHERS, PictureWish, TableWish, price_given
from bench.report.cost import SUMS
from bench.report.frame import Results
from bench.report.render import FORMS, footnote, footnote_file, render
from bench.report.table import Table
from bench.report.tables import Form

SUFFIXES = {".md": "markdown", ".csv": "csv", ".tex": "latex", ".html": "html", ".txt": "terminal"}

FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice([*FORMS, "terminal"]),
    help="Default: what the ending of -o means, else terminal.",
)
TO_FILE = click.option(
    "-o",
    "--output",
    type=options.PLACE,
    help=f"File to write ({', '.join(SUFFIXES)}). Default: the screen.",
)
TO_REACH = "accuracies to reach, in %, e.g. 50,60. Default: shares of the way from zero-shot to the best."


def cost(of: str) -> Callable[[Command], Command]:
    """The options of dollars. of: what stands before their help."""
    return options.stack(
        [
            click.option(
                "--price",
                type=options.PLACE,
                help=f"{of}a TOML file with [price], as one that declares an endpoint has (docs/serve.md).",
            ),
            click.option(
                "--sums",
                type=NUMBERS,
                default=SUMS,
                show_default=",".join(f"{one:g}" for one in SUMS),
                help=f"{of}sums in dollars, to see what they buy.",
            ),
        ]
    )


AT = click.option(
    "--at", type=options.COUNT, help="Read runs after this many queries. Default: their whole budget."
)


def warn(message: str) -> None:
    """Print a warning on standard error, so that standard output holds the table alone."""
    click.echo(f"warning: {message}", err=True)


SEVERAL = "Needed if the records hold several."


def conditions(command: Command) -> Command:
    """The options that choose the records of a table or plot."""
    return options.stack(
        [
            options.results(),
            click.option("--suite", help=f"Suite, e.g. mini, zip or craft. {SEVERAL}"),
            click.option("--backbone", help=f"Backbone, as the records name it. {SEVERAL}"),
            click.option("--shots", type=options.COUNT, help=f"Training images per class. {SEVERAL}"),
            click.option("--budget", type=options.COUNT, help=f"Budget of the runs, in queries. {SEVERAL}"),
            click.option("--batch-size", type=options.COUNT, help=f"Images per query. {SEVERAL}"),
            click.option(
                "--score",
                type=click.Choice(SCORES),
                default="test",
                show_default=True,
                help="Images that the records were scored on.",
            ),
            click.option(
                "--answers",
                callback=lambda context, option, text: text and str(parse(text)),
                help=f"What the box answered with: {FORMS_OF_ANSWERS}. Default: logits.",
            ),
            click.option(
                "--pixels-8bit",
                is_flag=True,
                default=None,
                help="Records whose pixel prompts were rounded to bytes. Default: the others.",
            ),
            click.option("--endpoint", help="Dialect and address of the model, as records have it."),
            click.option("--methods", type=NAMES, help="Methods, e.g. zip,blackvip. Default: all."),
            click.option("--datasets", type=NAMES, help="Data sets, e.g. dtd,eurosat. Default: all."),
            click.option("--seeds", type=WHOLE_NUMBERS, help="Seeds, e.g. 1,2,3 or 1-3. Default: all."),
        ]
    )(command)


def records(folder: Path) -> Results:
    """The folder's records, with warnings on standard error."""
    return asked.records(folder, warn)


def form_of(output: Path | None) -> str:
    """The table format that a file's ending means. Raises UserError for an unknown ending."""
    if output is None:
        return "terminal"
    if output.suffix not in SUFFIXES:
        raise UserError(f"{output}: end its name in one of {', '.join(SUFFIXES)}, or give --format.")
    return SUFFIXES[output.suffix]


def write(text: str, output: Path | None) -> None:
    """Write to standard output, or to a file; the file's path is then printed on standard error.

    Raises UserError if the file cannot be written.
    """
    if output is None:
        click.echo(text, nl=not text.endswith("\n"))
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}; choose another place with -o") from error
    click.echo(f"wrote {output}", err=True)


def show(tables: Sequence[Table], form: str, output: Path | None) -> None:
    """Write tables in one format; on a terminal in its width and with styles."""
    screen = output is None and sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if screen else None
    write("\n".join(render(one, form, width, colour=screen) for one in tables), output)
    if form == "latex" and output is not None and (said := footnote(tables)):
        write(said, footnote_file(output))


@click.command()
@click.argument("kind", type=click.Choice([*PROTOCOLS, *OTHERS]))
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    default="few-shot",
    show_default=True,
    help="ranks, efficiency, answers, cost, pairs: the protocol of the runs.",
)
@conditions
@click.option(
    "--source",
    type=click.Choice(["measured", "published", "both"]),
    default="measured",
    show_default=True,
    help="Rows from your records, from the papers, or from both.",
)
@FORMAT
@click.option(
    "--partial",
    is_flag=True,
    help="Print the table although cells are missing. An incomplete mean shows its number of seeds, n.",
)
@click.option(
    "--spread",
    type=click.Choice(["sd", "ci", "none"]),
    default="sd",
    show_default=True,
    help="What stands after ±: the standard deviation over seeds, a 95 % interval, or nothing.",
)
@click.option(
    "--harmonic",
    type=click.Choice(["mean", "of-averages"]),
    default="mean",
    show_default=True,
    help="base-to-new, average: the mean of the harmonic means, or the harmonic mean of the averages.",
)
@click.option(
    "--at", type=options.COUNT, help="ranks: read runs after this many queries. Default: their whole budget."
)
@click.option(
    "--image-queries",
    "images",
    type=options.COUNT,
    help="Read runs at their last checkpoint within this many image-queries (one image scored once).",
)
@click.option(
    "--targets",
    type=NUMBERS,
    default=(),
    help=f"efficiency: {TO_REACH}",
)
@cost("cost: ")
@click.option(
    "--digits", type=click.IntRange(0, 6), default=1, show_default=True, help="Decimals of an accuracy."
)
@TO_FILE
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
    price: Path | None,
    sums: tuple[float, ...],
    digits: int,
    output: Path | None,
    **wanted: Any,
) -> None:
    """Print a table of accuracies, or of what follows from them.

    For a protocol such as few-shot, the table shows accuracies, as in the papers. `ranks` shows the average
    accuracy and rank of each method, and which differences are real. `efficiency` shows the accuracy at
    several budgets, and the queries to each target. `answers` shows the accuracy for each level of answers.
    `cost` shows what accuracy costs at the prices of a file: dollars to tune, dollars per point gained over
    the hand template, what sums of dollars buy, and dollars to use a prompt on 1,000 images. `pairs` compares
    two methods image by image. A table with missing cells is an error; the message lists them.

    \b
    Examples:
      bench table few-shot -o table.tex
      bench table few-shot --source both --suite zip
      bench table ranks --at 500
      bench table cost --price clip.toml
      bench table pairs --methods zip,blackvip
    """
    form = form or form_of(output)
    form_asked = Form(partial, spread, harmonic, digits, images)
    wish = TableWish(protocol, source, form_asked, at, targets, price, sums)
    show(asked.make_tables(kind, lambda: records(results), wish, wanted, warn), form, output)


@click.group()
def plot() -> None:
    """Draw pictures from records.

    \b
    Examples:
      bench plot curves --marks 500
      bench plot ablation zip.rank -o rank.pdf
    """


def picture(command: Command) -> Command:
    """The options that every plot has."""
    wide = click.option(
        "--width", type=options.Real(2, 20), default=7.0, show_default=True, help="Width in inches."
    )
    out = click.option(
        "-o",
        "--output",
        type=options.PLACE,
        multiple=True,
        help="File to write: .png, .svg or .pdf. Can be repeated. Default: the plot's name + .png and .svg.",
    )
    protocol = click.option(
        "--protocol",
        type=click.Choice(PROTOCOLS),
        default="few-shot",
        show_default=True,
        help="The protocol of the runs.",
    )
    return protocol(conditions(wide(out(command))))


HIGHLIGHT = click.option(
    "--highlight",
    type=NAMES,
    default=(),
    help="Methods to show in colour. If there are many, only these and the best ones are. Default: the best.",
)


def pictured(kind: str, results: Path, wanted: dict[str, Any], **looks: Any) -> Any:
    """The figure of a kind, from the records that are `wanted`; looks: the fields of PictureWish."""
    return asked.draw(kind, records(results), PictureWish(**looks), wanted, warn)


def save_all(figure: Any, output: tuple[Path, ...], default: str) -> None:
    """Write a figure to every file in `output`, or to `default`.png and `default`.svg."""
    from bench.report.drawing import save

    for path in output or (Path(f"{default}.png"), Path(f"{default}.svg")):
        save(figure, path)
        click.echo(f"wrote {path}", err=True)


@plot.command("curves")
@picture
@HIGHLIGHT
@click.option("--linear", is_flag=True, help="Draw a linear query axis. Default: a logarithmic one.")
@click.option("--marks", type=QUERIES, default=(), help="Numbers of queries to mark, e.g. 500,5000.")
def plot_curves(
    results: Path,
    output: tuple[Path, ...],
    width: float,
    linear: bool,
    marks: tuple[int, ...],
    highlight: tuple[str, ...],
    **wanted: Any,
) -> None:
    """Draw accuracy against queries.

    One panel shows the average, and one panel shows each data set. A band is ± one standard deviation over
    seeds.

    \b
    Example:
      bench plot curves --methods zip,blackvip --marks 500,5000
      bench plot curves --highlight mine --width 3.3
    """
    figure = pictured("curves", results, wanted, width=width, linear=linear, marks=marks, highlight=highlight)
    save_all(figure, output, "curves")


@click.command()
@FORMAT
@TO_FILE
def audit(form: str | None, output: Path | None) -> None:
    """Recompute every average that the papers print.

    This covers harmonic means too. The table lists the printed numbers that no rounding of their cells can
    give, and the way in which each average was computed.

    \b
    Example:
      bench audit -o audit.md
    """
    from bench.report.audit import audit as checks
    from bench.report.audit import table as findings

    show([findings(checks())], form or form_of(output), output)


@plot.command("efficiency")
@picture
@HIGHLIGHT
@click.option(
    "--targets",
    type=NUMBERS,
    default=(),
    help=TO_REACH.capitalize(),
)
def plot_efficiency(
    results: Path,
    output: tuple[Path, ...],
    width: float,
    targets: tuple[float, ...],
    highlight: tuple[str, ...],
    **wanted: Any,
) -> None:
    """Draw how many queries the methods need.

    Left: the share of targets (accuracies to reach) that are solved, against queries. Right: the expected
    queries to each target.

    \b
    Example:
      bench plot efficiency --targets 50,60
    """
    looks = {"width": width, "targets": targets, "highlight": highlight}
    save_all(pictured("efficiency", results, wanted, **looks), output, "efficiency")


@plot.command("ablation")
@click.argument("parameter", metavar="METHOD.PARAMETER")
@picture
def plot_ablation(
    parameter: str, results: Path, output: tuple[Path, ...], width: float, **wanted: Any
) -> None:
    """Draw accuracy against the values of one parameter.

    The records have to hold several values of the parameter: make them with `bench run --set`.

    \b
    Example:
      bench run --methods zip --set zip.rank=1,2,5
      bench plot ablation zip.rank
    """
    method, name = asked.parameter_of(parameter)
    figure = pictured("ablation", results, wanted, width=width, parameter=parameter)
    save_all(figure, output, f"ablation-{method}-{name}")


@plot.command("cd")
@picture
@AT
def plot_cd(results: Path, output: tuple[Path, ...], width: float, at: int | None, **wanted: Any) -> None:
    """Draw average accuracies and which of them are tied.

    The accuracies lie on a line, as in a critical-difference diagram. A bar joins methods whose differences
    are not established.

    \b
    Example:
      bench plot cd --at 500
    """
    save_all(pictured("cd", results, wanted, width=width, at=at), output, "cd")


@plot.command("params")
@picture
@HIGHLIGHT
@AT
def plot_params(
    results: Path,
    output: tuple[Path, ...],
    width: float,
    at: int | None,
    highlight: tuple[str, ...],
    **wanted: Any,
) -> None:
    """Draw accuracy against the number of tuned parameters.

    \b
    Example:
      bench plot params --at 500
    """
    looks = {"width": width, "at": at, "highlight": highlight}
    save_all(pictured("params", results, wanted, **looks), output, "params")


@plot.command("answers")
@picture
@HIGHLIGHT
@click.option("--partial", is_flag=True, help="Draw what there is although cells are missing.")
def plot_answers(
    results: Path,
    output: tuple[Path, ...],
    width: float,
    partial: bool,
    highlight: tuple[str, ...],
    **wanted: Any,
) -> None:
    """Draw accuracy against how much the black box answers.

    One line shows each method, from the coarsest answers to all logits. Make the records with
    `bench run --answers`.

    \b
    Example:
      bench run --methods zip --answers top:3,probs:2,logits
      bench plot answers
    """
    looks = {"width": width, "partial": partial, "highlight": highlight}
    save_all(pictured("answers", results, wanted, **looks), output, "answers")


@plot.command("cost")
@picture
@HIGHLIGHT
@cost("cost: ")
def plot_cost(
    results: Path,
    output: tuple[Path, ...],
    width: float,
    price: Path | None,
    sums: tuple[float, ...],
    highlight: tuple[str, ...],
    **wanted: Any,
) -> None:
    """Draw accuracy against dollars.

    The dollars are what tuning one prompt has cost, at the prices of a file. A band is ± one standard
    deviation over seeds; dotted lines show the sums.

    \b
    Example:
      bench plot cost --price clip.toml
    """
    looks = {"width": width, "price": price, "sums": sums, "highlight": highlight}
    save_all(pictured("cost", results, wanted, **looks), output, "cost")


@click.command()
@options.results()
@click.option(
    "-o",
    "--output",
    type=options.PLACE,
    default=Path("leaderboard.html"),
    show_default=True,
    help="File to write.",
)
@click.option("--variants", is_flag=True, help="Also rank the rows that were made with --set.")
@cost("dollars: ")
def leaderboard(
    results: Path, output: Path, variants: bool, price: Path | None, sums: tuple[float, ...]
) -> None:
    """Write one web page with all results.

    The page is one file that needs no other file and no network. It has tables, curves, ranks and the papers'
    numbers. With --price it also has accuracy against dollars and the table of `bench table cost`.

    \b
    Examples:
      bench leaderboard --results runs -o leaderboard.html
      bench leaderboard --price clip.toml
    """
    from bench.report.dollars import Asked
    from bench.report.leaderboard import page

    asked_for = None if price is None else Asked(price_given(price, sums), sums)
    write(page(records(results), output.parent, variants, asked_for), output)
