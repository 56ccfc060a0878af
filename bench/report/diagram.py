"""The critical-difference diagram of average ranks (Demsar 2006)."""

from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.report import efficiency, stats
from bench.report.drawing import drawing, rows_of
from bench.report.frame import Results, points
from bench.report.style import Look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIRST, STEP = 0.28, 0.42  # between bars, between names; in units of the rank axis' height


def cd(results: Results, budget: int | None = None, width: float = 5.0) -> "Figure":
    """Average ranks on a line, best on the right; a bar joins methods Nemenyi's test does not tell apart.

    Raises UserError for fewer than two black-box methods or data sets.
    """
    from matplotlib.figure import Figure

    frame = points(results)
    frame = frame[~frame["white_box"].astype(bool)]
    matrix = efficiency.matrix(efficiency.at_budget(frame, budget or int(frame["at"].max()))).dropna()
    try:
        found = stats.critical_difference(matrix)
    except ValueError as error:
        raise UserError(f"no critical-difference diagram: {error}") from error
    with drawing():
        figure = Figure(figsize=(width, 0.6 + 0.17 * len(found.ranks) / 2 + 0.1 * len(found.cliques)))
        axis = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axis.set(xlim=(len(found.ranks) + 0.05, 0.95))
        axis.set_axis_off()
        _scale(axis, found, matrix.shape[1])
        _names(axis, found, rows_of(frame))
        for i, clique in enumerate(found.cliques):
            ends, y = found.ranks[list(clique)], -(0.2 + FIRST * i)
            axis.plot([ends.min() - 0.04, ends.max() + 0.04], [y, y], color="black", lw=2.6)
    return figure


def _scale(axis: Any, found: stats.CriticalDifference, sets: int) -> None:
    k = len(found.ranks)
    axis.plot([1, k], [0, 0], color="black", lw=0.8)
    for tick in range(1, k + 1):
        axis.plot([tick, tick], [0, 0.12], color="black", lw=0.8)
        axis.text(tick, 0.2, str(tick), ha="center", va="bottom")
    axis.plot([k, k - min(found.cd, k - 1)], [0.95, 0.95], color="black", lw=0.8, marker="|")
    said = f"critical difference {found.cd:.2f}; Friedman p {_p(found.p)}, {sets} data sets"
    axis.text(k, 1.1, said, ha="left", va="bottom")


def _names(axis: Any, found: stats.CriticalDifference, looks: dict[str, Look]) -> None:
    k = len(found.ranks)
    half, top = -(-k // 2), 0.35 + FIRST * len(found.cliques)
    for i, (row, rank) in enumerate(found.ranks.items()):
        right, style = i < half, looks[str(row)]
        x, y = (0.95 if right else k + 0.05), -(top + STEP * (i if right else k - 1 - i))
        axis.plot([rank, rank, x], [0, y, y], color=style.colour, lw=1.0, clip_on=False)
        where = {"ha": "left" if right else "right", "va": "center"}
        axis.text(x, y, f" {style.title} ({rank:.2f}) ", color=style.colour, **where)


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
