"""The picture of the comparison: average accuracies on a line; a bar joins methods that are not told apart.

It looks like a critical-difference diagram (Demsar 2006), but it shows the comparison of the tables: the test
is on the average accuracy, so the axis is the average accuracy, and every bar is a letter of the table.
"""

from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.report import stats
from bench.report.drawing import drawing, rows_of
from bench.report.frame import Results
from bench.report.summary import Standing, standing
from bench.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIRST, STEP = 0.3, 0.42  # distance between bars, and between names, in units of the y axis


def cd(results: Results, budget: int | None = None, width: float = 5.0) -> "Figure":
    """Average accuracies on a line, best on the right; a bar joins methods that are not told apart.

    A dot on a bar marks a method of the group. A method without a dot can lie between two methods of the
    group and yet be told apart from both, because spreads differ. budget: read runs after this many queries;
    None: at their end. width: in inches. Raises UserError for fewer than two ranked methods.
    """
    from matplotlib.figure import Figure

    s = standing(results, budget)
    if len(s.order) < 2:
        raise UserError(
            "a critical-difference diagram needs at least two methods that have every data set: run the "
            "missing ones"
        )
    bars = [(i, group) for i, group in enumerate(s.comparison.groups) if len(group) > 1]
    with drawing():
        figure = Figure(figsize=(width, 0.75 + 0.17 * len(s.order) / 2 + 0.11 * len(bars)))
        axis = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        low, high = min(s.average[row] for row in s.order), s.average[s.order[0]]
        room = 0.02 * (high - low) or 1.0
        axis.set(xlim=(low - room, high + room))
        axis.set_axis_off()
        _scale(axis, s, low, high)
        for y, (i, group) in enumerate(bars):
            _bar(axis, [s.average[row] for row in group], -(0.25 + FIRST * y), stats.letter(i), room)
        looks = rows_of(results.cells)
        colours = {row: looks[row].colour for row in s.order}
        _names(axis, s, colours, 0.4 + FIRST * len(bars), room)
    return figure


def _scale(axis: Any, s: Standing, low: float, high: float) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.plot([low, high], [0, 0], color="black", lw=0.8)
    for tick in MaxNLocator(8).tick_values(low, high):
        if low <= tick <= high:
            axis.plot([tick, tick], [0, 0.12], color="black", lw=0.8)
            axis.text(tick, 0.2, f"{tick:g}", ha="center", va="bottom")
    sets = s.matrix.shape[1]
    said = f"average accuracy (%) after {counted(s.budget, 'query')}, {counted(sets, 'data set')}\n"
    if s.comparison.groups:
        said += "dots on one bar: methods that are not told apart (paired t tests, corrected, 5 %)"
    else:
        said += (
            f"not tested: a test needs at least {stats.LEAST_SETS} data sets and {stats.LEAST_SEEDS} seeds"
        )
    axis.text(low, 0.95, said, ha="left", va="bottom")


def _bar(axis: Any, members: list[float], y: float, letter: str, room: float) -> None:
    axis.plot([min(members), max(members)], [y, y], color="black", lw=1.2)
    axis.plot(members, [y] * len(members), ls="", color="black", marker="o", ms=2.6)
    axis.text(max(members) + 0.5 * room, y, letter, ha="left", va="center")


def _names(axis: Any, s: Standing, colours: dict[str, str], top: float, room: float) -> None:
    half, (left, right) = -(-len(s.order) // 2), axis.get_xlim()
    for i, row in enumerate(s.order):
        best = i < half
        x, y = (right if best else left), -(top + STEP * (i if best else len(s.order) - 1 - i))
        value = s.average[row]
        axis.plot([value, value, x], [0, y, y], color=colours[row], lw=1.0, clip_on=False)
        where = {"ha": "left" if best else "right", "va": "center"}
        axis.text(x, y, f" {s.label(row)} ({value:.1f}) ", color=colours[row], **where)
