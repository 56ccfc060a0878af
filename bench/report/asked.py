"""What a reader asks for, by name: a table or a picture. The commands and `bench.table` call it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.cell import PROTOCOLS
from bench.errors import UserError, did_you_mean
from bench.plugins import METHODS
from bench.report.cost import SUMS
from bench.report.frame import Results, load, missing_cells, select
from bench.report.order import full_name
from bench.report.stale import changed
from bench.report.table import Table
from bench.report.tables import Form, tables
from bench.words import absent, counted

OTHERS = ("ranks", "efficiency", "answers", "cost", "pairs")  # tables that are not of one protocol alone
PICTURES = ("curves", "efficiency", "ablation", "cd", "params", "answers", "cost")

Warn = Callable[[str], object]


def records(folder: Path, warn: Warn) -> Results:
    """The folder's records. A warning names each damaged file, and each method whose records are stale."""
    found, files = load(folder, warn), METHODS.files()
    old = found.cells[changed(found.cells).map(lambda what: "method" in what).astype(bool)]
    for method, part in old.groupby("method"):
        count = part["path"].nunique()
        said = counted(count, f"record of {method} is", f"records of {method} are")
        warn(
            f"{said} stale: {files[str(method)].name} has changed since then. "
            f"`bench run --retry-stale` makes {'it' if count == 1 else 'them'} again."
        )
    return found


def in_full(found: Results, wanted: dict[str, Any]) -> dict[str, Any]:
    """The same wishes, with the whole names of data sets: 'colors' is 'mini-colors', as tables head it."""
    named = wanted.get("datasets")
    if not named:
        return wanted
    known = set(found.cells[["suite", "dataset"]].itertuples(index=False, name=None))
    return wanted | {"datasets": tuple(full_name(name, known) for name in named)}


@dataclass(frozen=True)
class TableWish:
    """What a table shows, beside the records that are chosen: the values of the options with these names."""

    protocol: str = "few-shot"  # of the tables in OTHERS
    source: str = "measured"
    form: Form = field(default_factory=Form)
    at: int | None = None
    targets: tuple[float, ...] = ()
    price: Path | None = None  # of the table of cost
    sums: tuple[float, ...] = SUMS  # dollars


def make_tables(
    kind: str, results: Callable[[], Results], wish: TableWish, wanted: dict[str, Any], warn: Warn
) -> list[Table]:
    """The tables of a kind, a protocol or one of OTHERS. results: reads the records, if they are needed.

    Raises UserError if there are no such records, or cells are missing.
    """
    from bench.report.published import SOURCES

    known_kind(kind, (*PROTOCOLS, *OTHERS))
    source, images = wish.source, wish.form.images
    if images is not None and (kind not in PROTOCOLS or source == "published"):
        raise UserError(
            "--image-queries needs measured runs and a table of a protocol: leave it out, or write e.g. "
            "`bench table few-shot --image-queries 100000`."
        )
    if kind not in PROTOCOLS:
        found = results()
        wanted = in_full(found, wanted) | {"protocol": wish.protocol}
        return [_other_table(kind, found, wish, wanted)]
    if source == "published":
        return tables(None, kind, source, wish.form, **wanted)
    found, suite = results(), wanted.get("suite")
    if source == "both" and suite in {one.suite for one in SOURCES} - set(found.cells["suite"]):
        warn(f"no records of suite {suite}: the table shows only the papers' rows")
        source = "published"
    return tables(found, kind, source, wish.form, **in_full(found, wanted))


def _other_table(kind: str, found: Results, wish: TableWish, wanted: dict[str, Any]) -> Table:
    """The table of one of OTHERS, from the records that are `wanted`."""
    from bench.report import summary
    from bench.report.answers import answers_table, by_answers
    from bench.report.pairs import pairs_table

    partial = wish.form.partial
    if kind == "answers":
        return answers_table(by_answers(found, partial, **wanted))
    chosen = select(found, **wanted)
    if kind == "pairs":
        return pairs_table(chosen, wanted.get("methods"), partial)
    if kind == "cost":
        from bench.report.cost import cost_table, tariff

        return cost_table(chosen, tariff(price_given(wish.price, wish.sums), chosen), wish.sums, partial)
    if kind == "ranks":
        return summary.ranks_table(chosen, wish.at, partial)
    return summary.efficiency_table(chosen, absolute=wish.targets, partial=partial)


@dataclass(frozen=True)
class PictureWish:
    """How a picture looks; which of the values are read depends on its kind."""

    width: float = 7.0  # inches
    linear: bool = False  # curves: a linear axis of queries
    marks: tuple[int, ...] = ()  # curves: queries
    targets: tuple[float, ...] = ()  # efficiency: accuracies to reach, in %
    at: int | None = None  # cd, params: queries
    parameter: str = ""  # ablation: METHOD.PARAMETER
    partial: bool = False  # answers: draw what there is
    price: Path | None = None  # cost: a file of prices
    sums: tuple[float, ...] = SUMS  # cost: dollars
    highlight: tuple[str, ...] = ()  # methods in colour besides the best ones; not for ablation and cd


def draw(kind: str, found: Results, wish: PictureWish, wanted: dict[str, Any], warn: Warn) -> Any:
    """The matplotlib figure of a kind, one of PICTURES. Raises UserError if there are no such records."""
    from bench.report import plots
    from bench.report.answers import by_answers
    from bench.report.diagram import cd

    known_kind(kind, PICTURES)
    wanted = in_full(found, wanted)
    if kind == "answers":
        return plots.answers(by_answers(found, wish.partial, **wanted), wish.width, wish.highlight)
    if kind == "ablation":
        method, name = parameter_of(wish.parameter)
        chosen = select(found, **wanted | {"methods": (method,)})
        return plots.ablation(chosen, method, name, wish.width)
    chosen = select(found, **wanted)
    if kind == "cost":
        from bench.report.cost import tariff

        prices = tariff(price_given(wish.price, wish.sums), chosen)
        return plots.cost(chosen, prices, wish.sums, wish.width, wish.highlight)
    if kind == "params":
        return plots.params(chosen, wish.at, wish.width, wish.highlight)
    if missing := missing_cells(chosen):
        listed = "; ".join(missing[:5])
        warn(f"{absent(len(missing))}, so the methods' averages may not compare: {listed}")
    if kind == "curves":
        return plots.curves(chosen, not wish.linear, wish.width, wish.marks, wish.highlight)
    if kind == "efficiency":
        return plots.efficiency_plot(chosen, wish.width, wish.targets, wish.highlight)
    return cd(chosen, wish.at, wish.width)


def parameter_of(text: str) -> tuple[str, str]:
    """'zip.rank' -> ('zip', 'rank'). Raises UserError."""
    method, dot, name = text.partition(".")
    if not dot:
        raise UserError(f"{text!r} does not name a parameter: write METHOD.PARAMETER, e.g. zip.rank")
    return method, name


def price_given(price: Path | None, sums: tuple[float, ...]) -> Path:
    """The file of --price. Raises UserError if there is none, or without sums of dollars above 0."""
    if price is None:
        raise UserError('dollars need --price FILE: [price] with date = "2026-01-31" and image = DOLLARS.')
    if min(sums, default=0) <= 0:
        given = ",".join(f"{one:g}" for one in sums)
        raise UserError(f"--sums {given or 'is empty'}: give dollars, more than 0.")
    return price


def known_kind(kind: str, kinds: Sequence[str]) -> None:
    """Raise UserError for a kind that does not exist."""
    if kind not in kinds:
        raise UserError(f"no table or picture {kind!r}. {did_you_mean(kind, kinds)}")
