"""One command writes the results in the README and changes nothing else there."""

from pathlib import Path

import pytest
from fabricate import grid, write

from bench.errors import UserError
from bench.report.frame import load
from bench.report.publish import BEGIN, END, publish

FRAME = f"# Title\n\n{BEGIN} (written by a command) -->\nold\n{END}\n\nThe rest.\n"


def test_the_readme_gets_sentences_tables_pictures_and_a_link_to_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path / "results",
        *grid(("manual", "blackvip", "zip", "coop"), tuple(f"toy-{i}" for i in range(5))),
        # what is published is about logits; other answers have a tab of the page
        *grid(("zip",), ("toy-0",), answers="label", budget=9000),
    )
    readme = tmp_path / "README.md"
    readme.write_text(FRAME)
    first = publish(load(tmp_path / "results"), tmp_path / "results", readme, "toy")
    text = readme.read_text()
    assert (
        text.startswith("# Title\n\n" + BEGIN)
        and text.endswith(END + "\n\nThe rest.\n")
        and "old" not in text
    )
    assert (
        "At 500 queries on the toy suite, ZIP has the highest average" in text and "At 5,000 queries" in text
    )
    assert "| CoOp ‡ |" in text and "(results/toy/few-shot-curves.png)" in text
    assert "(results/leaderboard.html)" in text and all(path.exists() for path in first)
    # test_report_plots.py checks the pictures.
    monkeypatch.setattr("bench.report.publish._pictures", lambda *_: [])
    publish(load(tmp_path / "results"), tmp_path / "results", readme, "toy")
    assert readme.read_text() == text


def test_a_readme_without_the_marks_is_not_changed(tmp_path: Path) -> None:
    write(tmp_path / "results", *grid())
    (tmp_path / "README.md").write_text("no markers")
    with pytest.raises(UserError, match="no place for results"):
        publish(load(tmp_path / "results"), tmp_path / "results", tmp_path / "README.md", "toy")
    assert (tmp_path / "README.md").read_text() == "no markers"
