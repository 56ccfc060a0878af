"""The plots: curves, efficiency, ablation, parameters, answers, cost. Each returns a matplotlib figure."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.cell import REFERENCE
from bench.errors import UserError, did_you_mean
from bench.report import efficiency, stats
from bench.report.answers import ByAnswers
from bench.report.cost import SUMS, Tariff, curve, priced
from bench.report.drawing import (
    NARROW,
    QUERIES,
    RC,
    count_axis,
    dollar_axis,
    drawing,
    grid,
    legend,
    log_ticks,
    query_axis,
    rows_of,
    short,
)
from bench.report.frame import Results, points, refuse_missing
from bench.report.order import arrange, shown
from bench.report.style import OTHERS, Look, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


DASHED = (0, (5, 2))
# Averages over different data sets do not compare, so a plot of averages refuses missing cells.
SAME = "choose what all rows have with --methods, --datasets and --seeds"


def curves(
    results: Results,
    log: bool = True,
    width: float = 7.0,
    marks: Sequence[int] = (),
    highlight: Sequence[str] = (),
) -> "Figure":
    """Accuracy against queries: one panel for the average and one panel per data set.

    Line: mean over seeds. Band: ± one standard deviation (n - 1). Dashed line: zero-shot. Dotted lines:
    `marks`. log: a logarithmic query axis. width: in inches. marks: numbers of queries. highlight: methods
    that are in colour besides the best ones (see style.focused).
    """
    frame = points(results)
    suite, protocol = results.cells["suite"].iloc[0], results.cells["protocol"].iloc[0]
    datasets = arrange(suite, frame["dataset"])
    rows = rows_of(frame, efficiency.finals(frame), highlight)
    start = efficiency.zero_shot(frame)
    asked = frame.loc[(frame["at"] > 0) & (frame["row"] != REFERENCE), "at"]
    first = int(asked.min()) if len(asked) else 1
    with drawing():
        panels: list[str | None] = [None, *datasets] if len(datasets) > 1 else [*datasets]
        figure, axes = grid(len(panels), width, 1.45, max(1, int(width / 1.6)))
        handles: dict[str, Any] = {}
        for axis, dataset in zip(axes, panels, strict=True):
            part = _panel(frame, dataset)
            zero = start.get(dataset) if dataset else _mean_start(start, datasets)
            if zero is not None:
                handles["zero-shot"] = axis.axhline(zero, color="#777777", lw=0.9, ls=DASHED)
            for row, style in rows.items():
                if row != REFERENCE:
                    handles[style.title] = _curve(axis, part[part["row"] == row], style, log)
            for mark in marks:
                axis.axvline(mark, color="#999999", lw=0.7, ls=(0, (1, 1.5)))
            axis.set_title(shown(suite, dataset) if dataset else "average")
            axis.title.set_fontweight("normal" if dataset else "bold")
            query_axis(axis, log, first, int(frame["at"].max()))
        size = RC["axes.labelsize"]
        figure.supylabel("harmonic mean (%)" if protocol == "base-to-new" else "accuracy (%)", fontsize=size)
        figure.supxlabel(QUERIES, fontsize=size)
        drawn = {label: handle for label, handle in handles.items() if handle is not None}
        legend(figure, _others_last(drawn))
    return figure


def _others_last(handles: Mapping[str, Any]) -> dict[str, Any]:
    """The same handles, those of the grey rows at the end."""
    return dict(sorted(handles.items(), key=lambda item: item[0] == OTHERS.title))


def _panel(frame: pd.DataFrame, dataset: str | None) -> pd.DataFrame:
    """Columns row, at, mean and std over seeds, of one data set; None: of the average over all data sets.

    The average is over the seeds that have every data set.
    """
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
    if style is OTHERS:
        return axis.plot(x, y, color=style.colour, lw=0.7)[0]
    axis.fill_between(x, y - band, y + band, color=style.colour, alpha=0.18, lw=0)
    return axis.plot(x, y, color=style.colour, ls=style.line, marker=style.marker, markevery=[-1])[0]


def _mean_start(start: dict[str, float], datasets: list[str]) -> float | None:
    return float(np.mean([start[d] for d in datasets])) if all(d in start for d in datasets) else None


def efficiency_plot(
    results: Results, width: float = 7.0, absolute: Sequence[float] = (), highlight: Sequence[str] = ()
) -> "Figure":
    """Left: the share of (data set, target, seed) that is solved, against queries. Right: expected queries.

    Expected queries are the median over data sets. A target has no point if it is never reached on half of
    them. width: in inches. absolute: targets in %, instead of the default ones (see efficiency.goals).
    highlight: as in `curves`. Raises UserError if there are no targets.
    """
    frame = points(results)
    goals = efficiency.goals(frame, absolute, efficiency.images_behind(results))
    if not goals:
        raise UserError("no method is clearly better than zero-shot, so there are no targets: give --targets")
    reached = efficiency.hits(frame, goals)
    expected = efficiency.typical(efficiency.expected_queries(reached))
    names = list(dict.fromkeys(name for _, name in goals))
    end = efficiency.fair_budget(frame)
    with drawing():
        figure, (left, right) = grid(2, width, 2.2, 2 if width >= NARROW else 1)
        handles: dict[str, Any] = {}
        for row, style in rows_of(frame, efficiency.finals(frame, end), highlight).items():
            if row == REFERENCE:
                continue
            queries, share = efficiency.ecdf(reached, row)
            x, y = np.r_[1, np.maximum(queries, 1), end], np.r_[0, share, share[-1:] if len(share) else 0]
            drawn = {"color": style.colour, "ls": style.line, "lw": 0.7 if style is OTHERS else 1.3}
            left.step(x, 100 * y, where="post", **drawn)
            line = expected.loc[row, names].replace(np.inf, np.nan).astype(float)
            (handles[style.title],) = right.plot(range(len(names)), line, marker=style.marker, **drawn)
        query_axis(left, True, 1, end)
        left.set(ylim=(0, 100), xlabel=QUERIES, ylabel="targets solved (%)")
        right.set_yscale("log")
        right.autoscale_view()
        log_ticks(right.yaxis, short)
        right.set_xticks(range(len(names)), names)
        way = "share of the way\nto the best known accuracy"
        right.set(xlabel="target" if absolute else way if width < NARROW else way.replace("\n", " "))
        right.set(ylabel="expected queries (median)")
        legend(figure, _others_last(handles))
    return figure


def ablation(results: Results, method: str, parameter: str, width: float = 3.4) -> "Figure":
    """Final accuracy, averaged over data sets, against one parameter; one line per choice of the others.

    Bars: ± one standard deviation over seeds (n - 1). width: in inches.
    Raises UserError if cells are missing, or if the records hold fewer than two values of the parameter.
    """
    cells = results.cells[results.cells["method"] == method]
    if cells.empty:
        raise UserError(f"no records of {method!r}. {did_you_mean(method, set(results.cells['method']))}")
    refuse_missing(results, SAME)
    known = sorted({name for params in cells["params"] for name in params})
    if parameter not in known:
        raise UserError(f"{method} has no parameter {parameter!r}. {did_you_mean(parameter, known)}")
    others = cells["overrides"].map(lambda given: _without(given, parameter))
    final = efficiency.at_budget(points(results), int(cells["budget"].iloc[0]))
    values = cells.drop_duplicates("row").set_index("row")["params"].map(lambda p: p[parameter])
    lines = cells.assign(others=others).drop_duplicates("row").set_index("row")["others"]
    if values.map(str).nunique() < 2:
        only = f"the records hold one value of {parameter} ({values.iloc[0]})"
        raise UserError(f"{only}: run more values with `bench run --set {method}.{parameter}=...`")
    by_seed = final[final["row"].isin(values.index)].groupby(["row", "seed"])["accuracy"].mean()
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    values = values if numeric else values.map(str)
    order = sorted(set(values))
    with drawing():
        figure, (axis,) = grid(1, width, 2.1, 1)
        styles, handles = looks((method, text) for text in lines), {}
        label = cells["label"].iloc[0].removesuffix(f" ({cells['variant'].iloc[0]})")
        for others_text in dict.fromkeys(lines):
            rows = sorted(lines.index[lines == others_text], key=lambda r: values[r])
            x = [order.index(values[r]) for r in rows]
            mean = [by_seed[r].mean() for r in rows]
            bars = [stats.sd(by_seed[r]) or 0.0 for r in rows]
            style = styles[method, others_text]
            look_of = {"color": style.colour, "marker": style.marker, "ls": style.line}
            title = label + (f" ({others_text})" if others_text else "")
            handles[title] = axis.errorbar(x, mean, bars, capsize=2, **look_of)
        axis.set_xticks(range(len(order)), [f"{v:g}" if numeric else str(v) for v in order])
        axis.set(xlabel=parameter, ylabel="average accuracy (%)")
        axis.margins(x=0.06)
        legend(figure, handles)
    return figure


def _without(overrides: Mapping[str, Any], parameter: str) -> str:
    return ", ".join(f"{k}={v}" for k, v in sorted(overrides.items()) if k != parameter)


def params(
    results: Results, budget: int | None = None, width: float = 5.0, highlight: Sequence[str] = ()
) -> "Figure":
    """Average accuracy after `budget` queries (None: at the end) against the number of tuned parameters.

    Bars: ± one standard deviation over seeds (n - 1). width: in inches. highlight: as in `curves`. Raises
    UserError if cells are missing.
    """
    refuse_missing(results, SAME)
    frame = points(results)
    end = budget or int(frame["at"].max())
    final = efficiency.at_budget(frame, end)
    by_seed = final.groupby(["row", "seed"])["accuracy"].mean()
    sizes = final.groupby("row")["n_params"].mean()
    with drawing():
        figure, (axis,) = grid(1, width, 2.4, 1)
        handles: dict[str, Any] = {}
        for row, style in rows_of(frame, efficiency.finals(frame, end), highlight).items():
            mean, colour = by_seed[row].mean(), style.colour
            if sizes[row] == 0:
                handles[style.title] = axis.axhline(mean, color=colour, lw=0.9, ls=DASHED)
                continue
            bar = stats.sd(by_seed[row]) or 0.0
            shape = style.marker or "."
            point: dict[str, Any] = {"color": colour, "marker": shape, "capsize": 2, "ls": "none"}
            handles[style.title] = axis.errorbar(sizes[row], mean, bar, **point)
        axis.margins(x=0.12, y=0.12)
        legend(figure, _others_last(handles))
        count_axis(axis, width)
        axis.set(xlabel="tuned parameters", ylabel="average accuracy (%)")
    return figure


def answers(found: ByAnswers, width: float = 5.0, highlight: Sequence[str] = ()) -> "Figure":
    """Average accuracy against how much the black box answers, from the coarsest answers to the finest.

    Bars: ± one standard deviation over seeds (n - 1). Dashed line: the hand template. width: in inches.
    highlight: as in `curves`. Raises UserError if there is only one level.
    """
    if len(found.levels) < 2:
        raise UserError(
            f"these records hold one level of answers, {found.levels[0]}, and one level is no curve: make "
            "others with `bench run --answers label,top:5,probs`, or see `bench table answers`."
        )
    finest = {row: one.average for scores in found.scores.values() for row, one in scores.items()}
    finest.pop(REFERENCE, None)
    with drawing():
        figure, (axis,) = grid(1, width, 2.4, 1)
        handles: dict[str, Any] = {}
        for row, style in rows_of(found.results.cells, finest, highlight).items():
            have = {x: found.scores[at][row] for x, at in enumerate(found.levels) if row in found.scores[at]}
            mean = [one.average for one in have.values()]
            if row == REFERENCE and len(have) == 1:
                handles[style.title] = axis.axhline(mean[0], color=style.colour, lw=0.9, ls=DASHED)
            elif row == REFERENCE and have:
                (line,) = axis.plot(list(have), mean, color=style.colour, lw=0.9, ls=DASHED)
                handles[style.title] = line
            elif have:
                bars = [stats.sd(one.average_by_seed) or 0.0 for one in have.values()]
                drawn: dict[str, Any] = {"color": style.colour, "marker": style.marker, "ls": style.line}
                handles[style.title] = axis.errorbar(list(have), mean, bars, capsize=2, **drawn)
        axis.set_xticks(range(len(found.levels)), found.levels)
        axis.margins(x=0.06)
        axis.set(xlabel="what the black box answers with", ylabel="average accuracy (%)")
        legend(figure, _others_last(handles))
    return figure


def cost(
    results: Results,
    tariff: Tariff,
    sums: Sequence[float] = SUMS,
    width: float = 5.0,
    highlight: Sequence[str] = (),
) -> "Figure":
    """Average accuracy against the dollars that tuning one prompt has cost.

    Line: mean over seeds; it steps up at a checkpoint. Band: ± one standard deviation (n - 1). Dashed lines:
    rows that pay nothing, such as the hand template. Dotted lines: `sums` of dollars. width: in inches.
    highlight: as in `curves`. Raises UserError if cells are missing, or if nothing costs anything.
    """
    refuse_missing(results, SAME)
    frame = priced(results, tariff)
    paid = frame.loc[frame["dollars"] > 0, "dollars"]
    if paid.empty:
        raise UserError("at this price nothing costs anything: give another with --price")
    with drawing():
        figure, (axis,) = grid(1, width, 2.4, 1)
        handles: dict[str, Any] = {}
        for row, style in rows_of(frame, efficiency.finals(frame), highlight).items():
            line = curve(frame[frame["row"] == row])
            if line["dollars"].max() == 0:
                free = line["mean"].iloc[-1]
                handles[style.title] = axis.axhline(free, color=style.colour, lw=0.9, ls=DASHED)
            else:
                handles[style.title] = _steps(axis, line[line["dollars"] > 0], style)
        for one in sums:
            axis.axvline(one, color="#999999", lw=0.7, ls=(0, (1, 1.5)))
        dollar_axis(axis, float(paid.min()), float(paid.max()))
        axis.set(xlabel="dollars to tune one prompt", ylabel="average accuracy (%)")
        legend(figure, _others_last(handles))
    return figure


def _steps(axis: "Axes", line: pd.DataFrame, style: Look) -> Any:
    x, y, band = (line[name].to_numpy() for name in ("dollars", "mean", "std"))
    if style is OTHERS:
        return axis.step(x, y, where="post", color=style.colour, lw=0.7)[0]
    axis.fill_between(x, y - band, y + band, step="post", color=style.colour, alpha=0.18, lw=0)
    axis.plot(x[-1:], y[-1:], ls="", color=style.colour, marker=style.marker)
    return axis.step(x, y, where="post", color=style.colour, ls=style.line)[0]
