"""The picture of the comparison: average accuracies on a line; a bar joins methods that are not told apart.

It looks like a critical-difference diagram (Demsar 2006), but it shows the comparison of the tables: the test
is on the average accuracy, so the axis is the average accuracy, and every bar is a letter of the table.
"""

from textwrap import wrap
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.report import efficiency, stats
from bench.report.drawing import NARROW, drawing, rows_of, text_width
from bench.report.frame import Results, points
from bench.report.style import OTHERS, Look
from bench.report.summary import Standing, standing
from bench.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIRST, STEP = 0.3, 0.42  # distance between bars, and between names, in units of the y axis
UNIT = 0.4  # inches of a unit of the y axis
BACK = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # so that no line runs through a letter
EDGE = 0.06  # inches around everything
GREY = "#555555"  # the names of the methods whose lines are grey


def cd(results: Results, budget: int | None = None, width: float = 5.0) -> "Figure":
    """Average accuracies on a line, best on the right; a bar joins methods that are not told apart.

    A dot on a bar marks a method of the group. A method without a dot can lie between two methods of the
    group and yet be told apart from both, because spreads differ. A method has the look that it has in
    plots.curves. budget: read runs after this many queries;
    None: at their end. width: in inches. Raises UserError for fewer than two ranked methods.
    """
    from matplotlib.figure import Figure

    frame = points(results)
    s = standing(results, budget, frame)
    if len(s.order) < 2:
        raise UserError(
            "a critical-difference diagram needs at least two methods that have every data set: run the "
            "missing ones"
        )
    bars = [(i, group) for i, group in enumerate(s.comparison.groups) if len(group) > 1]
    names = {row: f" {s.label(row)} ({s.average[row]:.1f}) " for row in s.order}
    right = len(s.order) if width < NARROW else -(-len(s.order) // 2)  # names on the right; the rest: left
    widths = [text_width(names[row]) + 2 * EDGE for row in s.order]
    margins = max(widths[right:], default=2 * EDGE), max(widths[:right])
    said = _said(s, width)
    top = 0.65 + 0.36 * said.count("\n") + 0.36  # of the y axis; the numbers of the scale end at 0.6
    depth = 0.4 + FIRST * len(bars) + STEP * max(right, len(s.order) - right)
    with drawing():
        figure = Figure(figsize=(width, UNIT * (top + depth)))
        axis = figure.add_axes((margins[0] / width, 0.0, 1 - sum(margins) / width, 1.0))
        low, high = min(s.average[row] for row in s.order), s.average[s.order[0]]
        room = 0.02 * (high - low) or 1.0
        axis.set(xlim=(low - room, high + room), ylim=(-depth, top))
        axis.set_axis_off()
        figure.text(EDGE / width, 1 - EDGE / (UNIT * (top + depth)), said, ha="left", va="top")
        _scale(axis, low, high, max(2, int((width - sum(margins)) / 0.4)))
        for y, (i, group) in enumerate(bars):
            _bar(axis, [s.average[row] for row in group], -(0.25 + FIRST * y), stats.letter(i), room)
        looks = rows_of(frame, efficiency.finals(frame, s.budget))
        for i, row in enumerate(s.order):
            best = i < right
            below = 0.4 + FIRST * len(bars) + STEP * (i if best else len(s.order) - 1 - i)
            _name(axis, s.average[row], -below, names[row], looks[row], best)
    return figure


def _said(s: Standing, width: float) -> str:
    """What the picture shows, in lines that fit into it."""
    sets = s.matrix.shape[1]
    said = [(f"average accuracy (%) after {counted(s.budget, 'query')},", counted(sets, "data set"))]
    if s.comparison.groups:
        said += [
            ("dots on one bar: methods that are not told apart", "(paired t tests, corrected, 5\u00a0%)")
        ]
    else:
        least = f"{stats.LEAST_SETS} data sets and {stats.LEAST_SEEDS} seeds"
        said += [("not tested: a test needs at least", least)]
    return "\n".join(line for parts in said for line in _lines(parts, width - 2 * EDGE))


def _lines(parts: tuple[str, ...], room: float) -> list[str]:
    """A sentence in one line if it fits; else its parts, each in lines of its own. room: in inches."""
    whole = " ".join(parts)
    if text_width(whole) <= room:
        return [whole]
    return [line for one in parts for line in wrap(one, max(1, int(len(one) * room / text_width(one))))]


def _scale(axis: Any, low: float, high: float, ticks: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.plot([low, high], [0, 0], color="black", lw=0.8)
    for tick in MaxNLocator(ticks, steps=[1, 2, 5, 10]).tick_values(low, high):
        if low <= tick <= high:
            axis.plot([tick, tick], [0, 0.12], color="black", lw=0.8)
            axis.text(tick, 0.2, f"{tick:g}", ha="center", va="bottom")


def _bar(axis: Any, members: list[float], y: float, letter: str, room: float) -> None:
    axis.plot([min(members), max(members)], [y, y], color="black", lw=1.2)
    axis.plot(members, [y] * len(members), ls="", color="black", marker="o", ms=2.6)
    axis.text(max(members) + 0.5 * room, y, letter, ha="left", va="center", bbox=BACK)


def _name(axis: Any, value: float, y: float, name: str, look: Look, best: bool) -> None:
    """A line from the scale down to y and out to the name, on the right for the best ones."""
    edge = axis.get_xlim()[1 if best else 0]
    drawn: dict[str, Any] = {"color": look.colour, "ls": look.line, "lw": 1.0, "clip_on": False}
    axis.plot([value, value, edge], [0, y, y], marker=look.marker, markevery=[1], **drawn)
    colour = GREY if look is OTHERS else look.colour
    axis.text(edge, y, name, color=colour, ha="left" if best else "right", va="center")
