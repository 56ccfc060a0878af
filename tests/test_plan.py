"""From flags to cells."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.plan import make_cells, make_plan, parse_variants
from bench.record import Hashes
from bench.resolve import Resolved, params_in_force
from bench.store import Store
from bench.suite import Suite, Transfer

SUITE = Suite(
    name="mini", title="t", backbone="b", encoder="mini", shots=16, batch_size=32, seeds=(1, 2, 3),
    budget=5000, augment=False, datasets=("x", "y"), cross=Transfer("x"), methods={"zip": {"a": 0.1}},
)  # fmt: skip


def test_the_suite_gives_the_values_that_are_not_asked_for() -> None:
    cells = make_cells(SUITE, ["zip", "manual"])
    assert {(c.dataset, c.seed, c.budget, c.shots) for c in cells} == {("x", 1, 5000, 16), ("y", 1, 5000, 16)}
    assert len(cells) == 4
    assert len(make_cells(SUITE, ["zip"], seeds=(1, 2), budgets=(5, 10), shots=(1, 2), datasets=("x",))) == 8


def test_a_protocol_with_a_source_tunes_only_on_it() -> None:
    assert {c.dataset for c in make_cells(SUITE, ["zip"], protocol="cross-dataset")} == {"x"}
    with pytest.raises(UserError, match="leave --datasets out"):
        make_cells(SUITE, ["zip"], protocol="cross-dataset", datasets=("y",))
    with pytest.raises(UserError, match="ood"):
        make_cells(SUITE, ["zip"], protocol="ood")


def test_every_combination_of_values_is_a_row_and_the_suites_own_value_is_no_variant() -> None:
    rows = parse_variants(SUITE, ["zip"], ["zip.rank=1,5", "zip.clip=none,sqrt"])["zip"]
    assert rows == [(("rank", 1), ("clip", "none")), (("rank", 1),), (("clip", "none"),), ()]
    assert parse_variants(SUITE, ["zip"], ["zip.a=0.1"])["zip"] == [()]  # 0.1 is the suite's value
    assert parse_variants(SUITE, ["zip"], ["zip.a=0.01"])["zip"] == [(("a", 0.01),)]
    assert parse_variants(SUITE, ["zip", "manual"], [])["manual"] == [()]


def test_a_suite_may_hold_values_for_one_data_set() -> None:
    suite = replace(SUITE, methods={"zip": {"a": 0.1, "datasets": {"y": {"a": 0.2, "rank": 3}}}})

    def in_force(name: str) -> tuple[float, int]:
        params = params_in_force(suite, "zip", name)
        return params.a, params.rank

    assert (in_force("x"), in_force("y"), in_force("elsewhere")) == ((0.1, 5), (0.2, 3), (0.1, 5))
    assert parse_variants(suite, ["zip"], ["zip.a=0.1"])["zip"] == [(("a", 0.1),)]  # on y it is an override
    assert parse_variants(suite, ["zip"], ["zip.c=0.01"])["zip"] == [()]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"methods": ["zipp"]}, "Did you mean 'zip'"),
        ({"overrides": ["zip.rnak=1"]}, "Did you mean 'rank'"),
        ({"overrides": ["zip.rank=one"]}, "zip.rank takes an integer"),
        ({"overrides": ["rank=1"]}, "METHOD.NAME=VALUE"),
        ({"overrides": ["bar.step=1"]}, "'bar' is not one of --methods"),
        ({"budgets": (0,)}, "--budget 0: must be at least 1"),
        ({"shots": (0,)}, "--shots 0: must be at least 1"),
    ],
)
def test_the_error_for_bad_input_names_it(changes: dict[str, Any], says: str) -> None:
    asked: dict[str, Any] = {"methods": ["zip"], **changes}
    with pytest.raises(UserError, match=says):
        make_cells(SUITE, asked.pop("methods"), **asked)


def test_a_plan_counts_what_is_missing(tmp_path: Path) -> None:
    cells = make_cells(SUITE, ["zip", "manual"], overrides=["zip.rank=1,5"])
    work = [Resolved(cell, {}, (), Hashes(), tunes=cell.method != "manual") for cell in cells]
    plan = make_plan(work, Store(tmp_path))
    assert [(name, cells, queries) for name, cells, queries, _ in plan.rows()] == [
        ("zip (rank=1)", 2, 10_000), ("zip", 2, 10_000), ("manual", 2, 0),
    ]  # fmt: skip
    assert len(plan.todo(retry_stale=False)) == 6


def test_a_plan_names_answers_and_pixels_that_are_unusual(tmp_path: Path) -> None:
    cells = make_cells(SUITE, ["zip"], answers=("logits", "probs:2")) + make_cells(
        SUITE, ["zip"], answers=("label",), pixels_8bit=True
    )
    plan = make_plan([Resolved(cell, {}, (), Hashes()) for cell in cells], Store(tmp_path))
    names = [name for name, *_ in plan.rows()]
    assert names == ["zip", "zip, answers probs:2", "zip, answers label, 8-bit pixels"]
