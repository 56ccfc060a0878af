"""Pictures: text stays text, the same records give the same bytes, nothing overlaps."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
from fabricate import grid, record, write
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from bench.errors import UserError
from bench.report import plots
from bench.report.answers import by_answers
from bench.report.diagram import cd
from bench.report.drawing import drawing, log_ticks, save, short
from bench.report.frame import Results, load, select
from bench.report.style import MANY, OTHERS, name_of, params_text


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = write(tmp_path_factory.mktemp("r"), *grid(("manual", "blackvip", "zip", "coop")))
    write(folder, *(r for k in (1, 2) for r in grid(("zip",), overrides={"rank": k})))
    return select(load(folder))


def test_curves_show_every_method_and_data_set_as_text(results: Results, tmp_path: Path) -> None:
    save(plots.curves(results, marks=(500,)), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    for word in ("average", "colors", "digits", "clocks", "BlackVIP", "CoOp", "zero-shot", "queries"):
        assert f">{word}<" in text
    save(plots.curves(results, marks=(500,)), tmp_path / "b.svg")
    assert (tmp_path / "b.svg").read_bytes() == (tmp_path / "a.svg").read_bytes()


def test_the_band_is_one_standard_deviation(results: Results) -> None:
    axis = plots.curves(results).axes[0]
    band = axis.collections[1].get_paths()[0].vertices  # blackvip is the first tuned row, zip the second
    end = band[band[:, 0] == 5000][:, 1]
    # ZIP gains 10.8, 12 and 13.2 points, so the standard deviation is 1.2.
    assert end.max() - end.min() == pytest.approx(2 * 1.2)


def test_every_plot_is_written_as_png_and_pdf(results: Results, tmp_path: Path) -> None:
    plain = select(results, methods=("manual", "blackvip", "zip", "coop"))
    figures = {
        "linear": plots.curves(plain, log=False),
        "efficiency": plots.efficiency_plot(plain),
        "params": plots.params(plain),
        "cd": cd(plain),
    }
    for name, figure in figures.items():
        save(figure, tmp_path / f"{name}.png")
    save(figures["cd"], tmp_path / "cd.pdf")
    assert {p.name for p in tmp_path.iterdir() if p.stat().st_size > 3000} == {
        *(f"{n}.png" for n in figures),
        "cd.pdf",
    }


def test_an_ablation_draws_the_values_in_order(results: Results) -> None:
    swept = select(results, methods=("zip",))
    swept.cells["params"] = [p or {"rank": 5} for p in swept.cells["params"]]
    axis = plots.ablation(swept, "zip", "rank").axes[0]
    assert [t.get_text() for t in axis.get_xticklabels()] == ["1", "2", "5"]
    with pytest.raises(UserError, match=r"no parameter 'rnk'\. Did you mean 'rank'"):
        plots.ablation(swept, "zip", "rnk")


def test_an_ablation_with_a_missing_cell_is_refused(results: Results, tmp_path: Path) -> None:
    """Otherwise a value on one data set would be compared with averages of three."""
    folder = write(tmp_path, *grid(("zip",), params={"rank": 5}))
    swept = select(load(write(folder, record("zip", overrides={"rank": 1}, params={"rank": 1}))))
    with pytest.raises(UserError, match=r"8 cells are missing: zip \(rank=1\) / toy-clocks / seed 1"):
        plots.ablation(swept, "zip", "rank")
    with pytest.raises(UserError, match="8 cells are missing"):
        plots.params(swept)


def test_an_ablation_of_one_value_says_how_to_run_more(tmp_path: Path) -> None:
    results = select(load(write(tmp_path, record(params={"rank": 5}))))
    with pytest.raises(UserError, match=r"--set zip\.rank="):
        plots.ablation(results, "zip", "rank")


def test_a_single_record_can_be_drawn(tmp_path: Path) -> None:
    results = select(load(write(tmp_path, record())))
    save(plots.curves(results), tmp_path / "one.png")
    with pytest.raises(UserError, match="at least two methods"):
        cd(results)


def test_an_unknown_ending_is_refused(results: Results, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"end its name in \.png, .svg or .pdf"):
        save(plots.params(results), tmp_path / "x.jpg")


WIDE = tuple(f"toy-{i}" for i in range(5))


@pytest.fixture(scope="module")
def thirteen(tmp_path_factory: pytest.TempPathFactory) -> Results:
    known = ("manual", "vp", "bar", "blackvip", "bptvlm", "bbt", "craft", "zip", "cmaes", "openes", "spsa")
    folder = tmp_path_factory.mktemp("many")
    methods = (*known, "random_search", "mine")
    for i, method in enumerate(methods):
        title = name_of(method)
        write(folder, *grid((method,), WIDE, title=title, n_params=0 if method == "manual" else 400 * 2**i))
    return select(load(folder))


def outside(figure: Figure) -> set[Text]:
    """The labels of ticks beyond the ends of their axis, which matplotlib makes and does not draw."""
    found = set()
    for axis in (one for axes in figure.axes for one in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        found |= {tick.label1 for tick in ticks if not low <= tick.get_loc() <= high}
    return found


def overlaps(figure: Figure) -> list[str]:
    """Texts that lie on another text, or that the picture cuts off."""
    with drawing():
        figure.draw_without_rendering()
        texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
        boxes = {t: t.get_window_extent().padded(-0.5) for t in texts if t not in outside(figure)}
    boxes = {text: box for text, box in boxes.items() if box.width > 0}
    edge = figure.bbox.padded(1)
    cut = [t for t, box in boxes.items() if not all(edge.contains(x, y) for x, y in box.corners())]
    return [f"{text.get_text()!r} is cut" for text in cut] + [
        f"{a.get_text()!r} lies on {b.get_text()!r}"
        for (a, one), (b, other) in combinations(boxes.items(), 2)
        if one.overlaps(other)
    ]


def with_labels(results: Results) -> Results:
    """The same records once more, as if the black box had answered with labels alone."""
    frames = {"cells": results.cells, "trace": results.trace}
    return replace(results, **{n: pd.concat([f, f.assign(answers="label")]) for n, f in frames.items()})


DRAWN: dict[str, Callable[..., Figure]] = {
    "curves": plots.curves,
    "linear": lambda results, width: plots.curves(results, log=False, width=width),
    "efficiency": plots.efficiency_plot,
    "params": plots.params,
    "cd": cd,
    "answers": lambda results, width: plots.answers(by_answers(with_labels(results)), width),
}


@pytest.mark.parametrize("width", [3.3, 7.0])
@pytest.mark.parametrize("kind", DRAWN)
def test_a_picture_of_many_methods_has_its_width_and_no_text_lies_on_another(
    kind: str, width: float, thirteen: Results, tmp_path: Path
) -> None:
    figure = DRAWN[kind](thirteen, width=width)
    assert overlaps(figure) == []
    save(figure, tmp_path / "a.png")
    assert imread(tmp_path / "a.png").shape[1] == pytest.approx(200 * width, abs=1)


def test_of_many_rows_the_best_and_those_asked_for_are_named(thirteen: Results) -> None:
    legend = plots.curves(thirteen, highlight=("mine",)).legends[0]
    named = [text.get_text() for text in legend.get_texts()]
    assert len(named) == MANY + 2 and "mine" in named and {"ZIP", "zero-shot"} <= set(named)
    assert named[-1] == "other methods"


def test_a_method_has_the_same_look_in_the_diagram_as_in_the_curves(thirteen: Results) -> None:
    """The colour, dash and marker of every method that the legend of the curves names; grey for others."""
    legend = plots.curves(thirteen).legends[0]
    named = {
        text.get_text(): (line.get_color(), line.get_linestyle(), line.get_marker())
        for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }
    axis = cd(thirteen, width=3.3).axes[0]  # all names on one side
    lines = {line.get_ydata()[-1]: line for line in axis.lines if line.get_markevery() == [1]}
    found = {
        text.get_text().rpartition(" (")[0].strip(): lines.get(text.get_position()[1]) for text in axis.texts
    }
    drawn = {name: line for name, line in found.items() if line is not None}
    assert len(drawn) == 13 and len({line.get_color() for line in drawn.values()}) > 5
    for name, line in drawn.items():
        look = (line.get_color(), line.get_linestyle(), line.get_marker())
        if name in named:
            assert look == named[name]
        elif name != name_of("manual"):
            assert line.get_color() == OTHERS.colour


def test_the_sentences_of_the_diagram_break_where_they_have_a_part(thirteen: Results) -> None:
    lines = {width: cd(thirteen, width=width).texts[0].get_text().split("\n") for width in (3.3, 2.8, 5.0)}
    first, second = (
        "average accuracy (%) after 5,000 queries,",
        "dots on one bar: methods that are not told apart",
    )
    assert lines[3.3] == [f"{first} 5 data sets", second, "(paired t tests, corrected, 5\u00a0%)"]
    assert lines[2.8] == [first, "5 data sets", second, lines[3.3][2]]
    assert lines[5.0] == [lines[3.3][0], f"{second} {lines[3.3][2]}"]


@pytest.mark.parametrize(
    ("low", "high", "dense", "labels"),
    [
        (0.15, 8000, False, "1 10 100 1k"),
        (450, 5300, False, "500 1k 2k 5k"),
        (1.2, 9.1, False, "2 5"),
        (10.5, 900, True, "20 50 100 200 500"),
        (2.1, 4.4, False, "3 4"),
        (1250, 1450, False, "1.25k 1.3k 1.35k 1.4k 1.45k"),
    ],
)
def test_a_logarithmic_axis_has_two_labels_at_least(
    low: float, high: float, dense: bool, labels: str
) -> None:
    axis = Figure().add_subplot(xscale="log", xlim=(low, high))
    log_ticks(axis.xaxis, short, dense)
    ticks = zip(axis.get_xticks(), axis.xaxis.get_major_ticks(), strict=False)
    axis.figure.draw_without_rendering()
    shown = [tick.label1.get_text() for at, tick in ticks if low <= at <= high]
    assert " ".join(shown) == labels and not axis.get_xticks(minor=True).size


def test_no_tick_of_a_picture_is_written_in_tex(thirteen: Results) -> None:
    """Of targets that all take between 1,000 and 5,000 queries, the axis holds at most one power of ten."""
    figure = plots.efficiency_plot(thirteen, absolute=(50.0, 51.0))
    with drawing():
        figure.draw_without_rendering()
    assert [text.get_text() for text in figure.findobj(Text) if "\\" in text.get_text()] == []


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0k"), (417, "0.4k"), (9920, "9.9k"), (37_620, "37.6k"), (1_200_000, "1.2M")]
)
def test_parameters_are_printed_as_the_papers_do(n: int, text: str) -> None:
    assert params_text(n) == text
    assert params_text(417, 9920) == "0.4k–9.9k"
