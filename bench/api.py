"""The benchmark from Python: `bench.run`, `bench.load`, `bench.table`, `bench.plot` and `bench.compare`.

They call what the commands of the same names call, and take the same names as the commands' options. A list
of names may be a sequence or a text ("zip,blackvip"), a list of numbers also a text such as "1-3". What a
command refuses raises bench.errors.UserError with the same line. `load` and most pictures import no torch.
"""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from bench.commands.options import NAMES, WHOLE_NUMBERS
from bench.commands.report import form_of
from bench.errors import UserError, did_you_mean
from bench.paths import RESULTS
from bench.report import asked
from bench.report.asked import PictureWish, TableWish
from bench.report.cost import SUMS
from bench.report.drawing import save
from bench.report.frame import LISTS, Results, results_of
from bench.report.render import footnote, footnote_file, html, render
from bench.report.table import Table
from bench.report.tables import Form

if TYPE_CHECKING:
    import click
    from matplotlib.figure import Figure

Names = str | Sequence[str]
Numbers = str | int | Sequence[int]
Records = str | Path | Results  # a folder of records, or what `load` and `run` return

__all__ = ["Picture", "Results", "Tables", "compare", "load", "plot", "run", "table"]


@dataclass(frozen=True)
class Tables:
    """What `table` and `compare` return: text if it is printed, and a table of HTML in a notebook."""

    tables: tuple[Table, ...]

    def text(self, form: str = "terminal") -> str:
        """The tables as text: terminal, markdown, csv, latex or html."""
        return "\n".join(render(one, form) for one in self.tables)

    def save(self, path: str | Path) -> None:
        """Write them to a file (.md, .csv, .tex, .html, .txt). Raises UserError for another ending.

        Beside a table.tex, table-footnote.tex gets what no caption needs: the versions.
        """
        path = Path(path)
        path.write_text(self.text(form_of(path)), encoding="utf-8")
        if form_of(path) == "latex" and (said := footnote(self.tables)):
            footnote_file(path).write_text(said, encoding="utf-8")

    @property
    def frame(self) -> pd.DataFrame:
        """The first table's numbers, as they are printed, in a frame (see `bench table --format csv`)."""
        return pd.read_csv(io.StringIO(render(self.tables[0], "csv")))

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return "".join(map(html, self.tables))


@dataclass(frozen=True)
class Picture:
    """What `plot` returns: a picture in a notebook. figure: matplotlib's, to be changed as you like."""

    figure: "Figure"

    def save(self, path: str | Path) -> None:
        """Write it to a .png, .svg or .pdf file. Raises UserError for another ending."""
        save(self.figure, Path(path))

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.figure.savefig(data, format="png", dpi=110)
        return data.getvalue()


def run(
    methods: Names | None = None,
    *,
    suite: str | None = None,
    datasets: Names | None = None,
    seeds: Numbers | None = None,
    budget: Numbers | None = None,
    shots: Numbers | None = None,
    protocol: str | None = None,
    set: Names | None = None,
    score: Literal["test", "val"] | None = None,
    answers: Names | None = None,
    backbone: str | None = None,
    results: str | Path = RESULTS,
    root: str | Path | None = None,
    workers: int | None = None,
    local: bool = False,
    retry_stale: bool = False,
    dry_run: bool = False,
    **flags: Any,
) -> Results:
    """Run every cell that has no record yet, as `bench run` does; return the records of all cells asked for.

    The names are those of the flags of `bench run`, and so are the values for None; every other flag can be
    given as well (gpus_per_cell=0.25). The plan, the progress and the table are shown as by the command. A
    record is written when its cell ends, so the same call continues what was interrupted, and returns at once
    what is done. Failed cells are in `.failed` of what is returned.

    Raises UserError for wrong input, before any query is spent, and KeyboardInterrupt if a signal ended the
    run; what was computed is kept.

        found = bench.run("zip,spsa", datasets="digits", budget=500, seeds="1-3", local=True)
        found.cells.groupby("method")["accuracy"].mean()
    """
    given = {name: value for name, value in locals().items() if name != "flags"}
    from bench.commands.run import run as command
    from bench.commands.run import run_cells

    ran = run_cells(**_values(command, given | flags))
    if ran.code >= 128:
        raise KeyboardInterrupt
    cells = [one.cell for one in ran.plan.cells if ran.store.path(one.cell).exists()]
    return results_of((ran.store.path(cell), ran.store.read(cell)) for cell in cells)


def _values(command: "click.Command", given: dict[str, Any]) -> dict[str, Any]:
    """The value of every parameter of a command: the given one, as its option reads it, else its default."""
    context = command.make_context("run", [])
    options = {one.opts[0].removeprefix("--").replace("-", "_"): one for one in command.params}
    values = dict(context.params)
    for name, value in given.items():
        if name not in options:
            raise UserError(f"bench.run has no {name!r}. {did_you_mean(name, options)}")
        if value is not None:
            option = options[name]
            values[str(option.name)] = option.type_cast_value(context, _readable(option, value))
    return values


def _readable(option: "click.Parameter", value: Any) -> Any:
    """A value from Python in the form in which an option takes it: a list of names as one text."""
    if getattr(option, "multiple", False):
        return [value] if isinstance(value, str) else list(value)
    return value if isinstance(value, bool) else _listed(value)


def load(results: str | Path = RESULTS) -> Results:
    """All records under a folder as tidy frames. A warning names each damaged file and each stale method.

    `.cells` has one row for each finished cell and test set: the cell's fields (suite, protocol, method,
    dataset, seed, budget, ...), test, accuracy (%), queries, image_queries, params and more. `.trace` has one
    row for each checkpoint and test set: `at` is the checkpoint in queries, `spent` what was paid until then.
    `.failed` has one row for each failed cell. Raises UserError if there is no such folder.

        records = bench.load("results")
        final = records.cells.query("suite == 'mini' and protocol == 'few-shot'")
        final.pivot_table("accuracy", "method", "dataset")
    """
    return asked.records(Path(results), warnings.warn)


def table(
    kind: str = "few-shot",
    results: Records = RESULTS,
    *,
    protocol: str = "few-shot",
    source: Literal["measured", "published", "both"] = "measured",
    partial: bool = False,
    spread: Literal["sd", "ci", "none"] = "sd",
    harmonic: Literal["mean", "of-averages"] = "mean",
    at: int | None = None,
    image_queries: int | None = None,
    targets: Sequence[float] = (),
    digits: int = 1,
    price: str | Path | None = None,
    sums: Sequence[float] = SUMS,
    **conditions: Any,
) -> Tables:
    """A table as `bench table` prints it.

    kind: a protocol, or ranks, efficiency, answers, cost, pairs.
    conditions: suite, backbone, shots, budget, batch_size, score, answers, pixels_8bit, endpoint, methods,
    datasets, seeds: they choose the records. Raises UserError if none is left or cells are missing.

        bench.table("few-shot", "results", suite="mini", methods="zip,craft")
        bench.table("ranks", "results", suite="mini", at=500).save("ranks.tex")
    """
    form = Form(partial, spread, harmonic, digits, image_queries)
    file = None if price is None else Path(price)
    wish = TableWish(protocol, source, form, at, tuple(targets), file, tuple(sums))
    made = asked.make_tables(kind, lambda: _records(results), wish, _wanted(conditions), warnings.warn)
    return Tables(tuple(made))


def plot(
    kind: str = "curves",
    results: Records = RESULTS,
    *,
    protocol: str = "few-shot",
    width: float = PictureWish.width,
    linear: bool = False,
    marks: Sequence[int] = (),
    targets: Sequence[float] = (),
    at: int | None = None,
    parameter: str = "",
    partial: bool = False,
    price: str | Path | None = None,
    sums: Sequence[float] = SUMS,
    highlight: Sequence[str] = (),
    **conditions: Any,
) -> Picture:
    """A picture as `bench plot` draws it.

    kind: curves, efficiency, ablation, cd, params, answers, cost.
    width: in inches. parameter: of an ablation, e.g. "zip.rank". The other names are those of the options;
    conditions: as of `table`. Raises UserError if there are no such records.

        bench.plot("curves", "results", suite="mini", methods="zip,blackvip", marks=[500]).save("curves.pdf")
    """
    file = None if price is None else Path(price)
    looks = (width, linear, tuple(marks), tuple(targets), at, parameter, partial, file, tuple(sums))
    wish = PictureWish(*looks, tuple(highlight))
    wanted = _wanted(conditions) | {"protocol": protocol}
    return Picture(asked.draw(kind, _records(results), wish, wanted, warnings.warn))


def compare(
    first: str,
    second: str,
    results: Records = RESULTS,
    *,
    protocol: str = "few-shot",
    partial: bool = False,
    **conditions: Any,
) -> Tables:
    """Two methods compared image by image, as `bench table pairs` does it: which does only one get right?

    p is McNemar's exact test, for each test set and seed. conditions: as of `table`. Raises UserError if the
    records hold no outcomes of single images.

        bench.compare("zip", "spsa", "runs", datasets="digits")
    """
    named = conditions | {"methods": (first, second)}
    return table("pairs", results, protocol=protocol, partial=partial, **named)


def _records(results: Records) -> Results:
    return results if isinstance(results, Results) else load(results)


CONDITIONS = (
    "suite", "backbone", "shots", "budget", "batch_size", "score", "answers", "pixels_8bit", "endpoint",
    *LISTS,
)  # fmt: skip


def _wanted(conditions: dict[str, Any]) -> dict[str, Any]:
    """The conditions as the commands' options give them, lists as tuples. Raises UserError for others."""
    wanted: dict[str, Any] = {name: None for name in CONDITIONS} | {"score": "test"}
    for name, value in conditions.items():
        if name not in CONDITIONS:
            raise UserError(f"no condition {name!r}. {did_you_mean(name, CONDITIONS)}")
        kind = WHOLE_NUMBERS if name == "seeds" else NAMES if name in LISTS else None
        if kind is not None and value is not None:
            value = kind.convert(_listed(value), None, None)
        wanted[name] = value
    return wanted


def _listed(value: Any) -> str:
    """A list, or one value, as an option takes it: 'a,b'."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(str, value))
    return str(value)
