"""Cells: names, streams and grids."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import toy_cell

from bench.cell import file_name, grid, show
from bench.record import Record, dump, failure


def test_a_cell_read_from_a_record_equals_the_cell_written() -> None:
    cell = toy_cell(overrides=(("channels", (8, 4)), ("clip", "none"), ("rank", 1)))
    again = Record.from_json(json.loads(dump(failure(cell, "no")))).cell
    assert again == cell and hash(again) == hash(cell)


def test_the_path_follows_from_the_fields_of_the_cell() -> None:
    cell = toy_cell(backbone="mini", overrides=(("a", 0.1), ("rank", 1)))
    assert str(cell.path) == "toy/few-shot/toy/zip[a=0.1,rank=1]/mini-shots10-batch8-budget100-seed1.json"
    name = toy_cell(backbone="ViT-B-16/openai").path.name
    assert re.fullmatch("ViT-B-16_openai-[0-9a-f]{8}-shots10-batch8-budget100-seed1.json", name)


@pytest.mark.parametrize(
    "change",
    [{"seed": 2}, {"budget": 5}, {"shots": 1}, {"batch_size": 4}, {"augment": True}, {"score": "val"},
     {"overrides": (("rank", 1),)}, {"backbone": "other"}, {"protocol": "ood"}, {"method": "bar"},
     {"dataset": "other"}, {"suite": "other"}],
)  # fmt: skip
def test_different_cells_have_different_paths(change: dict[str, object]) -> None:
    assert toy_cell(**change).path != toy_cell().path


NAMES = st.one_of(
    st.text("aA_/.-, [=]é1f", max_size=12),
    st.text(max_size=200),
    st.from_regex(r"[a-z]{0,3}(-[0-9a-f]{8})?", fullmatch=True),
)


@given(NAMES, NAMES)
def test_different_names_have_different_files_on_every_system(one: str, other: str) -> None:
    """Files that differ only in capitals are one file on some systems; Unicode has several forms."""
    first, second = file_name(one), file_name(other)
    assert (first.lower() == second.lower()) == (one == other)
    assert re.fullmatch(r"[A-Za-z0-9_.,=\[\]+-]{1,140}", first) and first.strip(".") == first
    twice = file_name(first)
    assert twice == first or one != first  # a name is its own name, or was made from another


@pytest.mark.parametrize(
    ("one", "other"),
    [("a_b/c", "a/b_c"), ("a, b", "a,b"), ("A", "a"), ("é", "e\u0301"), ("x" * 300, "x" * 301), ("..", "_")],
)
def test_names_that_were_once_one_file_are_two(one: str, other: str) -> None:
    assert toy_cell(backbone=one).path.name.lower() != toy_cell(backbone=other).path.name.lower()
    digest = file_name(one)
    assert file_name(digest) != digest or one == digest


def test_no_name_leads_a_path_out_of_its_folder() -> None:
    cell = toy_cell(backbone="ViT-B-16//../../etc/passwd", dataset="..", overrides=(("init", "a/b: c"),))
    assert all(part not in ("..", "") and "/" not in part for part in cell.path.parts)
    assert len(cell.path.parts) == 5


def test_random_streams_depend_only_on_the_fields_they_should() -> None:
    cell = toy_cell()
    for other in (
        replace(cell, method="bar"),
        replace(cell, budget=9),
        replace(cell, overrides=(("a", 1.0),)),
    ):
        assert other.seed_for("batches") == cell.seed_for("batches")
        assert other.seed_for("augment") == cell.seed_for("augment")
    assert replace(cell, method="bar").seed_for("method") != cell.seed_for("method")
    assert replace(cell, budget=9).seed_for("method") == cell.seed_for("method")
    for purpose in ("batches", "augment", "method"):
        assert replace(cell, seed=2).seed_for(purpose) != cell.seed_for(purpose)
    assert len({cell.seed_for(p) for p in ("batches", "augment", "method")}) == 3
    assert all(0 <= toy_cell(seed=s).seed_for("method") < 2**63 for s in range(50))


def test_seeds_are_the_same_in_every_process_and_version() -> None:
    """The seeds are written out here: if they change, every record changes."""
    assert toy_cell().seed_for("batches") == 7391336095745060185


def test_a_grid_has_every_cell_once_and_groups_cells_by_data_set() -> None:
    common = {"suite": "s", "protocol": "few-shot", "backbone": "b", "shots": 1, "batch_size": 1}
    variants = {"zip": [(("rank", 1),), (("rank", 5),)]}
    cells = list(grid(["zip", "bar"], ["x", "y"], [1, 2], [10, 20], variants, **common))
    assert len(cells) == len(set(cells)) == 2 * 2 * 2 * 3
    assert [cell.dataset for cell in cells] == ["x"] * 12 + ["y"] * 12


@pytest.mark.parametrize(
    ("value", "text"), [(0.01, "0.01"), (5, "5"), (True, "true"), ("none", "none"), ((64, 32), "64x32")]
)
def test_values_are_shown_as_people_write_them(value: object, text: str) -> None:
    assert show(value) == text  # type: ignore[arg-type]
