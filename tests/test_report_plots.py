"""Pictures: text stays text, the same records give the same bytes, a method keeps its colour."""

from pathlib import Path

import pytest
from fabricate import grid, record, write

from bench.errors import UserError
from bench.report import plots
from bench.report.diagram import cd
from bench.report.drawing import save
from bench.report.frame import Results, load, select
from bench.report.style import KNOWN, look, params_text


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


def test_a_methods_colour_depends_only_on_its_name() -> None:
    assert look("zip").colour == look("zip", "rank=1").colour != look("blackvip").colour
    assert look("zip").line != look("zip", "rank=1").line
    assert look("mine") == look("mine") and look("mine").title == "mine"
    assert len({known.colour for known in KNOWN.values()}) == len(KNOWN)


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0k"), (417, "0.4k"), (9920, "9.9k"), (37_620, "37.6k"), (1_200_000, "1.2M")]
)
def test_parameters_are_printed_as_the_papers_do(n: int, text: str) -> None:
    assert params_text(n) == text
    assert params_text(417, 9920) == "0.4k–9.9k"
