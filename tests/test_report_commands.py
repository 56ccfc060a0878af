"""The report commands: what they print, where they write, how they fail."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fabricate import grid, with_outcomes, write

from bench.commands import report, results
from bench.commands.main import main
from bench.errors import UserError


def call(name: str, *arguments: object, folder: Path | None = None) -> Result:
    given = [str(a) for a in arguments] + (["--results", str(folder)] if folder else [])
    result = CliRunner().invoke(getattr(results if name == "results" else report, name), given)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "results", *grid(("manual", "blackvip", "zip")))


def test_a_table_is_printed_or_written_in_the_format_of_the_file_name(folder: Path, tmp_path: Path) -> None:
    assert "Few-shot accuracy (%), toy suite" in call("table", "few-shot", folder=folder).stdout
    for ending, mark in (
        ("md", "| ZIP |"),
        ("tex", r"\toprule"),
        ("csv", "block,group"),
        ("html", "<table>"),
    ):
        result = call("table", "few-shot", "-o", tmp_path / f"t.{ending}", folder=folder)
        assert result.stdout == "" and mark in (tmp_path / f"t.{ending}").read_text()


def test_an_unknown_file_ending_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t\.xlsx: end its name in .*\.md"):
        call("table", "few-shot", "-o", tmp_path / "t.xlsx", folder=folder)


def test_both_sources_without_records_of_the_suite_show_the_papers_rows(folder: Path) -> None:
    result = call("table", "few-shot", "--source", "both", "--suite", "zip", folder=folder)
    assert "no records of suite zip" in result.stderr and "BlackVIP" in result.stdout


def test_stale_records_and_missing_cells_in_pictures_are_reported(folder: Path, tmp_path: Path) -> None:
    """The hashes in the fabricated records are of no version of a method."""
    assert "9 records of zip are stale: zip.py has changed" in call("table", "few-shot", folder=folder).stderr
    next(folder.glob("toy/few-shot/toy-clocks/zip/*seed2.json")).unlink()
    result = call("plot", "curves", "-o", tmp_path / "c.png", folder=folder)
    assert "1 cell is missing" in result.stderr and (tmp_path / "c.png").exists()


def test_a_damaged_record_is_reported_on_standard_error(folder: Path) -> None:
    (folder / "torn.json").write_text("{")
    result = call("table", "few-shot", "--format", "csv", folder=folder)
    assert "torn.json" in result.stderr and "torn" not in result.stdout


def test_published_tables_need_no_records(tmp_path: Path) -> None:
    text = call("table", "few-shot", "--source", "published", "--suite", "zip", "--format", "markdown").stdout
    assert "**92.3**" in text
    with pytest.raises(UserError, match="several published few-shot table"):
        call("table", "few-shot", "--source", "published")


def test_ranks_and_efficiency(folder: Path) -> None:
    assert (
        "At 500 queries on the toy suite, ZIP has the highest average"
        in call("table", "ranks", "--at", 500, folder=folder).stdout
    )
    assert "queries to 50%" in call("table", "efficiency", "--format", "markdown", folder=folder).stdout


def test_answers_are_a_condition_a_table_and_a_picture(tmp_path: Path) -> None:
    coarse = [with_outcomes(one) for one in grid(("manual", "zip"), answers="probs:2", pixels_8bit=True)]
    folder = write(
        tmp_path / "r", *grid(("manual", "zip")), *coarse, *grid(("zip", "manual"), answers="label")
    )
    text = call("table", "few-shot", "--answers", "probs:2", "--pixels-8bit", folder=folder).stdout
    assert "answered with probs:2" in text and "rounded to 8 bits" in text
    assert "answered with" not in call("table", "few-shot", folder=folder).stdout
    with pytest.raises(UserError, match="--answers 'some': write logits"):
        call("table", "few-shot", "--answers", "some", folder=folder)
    head = call("table", "answers", "--format", "csv", folder=folder).stdout.splitlines()[0]
    assert head == "block,group,Method,label,label ±,logits,logits ±"
    assert call("plot", "answers", "-o", tmp_path / "a.png", folder=folder).exit_code == 0
    next(folder.glob("toy/few-shot/toy-clocks/zip/*seed2-label.json")).unlink()
    with pytest.raises(UserError, match="1 cell is missing: zip / toy-clocks / seed 2, answers label"):
        call("plot", "answers", "-o", tmp_path / "a.png", folder=folder)
    assert call("plot", "answers", "--partial", "-o", tmp_path / "a.png", folder=folder).exit_code == 0


def test_two_methods_and_one_record_image_by_image(tmp_path: Path) -> None:
    folder = write(tmp_path / "r", *map(with_outcomes, grid()))
    assert "Only BlackVIP" in call("table", "pairs", "--methods", "zip,blackvip", folder=folder).stdout
    path = next(folder.glob("toy/few-shot/toy-clocks/zip/*.json"))
    shown = call("results", "show", path).stdout
    assert "Accuracy by class, lowest first: ZIP on toy-clocks" in shown and "class 3" in shown
    with pytest.raises(UserError, match="there is no such file"):
        call("results", "show", tmp_path / "none.json")
    (folder / "torn.json").write_text("{")
    with pytest.raises(UserError, match=r"torn\.json: "):
        call("results", "show", folder / "torn.json")


def test_an_empty_folder_gives_one_line(tmp_path: Path) -> None:
    for name, *arguments in (("table", "few-shot"), ("plot", "curves"), ("leaderboard",)):
        with pytest.raises(UserError, match="no finished records"):
            call(name, *arguments, folder=tmp_path)


def test_plots_are_written_to_the_given_file(folder: Path, tmp_path: Path) -> None:
    result = call("plot", "curves", "--marks", "500,5000", "-o", tmp_path / "p" / "c.svg", folder=folder)
    assert (tmp_path / "p" / "c.svg").exists() and "wrote" in result.stderr


def test_audit_lists_the_finding() -> None:
    assert "harmonic mean of UCF101" in call("audit", "--format", "csv").stdout


def test_verify_exits_1_and_says_why(folder: Path) -> None:
    result = call("results", "verify", folder)
    assert result.exit_code == 1
    assert "27 records: " in result.stdout and "no card 'toy-colors' here" in result.stdout


def test_the_versions_of_a_latex_table_are_in_a_file_of_their_own(folder: Path, tmp_path: Path) -> None:
    call("table", "few-shot", "-o", tmp_path / "a.tex", folder=folder)
    assert "Versions" not in (tmp_path / "a.tex").read_text()
    assert (tmp_path / "a-footnote.tex").read_text() == "Versions: bench 0.1.0, torch 2.14.1.\n"


def test_export_and_leaderboard_write_their_files(folder: Path, tmp_path: Path) -> None:
    call("results", "export", tmp_path / "all.csv", folder=folder)
    call("leaderboard", "-o", tmp_path / "board.html", folder=folder)
    assert (tmp_path / "all-cells.csv").exists() and 'href="results/toy/few-shot/' in (
        tmp_path / "board.html"
    ).read_text()


def test_an_option_that_is_not_a_list_is_refused(folder: Path) -> None:
    result = CliRunner().invoke(main, ["table", "few-shot", "--seeds", "one", "--results", str(folder)])
    assert result.exit_code == 2 and "--seeds takes whole numbers" in result.output


def test_a_table_of_a_thousand_records(tmp_path: Path) -> None:
    sets = tuple(f"toy-{i:02}" for i in range(28))
    methods = ("manual", "blackvip", "zip", "coop", "a", "b", "c", "d", "e", "f", "g", "h")
    records = grid(methods, sets)
    assert len(records) == 1008
    text = call("table", "few-shot", "--format", "csv", folder=write(tmp_path, *records)).stdout
    assert len(text.splitlines()) == 1 + len(methods)
