"""Accuracy by answers: the order of the levels, averages worked out by hand, missing cells, the picture."""

from dataclasses import replace
from pathlib import Path

import pytest
from fabricate import SETS, grid, record, write

from bench.answered import parse
from bench.errors import UserError
from bench.record import Record
from bench.report import plots
from bench.report.answers import ByAnswers, answers_table, by_answers
from bench.report.drawing import save
from bench.report.frame import load

LEVELS = ("label", "top:3", "top:20", "probs:2", "probs:4", "probs", "logits")


def lowered(made: Record, points: float) -> Record:
    """The record with a lower accuracy at every checkpoint."""
    trace = tuple(
        replace(point, accuracy={name: value - points for name, value in point.accuracy.items()})
        for point in made.trace
    )
    return replace(made, trace=trace, accuracy=trace[-1].accuracy)


def ladder() -> list[Record]:
    """ZIP loses a point with each step to coarser answers, and has none at `label`."""
    records = []
    for loss, level in enumerate(reversed(LEVELS)):
        records += grid(("manual", "coop"), answers=level)
        if level != "label":
            records += [lowered(one, loss) for one in grid(("zip",), answers=level)]
    return records


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> ByAnswers:
    return by_answers(load(write(tmp_path_factory.mktemp("r"), *ladder())))


def test_levels_go_from_the_coarsest_to_the_finest(found: ByAnswers) -> None:
    assert found.levels == LEVELS
    assert sorted(map(parse, sorted(LEVELS)), key=lambda level: level.fineness) == [*map(parse, LEVELS)]


def test_the_table_has_the_average_of_every_level(found: ByAnswers) -> None:
    table = answers_table(found)
    assert [column.name for column in table.columns] == list(LEVELS)
    rows = {row.lead[0]: [entry.text for entry in row.entries] for row in table.blocks[0].rows}
    # Zero-shot is 55, 45 and 40; ZIP gains 10.8, 12 and 13.2 points: 58.7, with a standard deviation of 1.2.
    assert rows["ZIP"] == ["–", *(f"{58.7 - loss:.1f} ± 1.2" for loss in (5, 4, 3, 2, 1, 0))]
    assert rows["Manual Prompt"] == ["46.7"] * len(LEVELS)
    marks = {row.lead[0]: [entry.mark for entry in row.entries] for row in table.blocks[0].rows}
    assert marks["ZIP"][-1] == "best" and set(marks["CoOp"]) == {""}
    assert not any("answered with" in note for note in table.notes)


def test_the_picture_has_a_line_for_each_method_and_a_dashed_one_for_the_template(
    found: ByAnswers, tmp_path: Path
) -> None:
    figure = plots.answers(found)
    axis = figure.axes[0]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == list(LEVELS)
    (zip_, coop) = (container.lines[0] for container in axis.containers)
    assert list(zip_.get_xdata()) == [1, 2, 3, 4, 5, 6] and list(coop.get_xdata()) == [*range(7)]
    assert zip_.get_ydata() == pytest.approx([58.67 - loss for loss in (5, 4, 3, 2, 1, 0)], abs=0.01)
    dashed = [line for line in axis.lines if line.get_linestyle() == "--" and line.get_marker() == "None"]
    assert dashed[0].get_ydata() == pytest.approx([140 / 3] * 7)
    save(figure, tmp_path / "answers.svg")
    text = (tmp_path / "answers.svg").read_text()
    assert all(f">{word}<" in text for word in (*LEVELS, "ZIP", "Manual Prompt"))


def test_a_level_with_fewer_data_sets_or_seeds_is_incomplete(tmp_path: Path) -> None:
    """An average over two data sets does not compare with one over three, so the point is left out."""
    write(tmp_path, *grid(("zip", "manual")), *grid(("zip", "manual"), SETS[:2], answers="label"))
    results = load(tmp_path)
    with pytest.raises(UserError, match="6 cells are missing: manual / toy-clocks / seed 1, answers label"):
        by_answers(results)
    found = by_answers(results, partial=True)
    assert found.scores["label"] == {} and set(found.scores["logits"]) == {"zip", "manual"}
    assert found.missing[0].startswith("This table is partial: 6 cells are missing")
    assert answers_table(found).notes[-1] == found.missing[0]
    plots.answers(found)


def test_a_row_with_fewer_seeds_shows_their_number(tmp_path: Path) -> None:
    write(tmp_path, *grid(("zip",)), *grid(("zip",), seeds=(1, 2), answers="label"))
    (row,) = answers_table(by_answers(load(tmp_path), partial=True)).blocks[0].rows
    assert [entry.n for entry in row.entries] == [2, None]


def test_other_conditions_are_still_not_mixed(tmp_path: Path) -> None:
    results = load(write(tmp_path, record(), record(answers="label", budget=500)))
    with pytest.raises(UserError, match="--budget"):
        by_answers(results)
    both = load(write(tmp_path / "8", record(), record(pixels_8bit=True)))
    assert len(by_answers(both).results.cells) == 1
    assert by_answers(both, pixels_8bit=True).results.cells["pixels_8bit"].all()


def test_one_level_is_no_curve(tmp_path: Path) -> None:
    one = by_answers(load(write(tmp_path, *grid(("manual", "zip")))))
    with pytest.raises(
        UserError, match=r"one level of answers, logits.*make others with `bench run --answers"
    ):
        plots.answers(one)
