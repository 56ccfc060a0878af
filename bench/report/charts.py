"""The charts at the top of the page, as SVG: accuracy against queries, and against a cost with its front."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from bench.report.style import DASHES, OTHERS, Look, outline
from bench.words import in_dollars

WIDTH, HEIGHT = 520, 330
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 10, 48  # around the axes
SIZE = 5  # of a marker
Points = Sequence[tuple[float, float]]  # (cost, accuracy in %)


@dataclass(frozen=True)
class Cost:
    """A cost of the methods. points: row -> the accuracies that it bought. digits: decimals, of dollars."""

    unit: Literal["queries", "dollars"]
    points: Mapping[str, Points]
    digits: int = 0

    @property
    def name(self) -> str:
        """What the axis is."""
        return f"{self.unit} to tune"

    @property
    def least(self) -> float:
        """What the axis need not show less of: there is no part of a query."""
        return 1.0 if self.unit == "queries" else 0.0

    def amount(self, cost: float) -> str:
        """A cost as text: 1,600, or $1,600.00."""
        return f"{'$' if self.unit == 'dollars' else ''}{cost:,.{self.digits}f}"

    def spent(self, cost: float) -> str:
        """The same in a sentence: 1,600 queries to tune, or $1,600.00 to tune."""
        return f"{self.amount(cost)} {'to tune' if self.unit == 'dollars' else self.name}"


@dataclass(frozen=True)
class Axes:
    """A logarithmic axis of costs and one of accuracies. Costs below `first` lie on the left edge."""

    first: float
    last: float
    low: float
    high: float

    def x(self, cost: float) -> float:
        share = math.log(max(cost, self.first) / self.first) / math.log(self.last / self.first)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, accuracy: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (self.high - accuracy) / (self.high - self.low)

    def path(self, points: Points) -> str:
        return " ".join(f"{self.x(cost):.1f},{self.y(accuracy):.1f}" for cost, accuracy in points)

    def svg(self, name: str, tick: Callable[[float], str] = "{:,}".format) -> str:
        """The grid, the ticks and the names of both axes. tick: a power of 10 as text."""
        parts = []
        middle, right, bottom = (TOP + HEIGHT - BOTTOM) / 2, WIDTH - RIGHT, HEIGHT - BOTTOM
        for power in range(math.ceil(math.log10(self.first)), math.floor(math.log10(self.last)) + 1):
            x = self.x(10**power)
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
            parts.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{tick(10**power)}</text>')
        step = 5 if self.high - self.low <= 25 else 10 if self.high - self.low <= 50 else 20
        for accuracy in range(math.ceil(self.low / step) * step, int(self.high) + 1, step):
            y = self.y(accuracy)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{accuracy}</text>')
        parts.append(
            f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(name)}</text>'
        )
        turned = f'transform="rotate(-90)" x="{-middle}" y="14" text-anchor="middle"'
        return "".join([*parts, f"<text {turned}>average accuracy (%)</text>"])


def axes_of(points: Iterable[tuple[float, float]], zero: float | None, least: float = 1.0) -> Axes:
    """Axes on which all points, and the accuracy of zero-shot, lie. least: see Cost."""
    found = list(points)
    costs = [cost for cost, _ in found if cost > 0] or [1.0]
    low, high = min(costs), max(costs)
    heights = [accuracy for _, accuracy in found] + ([] if zero is None else [zero])
    last = max(10 * (least or low), high) * 1.1
    first = max(least, low / 1.1, last / 1e4)
    bottom = math.floor(min(heights, default=0.0) / 5) * 5
    return Axes(first, last, bottom, max(bottom + 5, math.ceil(max(heights, default=5.0) / 5) * 5))


def curves(lines: Mapping[str, Points], looks: Mapping[str, Look], zero: float | None) -> str:
    """Accuracy against queries, one line for each row; dashed: zero-shot."""
    axes = axes_of((point for points in lines.values() for point in points), zero)
    parts = [axes.svg("queries"), _zero(axes, zero)]
    for row, look in looks.items():
        points = [point for point in lines.get(row, ()) if point[0] >= axes.first]
        if points:
            parts.append(_line(axes.path(points), look))
            parts.append(_marker(axes, points[-1], look, f"{points[-1][0]:,.0f} queries"))
    return _svg("Average accuracy against queries, one line for each method", parts)


def front(cost: Cost) -> list[tuple[float, float, str]]:
    """The Pareto front: (cost, accuracy, row) for which nothing as cheap is as accurate, cheapest first."""
    found: list[tuple[float, float, str]] = []
    everything = [(price, accuracy, row) for row, points in cost.points.items() for price, accuracy in points]
    for price, accuracy, row in sorted(everything, key=lambda point: (point[0], -point[1], point[2])):
        if not found or accuracy > found[-1][1]:
            found.append((price, accuracy, row))
    return found


def costs(cost: Cost, looks: Mapping[str, Look], zero: float | None) -> str:
    """Accuracy against a cost: a marker for everything that a row bought, and a line along the front."""
    axes = axes_of((point for points in cost.points.values() for point in points), zero, cost.least)
    best = front(cost)
    steps: list[tuple[float, float]] = []
    for price, accuracy, _ in best:
        steps += [(price, steps[-1][1])] if steps else []
        steps.append((price, accuracy))
    steps += [(axes.last, steps[-1][1])] if steps else []
    grid = axes.svg(cost.name, in_dollars) if cost.unit == "dollars" else axes.svg(cost.name)
    parts = [grid, _zero(axes, zero), f'<polyline class="front" points="{axes.path(steps)}"/>']
    for row, look in looks.items():
        parts += [_marker(axes, point, look, cost.spent(point[0])) for point in cost.points.get(row, ())]
    return _svg(f"Average accuracy against {cost.name}, with its Pareto front", parts)


def swatch(look: Look) -> str:
    """A piece of a row's line with its marker, for the legend."""
    place = f'transform="translate(15 7) scale({SIZE})"'
    mark = f'<path d="{outline(look.marker)}" {place} fill="{look.colour}"/>' if look.marker else ""
    line = _line("0,7 30,7", look)
    return f'<svg class="swatch" viewBox="0 0 30 14" aria-hidden="true">{line}{mark}</svg>'


def _svg(title: str, parts: Iterable[str]) -> str:
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
    return f'<svg {size} role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def _zero(axes: Axes, zero: float | None) -> str:
    if zero is None:
        return ""
    y = axes.y(zero)
    return f'<line class="zero" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _line(path: str, look: Look) -> str:
    if look is OTHERS:
        return f'<polyline class="other" points="{path}"/>'
    dash = "" if look.dash == DASHES[0] else f' stroke-dasharray="{dashes(look)}"'
    return f'<polyline class="line" stroke="{look.colour}"{dash} points="{path}"/>'


def dashes(look: Look) -> str:
    """The dash of a look as SVG has it, for lines 2 units wide."""
    return " ".join(f"{2 * part:g}" for part in look.dash)


def _marker(axes: Axes, point: tuple[float, float], look: Look, where: str) -> str:
    place = f"translate({axes.x(point[0]):.1f} {axes.y(point[1]):.1f})"
    if look is OTHERS:
        return f'<circle class="others" r="2.5" transform="{place}"/>'
    said = escape(f"{look.title}: {point[1]:.1f} % after {where}")
    return (
        f'<path d="{outline(look.marker)}" transform="{place} scale({SIZE})" fill="{look.colour}">'
        f"<title>{said}</title></path>"
    )
