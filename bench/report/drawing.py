"""How every picture is drawn: style, panels, legend, files. matplotlib is imported only when one is drawn."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.errors import UserError
from bench.report.style import Look, focused, looks, named, rank_of
from bench.words import in_dollars

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.2,
    "text.parse_math": False,  # a dollar sign in a name is one
    "svg.fonttype": "none",  # keep text as text
    "pdf.fonttype": 42,
    "svg.hashsalt": "bench",  # fixed, so that the same records give the same bytes
    "savefig.dpi": 200,
}
QUERIES = "queries"
STEPS = ((1,), (1, 2, 5), tuple(range(1, 10)))  # of a logarithmic axis's labels, in each power of ten
NARROW = 5.0  # inches; a narrower picture has one panel, or one column of names, in a row


@contextmanager
def drawing() -> Iterator[None]:
    """Use the style of RC inside the block; matplotlib's own settings are unchanged after it."""
    import matplotlib

    with matplotlib.rc_context(RC):
        yield


def save(figure: "Figure", path: Path) -> None:
    """Write .png, .svg or .pdf. Raises UserError for another ending, or if the file cannot be written."""
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise UserError(f"cannot draw to {path}: end its name in .png, .svg or .pdf")
    dates = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with drawing():
            figure.savefig(path, metadata=dates)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another place with -o") from error


def grid(
    panels: int, width: float, height: float, columns: int, **kwargs: Any
) -> tuple["Figure", list["Axes"]]:
    """A figure with `panels` panels; `width` is that of the figure and `height` that of a row, in inches."""
    from matplotlib.figure import Figure

    columns = min(columns, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width, height * rows + 0.35), layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1, **kwargs) for i in range(panels)]
    return figure, axes


def rows_of(
    frame: pd.DataFrame, average: Mapping[str, float] | None = None, asked: Iterable[str] = ()
) -> dict[str, Look]:
    """Row -> its look, in the order of the tables; reference rows come last. Names are those of the records.

    average: row -> average accuracy. With it, only the methods that are `asked` for and the best rows are in
    colour if there are many.
    """
    first = frame.drop_duplicates("row").set_index("row")
    keys = {str(r): (str(first.loc[r, "method"]), str(first.loc[r, "variant"])) for r in first.index}
    found = looks(keys.values())
    order = sorted(keys, key=lambda r: (bool(first.loc[r, "reference"]), rank_of(*keys[r])))
    made = {r: named(found[keys[r]], str(first.loc[r, "label"])) for r in order}
    if average is None:
        return made
    asked = set(asked)
    return focused(made, average, [r for r in order if asked & {r, keys[r][0]}])


def legend(figure: "Figure", handles: Mapping[str, Any]) -> None:
    """Draw one legend for the whole figure, above its panels, and make room for it.

    handles: label -> what is drawn for it.
    """
    size = RC["legend.fontsize"]
    widest = max(text_width(label) for label in handles) + 5 * size / 72  # the line, and the gap to the next
    columns = min(len(handles), max(1, int(figure.get_figwidth() / widest)))
    figure.set_figheight(figure.get_figheight() + -(-len(handles) // columns) * 1.55 * size / 72)
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside upper center",
        ncols=columns,
        frameon=False,
        handlelength=2.2,
        columnspacing=1.2,
    )


def text_width(text: str) -> float:
    """The width of a line of text, in inches."""
    from matplotlib.textpath import TextPath

    with drawing():
        return float(TextPath((0, 0), text, size=RC["font.size"]).get_extents().width) / 72 if text else 0.0


def short(number: float, _: object = None) -> str:
    """A number as the axes show it: 500, 1k, 37.6k."""
    return f"{number / 1000:g}k" if number >= 1000 else f"{number:g}"


def log_ticks(axis: "Axis", text: Callable[[float, object], str], dense: bool = False) -> None:
    """Label a logarithmic axis, whose limits are final, at 1, 10, 100.

    dense: at 1, 2, 5, 10 as well. The labels are denser, too, where there would be fewer than two.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    low, high = sorted(axis.get_view_interval())
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in STEPS[1:] if dense else STEPS:
        if len(ticks) < 2:
            ticks = [step * 10.0**power for power in powers for step in steps]
            ticks = [tick for tick in ticks if low <= tick <= high]
    axis.set_major_locator(FixedLocator(ticks) if len(ticks) > 1 else MaxNLocator(4))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(text))


def count_axis(axis: "Axes", width: float) -> None:
    """Make the x axis a logarithmic one of parameter counts, labelled 500, 1k, 2k, 5k, 10k.

    width: in inches; an axis without room for these labels is labelled 100, 1k, 10k.
    """
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    log_ticks(axis.xaxis, short, dense=width > math.log10(high / low) * 3 * 0.35)


def query_axis(axis: "Axes", log: bool, start: int, end: int) -> None:
    """Make the x axis one of queries, from `start` (log) or 0 to `end`, labelled 500, 1k, 5k."""
    from matplotlib.ticker import FuncFormatter

    if log:
        axis.set_xscale("log")
        # earlier than that, a method has made almost no step
        axis.set_xlim(max(start, end / 1000), end * 1.06)
        log_ticks(axis.xaxis, short)
    else:
        axis.set_xlim(right=end * 1.01)
        axis.xaxis.set_major_formatter(FuncFormatter(short))


def dollar_axis(axis: "Axes", start: float, end: float) -> None:
    """Make the x axis a logarithmic one of dollars, labelled $0.1, $1, $10."""
    axis.set_xscale("log")
    axis.set_xlim(start / 1.2, end * 1.2)
    log_ticks(axis.xaxis, lambda amount, _: in_dollars(amount))
