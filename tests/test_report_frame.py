"""From records to data frames: no record is dropped silently, and different conditions are not mixed."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fabricate import SETS, failed, grid, raw, record, write

from bench.errors import UserError
from bench.record import Malformed, Record, read
from bench.report.frame import harmonic, load, missing_cells, points, select
from bench.report.scores import seedless
from bench.words import counted


def test_a_record_gives_one_row_per_test_set_and_one_per_checkpoint(tmp_path: Path) -> None:
    results = load(write(tmp_path, record(protocol="base-to-new")))
    assert list(results.cells["test"]) == ["base", "new"]
    assert list(results.cells["accuracy"]) == [
        pytest.approx(a) for a in record(protocol="base-to-new").accuracy.values()
    ]
    assert len(results.trace) == 2 * len(record().trace)
    assert results.trace["at"].max() == 5000


def test_a_damaged_record_is_skipped_with_a_warning_that_names_it(tmp_path: Path) -> None:
    write(tmp_path, record(seed=1))
    (tmp_path / "torn.json").write_text(json.dumps(record(seed=2).to_json())[:500])
    (tmp_path / "other.json").write_text('{"some": "file"}')
    with pytest.warns(UserWarning, match="skipped .*: damaged") as caught:
        results = load(tmp_path)
    assert ["torn.json" in str(w.message) for w in caught] == [False, True]
    assert len(results.cells) == 1
    assert {Path(path).name for path, _ in results.damaged} == {"torn.json", "other.json"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 7}, "schema is 7"),
        ({"status": "maybe"}, "field 'status': invalid enum value 'maybe'"),
        ({"accuracy": {"test": float("nan")}}, "JSON is malformed"),
        ({"accuracy": {"test": "high"}}, "accuracy.*: expected float, got str"),
        ({"accuracy": {}}, "names no test set"),
        ({"trace": []}, "trace is empty"),
        ({"trace": [{"queries": 0}]}, "'trace\\[0\\].spent' is missing"),
        ({"queries": "many"}, "field 'queries': expected int, got str"),
        ({"n_params": True}, "field 'n_params': expected int, got bool"),
        ({"cell": record().cell.as_dict() | {"protocol": "few"}}, "cell.protocol is 'few'"),
        ({"cell": record().cell.as_dict() | {"answers": "all"}}, "cell.answers is 'all', expected logits"),
        ({"cell": record().cell.as_dict() | {"answers": "probs:02"}}, "cell.answers is 'probs:02'"),
        ({"cell": {}}, "'cell.suite' is missing"),
    ],
)
def test_the_warning_says_which_field_has_the_wrong_type(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    assert Record.from_json(record().to_json()) == record()
    with pytest.raises(Malformed, match=said):
        read(raw(tmp_path, "one.json", change))


def test_the_same_cell_in_two_files_counts_once(tmp_path: Path) -> None:
    write(tmp_path, record())
    write(tmp_path / "zz-copy", record())
    warnings: list[str] = []
    results = load(tmp_path, warnings.append)
    assert len(results.cells) == 1
    assert "zz-copy" in warnings[0] and "the same cell as" in warnings[0]


def test_an_empty_folder_and_a_missing_folder(tmp_path: Path) -> None:
    results = load(tmp_path)
    assert results.cells.empty and results.trace.empty and points(results).empty
    with pytest.raises(UserError, match="no finished records"):
        select(results, suite="toy")
    with pytest.raises(UserError, match="no results folder"):
        load(tmp_path / "nowhere")


def test_failed_cells_are_missing_cells_with_their_reason(tmp_path: Path) -> None:
    write(tmp_path, *grid(("zip",)), failed(method="zip", dataset=SETS[0], seed=1))
    assert missing_cells(load(tmp_path)) == ["zip / toy-colors / seed 1 (failed: RuntimeError: out of luck)"]


def test_missing_cells_are_found_but_the_hand_template_needs_one_seed(tmp_path: Path) -> None:
    some = [r for r in grid(("blackvip", "zip")) if r.cell.seed != 3 or r.cell.method != "zip"]
    results = load(write(tmp_path, *some, *(record("manual", d, 1) for d in SETS)))
    assert missing_cells(results) == [f"zip / {d} / seed 3" for d in sorted(SETS)]
    none = replace(results, cells=results.cells[results.cells["row"] != "zip"])
    assert missing_cells(none) == []


def test_a_row_that_draws_by_chance_needs_every_seed_and_has_a_spread(tmp_path: Path) -> None:
    """Neither the hand template nor the ensemble asks a query, but the ensemble's templates are drawn."""
    drawn = [record("many", d, s, n_params=0, queries=0) for d in SETS for s in (1, 2, 3)]
    fixed = [record("manual", d, s) for d in SETS for s in (1, 2, 3)]
    results = load(write(tmp_path, *drawn, *fixed))
    assert seedless(results.cells) == {"manual"}
    one = replace(
        results, cells=results.cells[(results.cells["row"] != "many") | (results.cells["seed"] == 1)]
    )
    assert missing_cells(one) == [f"many / {d} / seed {s}" for d in sorted(SETS) for s in (2, 3)]
    same = load(write(tmp_path / "same", *(replace(r, accuracy={"test": 50.0}) for r in drawn)))
    assert seedless(same.cells) == {"many"}


@pytest.mark.parametrize(
    ("other", "flag"),
    [
        ({"budget": 500}, "--budget"),
        ({"backbone": "ViT-B-16/openai"}, "--backbone"),
        ({"suite": "zip"}, "--suite"),
    ],
)
def test_records_of_different_conditions_are_not_mixed(tmp_path: Path, other: dict, flag: str) -> None:
    results = load(write(tmp_path, record(), record(**other)))
    with pytest.raises(UserError, match=flag):
        select(results, protocol="few-shot")
    assert len(select(results, **other).cells) == 1


def test_records_with_other_weights_or_splits_are_not_compared(tmp_path: Path) -> None:
    hashes = record().hashes
    results = load(write(tmp_path, record("zip"), record("blackvip", hashes=replace(hashes, weights="x"))))
    with pytest.raises(UserError, match="different weights"):
        select(results)
    results = load(write(tmp_path, record("blackvip", hashes=replace(hashes, split="x"))))
    with pytest.raises(UserError, match="toy-colors seed 1 come from different splits"):
        select(results)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"hashes": replace(record().hashes, method="x")},
            "records of zip come from different versions of the",
        ),
        ({"params": {"rank": 3}}, "records of zip come from different values of its parameters"),
        ({"run": replace(record().run, precision="fp16-text")}, "different precisions"),
    ],
)
def test_the_seeds_of_a_row_must_be_made_in_the_same_way(
    change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    usual = replace(record().run, precision="float32")
    folder = write(tmp_path, record("zip", run=usual), record("zip", seed=2, **({"run": usual} | change)))
    with pytest.raises(UserError, match=says):
        select(load(folder))


def test_a_wrong_name_gets_a_suggestion(tmp_path: Path) -> None:
    results = load(write(tmp_path, *grid()))
    with pytest.raises(UserError, match="Did you mean 'zip'"):
        select(results, methods=("zipp",))


def test_every_protocol_gives_one_accuracy_per_run(tmp_path: Path) -> None:
    one = points(load(write(tmp_path / "b", record(protocol="base-to-new"))))
    end = record(protocol="base-to-new").accuracy
    assert one["accuracy"].iloc[-1] == pytest.approx(
        2 * end["base"] * end["new"] / (end["base"] + end["new"])
    )
    ood = record(protocol="ood", dataset="ImageNet", tests=("ImageNet", "ImageNetV2", "ImageNetA"))
    assert set(points(load(write(tmp_path / "o", ood)))["dataset"]) == {"ImageNetV2", "ImageNetA"}


def test_harmonic_mean() -> None:
    assert harmonic(60, 30) == pytest.approx(40)
    assert harmonic(0, 0) == 0


def test_reports_import_neither_torch_nor_ray() -> None:
    home = Path(__file__).parents[1]
    modules = sorted(p.stem for p in (home / "bench" / "report").glob("*.py") if p.stem != "__init__")
    assert len(modules) > 10
    code = f"""
import importlib, sys
for name in {modules}: importlib.import_module("bench.report." + name)
print(sorted(m for m in ("torch", "ray", "matplotlib", "scipy.stats") if m in sys.modules))
"""
    out = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_text_of_results_is_short_and_says_what_they_hold(tmp_path: Path) -> None:
    text = repr(load(write(tmp_path, *grid(), failed(method="zip", seed=9))))
    assert text.splitlines()[0] == f"Results: {counted(len(grid()), 'record')}, 1 failed cell"
    assert "  seeds: 1, 2, 3" in text and "  budget: 5000" in text and ".trace (" in text
    assert len(text.splitlines()) < 10 and max(map(len, text.splitlines())) < 100
