"""benchmarks/board.py: its commands are ones that `bench run` takes."""

from types import ModuleType

import pytest
from click.testing import CliRunner

from bench.commands.main import main

PARTS = ["few-shot", "base-to-new", "cross-dataset", "ood", "answers", "ablations", "many", "answers-pixels"]


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_every_command_of_the_board_has_a_plan(board: ModuleType, part: str, tmp_path) -> None:
    for options in board.parts()[part]:
        done = CliRunner().invoke(main, ["run", *options, "--dry-run", "--results", str(tmp_path / "none")])
        assert done.exit_code == 0, done.output
        assert "cells to run" in done.output


def test_the_parts_are_those_that_are_tested(board: ModuleType) -> None:
    assert list(board.parts()) == PARTS
