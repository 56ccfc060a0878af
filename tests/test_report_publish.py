"""One command writes the results into the README and a page of the docs. The rest of both stays as it is."""

from pathlib import Path

import pytest
from fabricate import grid, write

from bench.errors import UserError
from bench.report.frame import load
from bench.report.publish import BEGIN, END, publish

FRAME = f"# Title\n\n{BEGIN} (written by a command) -->\nold\n{END}\n\nThe rest.\n"


def texts(folder: Path) -> tuple[Path, Path]:
    """A README and a page of the docs, with their marks."""
    readme, page = folder / "README.md", folder / "docs" / "results.md"
    page.parent.mkdir()
    for text in (readme, page):
        text.write_text(FRAME)
    return readme, page


def test_the_page_gets_everything_and_the_readme_one_small_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path / "results",
        *grid(("manual", "blackvip", "zip", "coop"), tuple(f"toy-{i}" for i in range(5))),
        # what is published is about logits; other answers have a tab of the page
        *grid(("zip",), ("toy-0",), answers="label", budget=9000),
    )
    readme, page = texts(tmp_path)
    first = publish(load(tmp_path / "results"), tmp_path / "results", readme, page, "toy")
    assert {readme, page} < set(first) and all(path.exists() for path in first)
    whole, brief = page.read_text(), readme.read_text()
    for text in (whole, brief):
        assert text.startswith("# Title\n\n" + BEGIN) and text.endswith(END + "\n\nThe rest.\n")
        assert "old" not in text
    assert (
        "At 500 queries on the toy suite, ZIP has the highest average" in whole
        and "At 5,000 queries" in whole
    )
    assert "| CoOp ‡ |" in whole and "(../results/toy/few-shot-curves.png)" in whole
    assert "(../results/leaderboard.html)" in whole
    assert "| Method | Ties | Sent | Average | Queries to tune |" in brief and "toy-0" not in brief
    assert "(results/toy/few-shot-curves.png)" in brief and "(results/leaderboard.html)" in brief
    # test_report_plots.py checks the pictures.
    monkeypatch.setattr("bench.report.publish._pictures", lambda *_: [])
    publish(load(tmp_path / "results"), tmp_path / "results", readme, page, "toy")
    assert (page.read_text(), readme.read_text()) == (whole, brief)


def test_coarse_answers_variants_and_other_suites_are_published_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = ("toy-0", "toy-1")
    write(
        tmp_path / "results",
        *grid(("manual", "zip", "blackvip"), sets),
        *grid(("manual", "zip"), sets, answers="label"),
        *grid(("blackvip",), sets[:1], seeds=(1,), answers="label"),  # a slow method: fewer cells
        *grid(("zip",), sets, seeds=(1, 2), overrides={"rank": 1}),
        *grid(("manual", "zip"), sets, suite="toy-many"),
    )
    monkeypatch.setattr("bench.report.publish._pictures", lambda *_: [])
    readme, page = texts(tmp_path)
    home = tmp_path / "results" / "toy"
    written = publish(load(tmp_path / "results"), tmp_path / "results", readme, page, "toy")
    text = page.read_text()
    first, second = ((home / f"few-shot-answers{end}.md").read_text() for end in ("", "-2"))
    assert "| ZIP |" in first and "BlackVIP" not in first and "| Method | label | logits |" in first
    assert "| BlackVIP |" in second and "ZIP" not in second and ", seed 1.\n" in second
    assert home / "few-shot-answers.png" in written and "few-shot-answers-2.png" in text
    variants = (home / "few-shot-variants.md").read_text()
    assert "rank=1" in variants and "2 seeds (1, 2)" in variants and "BlackVIP" not in variants
    assert text.index("### Coarser answers") < text.index("### Variants") < text.index(", suite toy-many")
    assert "(../results/toy-many/few-shot-curves.png)" in text and "toy-many" not in readme.read_text()


def test_a_text_without_the_marks_is_not_changed(tmp_path: Path) -> None:
    write(tmp_path / "results", *grid())
    readme, page = texts(tmp_path)
    page.write_text("no markers")
    with pytest.raises(UserError, match=r"results\.md has no place for results"):
        publish(load(tmp_path / "results"), tmp_path / "results", readme, page, "toy")
    assert (page.read_text(), readme.read_text()) == ("no markers", FRAME)


def test_a_place_outside_the_readmes_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", *grid())
    (tmp_path / "project").mkdir()
    readme, page = texts(tmp_path / "project")
    with pytest.raises(UserError, match="lies outside"):
        publish(load(tmp_path / "elsewhere"), tmp_path / "elsewhere", readme, page, "toy")
