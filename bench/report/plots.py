"""The pictures. Each function returns a matplotlib figure; matplotlib is imported only when one is drawn."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.errors import UserError
from bench.report import efficiency
from bench.report.frame import Results, points
from bench.report.order import arrange, shown
from bench.report.style import Look, look, rank_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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
    "svg.fonttype": "none",  # text stays text
    "pdf.fonttype": 42,
    "svg.hashsalt": "bench",  # the same records give the same bytes
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.03,
    "savefig.dpi": 200,
}
QUERIES = "queries"


@contextmanager
def drawing() -> Iterator[None]:
    """matplotlib with our settings, and nobody else's changed."""
    import matplotlib

    with matplotlib.rc_context(RC):
        yield


def save(figure: "Figure", path: Path) -> None:
    """Write .png, .svg or .pdf. Raises UserError for another ending or a place that cannot be written."""
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise UserError(f"cannot draw into {path}: end its name in .png, .svg or .pdf")
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
    """A figure of `panels` small multiples, `width` inches in all and `height` a row."""
    from matplotlib.figure import Figure

    columns = min(columns, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width, height * rows + 0.35), layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1, **kwargs) for i in range(panels)]
    return figure, axes


def rows_of(frame: pd.DataFrame) -> dict[str, Look]:
    """Row -> look, in table order, white box last."""
    first = frame.drop_duplicates("row").set_index("row")
    order = sorted(
        first.index,
        key=lambda r: (
            bool(first.loc[r, "white_box"]),
            rank_of(first.loc[r, "method"], first.loc[r, "variant"]),
        ),
    )
    return {r: look(str(first.loc[r, "method"]), str(first.loc[r, "variant"])) for r in order}


def legend(figure: "Figure", handles: Sequence[Any], labels: Sequence[str]) -> None:
    """One legend for the whole figure, below it."""
    columns = min(len(labels), max(2, int(figure.get_figwidth() / 1.25)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, handlelength=2.2)


def curves(results: Results, log: bool = True, width: float = 7.0, marks: Sequence[int] = ()) -> "Figure":
    """Accuracy against queries: one panel a data set and their average.

    Line: mean over seeds; band: ± one standard deviation (n - 1); dashed: zero-shot; dotted: budget marks.
    """
    frame = points(results)
    suite, protocol = results.cells["suite"].iloc[0], results.cells["protocol"].iloc[0]
    datasets = arrange(suite, frame["dataset"])
    looks = rows_of(frame)
    start = efficiency.zero_shot(frame)
    with drawing():
        panels: list[str | None] = [None, *datasets] if len(datasets) > 1 else [*datasets]
        figure, axes = grid(len(panels), width, 1.45, max(1, int(width / 1.7)))
        handles: dict[str, Any] = {}
        for axis, dataset in zip(axes, panels, strict=True):
            part = _panel(frame, dataset)
            zero = start.get(dataset) if dataset else _mean_start(start, datasets)
            if zero is not None:
                handles["zero-shot"] = axis.axhline(zero, color="#777777", lw=0.9, ls=(0, (5, 2)))
            for row, style in looks.items():
                if row != efficiency.ZERO_SHOT:
                    handles[style.title] = _curve(axis, part[part["row"] == row], style, log)
            for mark in marks:
                axis.axvline(mark, color="#999999", lw=0.7, ls=(0, (1, 1.5)))
            axis.set_title(shown(suite, dataset) if dataset else "average")
            axis.title.set_fontweight("normal" if dataset else "bold")
            _query_axis(axis, log, int(frame["at"].max()))
        size = RC["axes.labelsize"]
        figure.supylabel("harmonic mean (%)" if protocol == "base-to-new" else "accuracy (%)", fontsize=size)
        figure.supxlabel(QUERIES, fontsize=size)
        drawn = {label: handle for label, handle in handles.items() if handle is not None}
        legend(figure, list(drawn.values()), list(drawn))
    return figure


def _panel(frame: pd.DataFrame, dataset: str | None) -> pd.DataFrame:
    """row, at, mean, std over seeds: of one data set, or of the average over all (seeds that have all)."""
    if dataset is not None:
        frame = frame[frame["dataset"] == dataset]
    else:
        whole = frame["dataset"].nunique()
        by_seed = frame.groupby(["row", "seed", "at"])["accuracy"].agg(["mean", "count"]).reset_index()
        frame = by_seed[by_seed["count"] == whole].rename(columns={"mean": "accuracy"})
    return frame.groupby(["row", "at"])["accuracy"].agg(["mean", "std"]).reset_index()


def _curve(axis: "Axes", part: pd.DataFrame, style: Look, log: bool) -> Any:
    part = part[part["at"] > 0] if log else part
    if part.empty:
        return None
    x, y, band = part["at"].to_numpy(), part["mean"].to_numpy(), part["std"].fillna(0.0).to_numpy()
    if len(x) == 1:
        return axis.plot(x, y, ls="", color=style.colour, marker=style.marker)[0]
    axis.fill_between(x, y - band, y + band, color=style.colour, alpha=0.18, lw=0)
    return axis.plot(x, y, color=style.colour, ls=(0, style.dash) if style.dash else "-")[0]


def _mean_start(start: dict[str, float], datasets: list[str]) -> float | None:
    return float(np.mean([start[d] for d in datasets])) if all(d in start for d in datasets) else None


def _query_axis(axis: "Axes", log: bool, end: int) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    if log:
        axis.set_xscale("log")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlim(left=max(1, end / 1000))  # before that hardly a step has been made
    axis.xaxis.set_major_formatter(FuncFormatter(lambda q, _: f"{q / 1000:g}k" if q >= 1000 else f"{q:g}"))
    axis.set_xlim(right=end)
