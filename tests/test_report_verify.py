"""The check describes every fault of a submission; a submission without faults passes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import fabricate
import pandas as pd
import pytest
from fabricate import as_run, failed, outcome, with_outcomes, write

from bench.errors import UserError
from bench.record import LATER, Confusion, Hashes, Outcome, Point, Record
from bench.report.export import export, tidy
from bench.report.faults import faults_of
from bench.report.frame import load
from bench.report.kinds import Told
from bench.report.verify import read
from bench.resolve import Known, known_of

KNOWN = Known(Hashes(method="m" * 64, card="c" * 64, suite="s" * 64))
CALIBRATED = {"calibration_error": 5.0, "log_loss": 1.0}


def known(record: Record) -> Known:
    return KNOWN


def verify(folder: Path) -> list[str]:
    return list(read(folder, known).faults)


def record(*arguments: Any, **changes: Any) -> Record:
    """A sound record, with changes."""
    place = {name: changes.pop(name) for name in ("seed", "protocol", "answers") if name in changes}
    return replace(as_run(fabricate.record(*arguments, **place)), **changes)


def grid(*arguments: Any, **what: Any) -> list[Record]:
    return [as_run(one) for one in fabricate.grid(*arguments, **what)]


def test_records_without_faults_pass(tmp_path: Path) -> None:
    assert verify(write(tmp_path, *grid(), *grid(protocol="base-to-new"))) == []


def trace_with(index: int, **changes: Any) -> tuple[Point, ...]:
    trace = list(record().trace)
    trace[index] = replace(trace[index], **changes)
    return tuple(trace)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"queries": 5004}, "5004 queries were spent, but the budget is 5000"),
        ({"image_queries": 160_001}, "at most 160000 are possible with 32 images per query"),
        ({"trace": trace_with(0, queries=1, spent=1)}, "does not start with the untuned prompt"),
        ({"trace": trace_with(2, queries=500)}, "the trace goes from checkpoint 500 to 50"),
        ({"trace": trace_with(3, spent=0)}, "the trace's spent falls from 20 to 0 at checkpoint 50"),
        ({"trace": trace_with(1, spent=11)}, "11 queries were spent by checkpoint 10"),
        ({"trace": trace_with(-1, queries=6000)}, "checkpoint 6000 lies beyond the budget of 5000"),
        ({"trace": trace_with(3, accuracy={"other": 1.0})}, "checkpoint 50 has scores of other test sets"),
        ({"accuracy": {"test": 99.0}}, "accuracy on test is 99.0, but the trace ends at"),
        ({"accuracy": {"test": 101.0}}, "must be between 0 and 100 %"),
        ({"accuracy": {"test": 51.234}}, "51.234 %, which is not a whole number of 1000 test images"),
        ({"n_test": {}}, "n_test does not give the number of test images of test"),
        ({"hashes": replace(record().hashes, method="0")}, "another version of method 'zip'"),
        ({"hashes": replace(record().hashes, weights="")}, "hashes.weights is missing"),
    ],
)
def test_each_fault_is_described(changes: dict[str, Any], said: str) -> None:
    assert faults_of(record(), KNOWN) == []
    assert any(said in fault for fault in faults_of(record(**changes), KNOWN)), faults_of(
        record(**changes), KNOWN
    )


def outcome_with(**changes: Any) -> dict[str, Outcome]:
    """The outcome of a record of 60 % on 10 images, with changes."""
    return {"test": replace(outcome([True] * 6 + [False] * 4), **CALIBRATED | changes)}


def small(**changes: Any) -> Record:
    """A record on 10 images. Classes 0 to 3 have 3, 3, 2 and 2 images, of which 1, 1, 1 and 1 are wrong."""
    scores = {"test": 60.0}
    trace = tuple(replace(point, accuracy=scores) for point in record().trace)
    return record(**{"accuracy": scores, "n_test": {"test": 10}, "trace": trace} | changes)


PAIRS = outcome_with()["test"].confusions


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"deploy_queries": -1}, "deploy_queries is -1"),
        (
            {"cell": replace(record().cell, answers="label")},
            "answered with label, but method 'zip' reads top",
        ),
        ({"outcomes": {"other": outcome_with()["test"]}}, "outcomes has other test sets than accuracy"),
        ({"outcomes": outcome_with(right=(2, 2, 1))}, "right has 3 classes, but images has 4"),
        ({"outcomes": outcome_with(right=(4, 2, 0, 0))}, "more images answered correctly than images"),
        ({"outcomes": outcome_with(correct="//")}, "correct is not base64"),
        ({"outcomes": outcome_with(correct="/w==")}, "correct has 1 bytes, but 10 images need 2"),
        (
            {"outcomes": outcome_with(correct="/wA=")},
            "8 images are marked correct, but the classes sum up to 6",
        ),
        (
            {"outcomes": outcome_with(correct="/wA=")},
            "8 of 10 images are marked correct, but the accuracy is",
        ),
        ({"n_test": {"test": 5}}, "the classes have 10 images, but n_test says 5"),
        ({"outcomes": outcome_with(confusions=(Confusion(0, 0, 1),))}, "not between two of the classes"),
        ({"outcomes": outcome_with(confusions=(Confusion(0, 4, 1),))}, "not between two of the classes"),
        ({"outcomes": outcome_with(confusions=(*PAIRS, PAIRS[0]))}, "the confusions are not different"),
        ({"outcomes": outcome_with(confusions=(Confusion(0, 1, 2),))}, "class 0 has more confusions than"),
        ({"outcomes": outcome_with(confusions=PAIRS[:2])}, "have 2 images, but 4 were answered wrongly"),
        ({"outcomes": outcome_with(calibration_error=101.0)}, "must be between 0 and 100 %"),
        ({"outcomes": outcome_with(log_loss=-1.0)}, "log_loss is -1.0"),
        (
            {
                "outcomes": outcome_with(calibration_error=1.0),
                "cell": replace(record().cell, answers="top:3"),
            },
            "top:3 answers have no calibration error",
        ),
    ],
)
def test_each_fault_of_single_images_is_described(changes: dict[str, Any], said: str) -> None:
    assert faults_of(small(outcomes=outcome_with()), KNOWN) == []
    faults = faults_of(small(**{"outcomes": outcome_with()} | changes), KNOWN)
    assert any(said in fault for fault in faults), faults


def test_records_without_outcomes_are_valid(tmp_path: Path) -> None:
    old = {name: value for name, value in small().to_json().items() if name not in LATER}
    assert faults_of(Record.from_json(old), KNOWN) == []
    coarse = [with_outcomes(one) for one in grid(("zip", "manual"), answers="top:3")]
    assert verify(write(tmp_path, *coarse)) == []


def test_the_check_asks_for_unknown_methods_and_cards() -> None:
    faults = faults_of(record("mine", "toy-new"), Known(Hashes()))
    assert faults == [
        "no method 'mine' here: add its file to the submission",
        "no card 'toy-new' here: add its file to the submission",
        "no suite 'toy' here: add its file to the submission",
    ]


def test_the_message_names_the_file(tmp_path: Path) -> None:
    write(tmp_path, failed(seed=1), record(seed=2))
    (tmp_path / "torn.json").write_text("{")
    write(tmp_path / "zz-copy", record(seed=2))
    faults = verify(tmp_path)
    assert any("torn.json: damaged" in f for f in faults)
    assert any("seed1.json: the cell failed: RuntimeError: out of luck" in f for f in faults)
    assert any("zz-copy" in f and "the same cell as" in f for f in faults)


def test_the_message_lists_missing_seeds(tmp_path: Path) -> None:
    records = [r for r in grid(("zip",)) if (r.cell.dataset, r.cell.seed) != ("toy-digits", 3)]
    (fault,) = verify(write(tmp_path, *records))
    assert (
        fault == "seeds are incomplete: toy / few-shot / budget 5000 / zip / toy-digits / seed 3 is missing"
    )


def test_nothing_to_verify_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no records at"):
        verify(tmp_path)


def test_the_hashes_of_shipped_methods_are_known() -> None:
    assert len(known_of(record("manual")).hashes.method) == 64
    assert known_of(record("no-such-method")).hashes.method == ""


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_export_is_a_table_of_cells_and_one_of_traces(tmp_path: Path, form: str) -> None:
    results = load(write(tmp_path / "r", *grid(protocol="base-to-new")))
    paths = export(results, tmp_path / "all", form)
    assert paths == export(results, tmp_path / f"all.{form}")
    assert [path.name for path in paths] == [f"all-cells.{form}", f"all-traces.{form}"]
    cells, traces = (pd.read_csv(path) if form == "csv" else pd.read_parquet(path) for path in paths)
    assert (len(cells), len(traces)) == (len(results.cells), len(results.trace))
    for back, made in zip((cells, traces), tidy(results), strict=True):
        assert back["accuracy"].sum() == pytest.approx(made["accuracy"].sum())
        assert list(back.columns) == list(made.columns)


def test_an_export_to_an_unknown_format_is_refused(tmp_path: Path) -> None:
    results = load(write(tmp_path, record()))
    with pytest.raises(UserError, match=r"end its name in \.csv or \.parquet"):
        export(results, tmp_path / "all.xlsx")


@pytest.mark.parametrize(
    ("flipped", "precision", "said"),
    [
        (0.5, "float32", "run.flipped is 0.5, but run.precision is 'float32'"),
        (0.5, "fp16-pixels", "run.precision is 'fp16-pixels'"),
        (101.0, "fp16-scores", "run.flipped is 101.0, but must be between 0 and 100 %"),
        (0.5, "fp16-text+fp16-scores", ""),
        (None, "float32", ""),
    ],
)
def test_rough_scores_need_the_precision_of_rough_scores(
    flipped: float | None, precision: str, said: str
) -> None:
    made = record()
    changed = replace(made, run=replace(made.run, flipped=flipped, precision=precision))
    found = [fault for fault in faults_of(changed, KNOWN) if "flipped" in fault]
    assert len(found) == bool(said) and said in "".join(found)


def test_lines_of_one_kind_are_counted_and_told_up_to_a_limit() -> None:
    lines: list[str] = []
    told = Told(lines.append, 2)
    for seed in range(5):
        told.add(f"runs/a-seed{seed}.json: {100 + seed} queries were spent, but the budget is 100")
    told.add("runs/b.json: made with another version of method 'zip': run the cell again with this version")
    told.add("seeds are incomplete: mini / few-shot / budget 5 / zip / digits / seed 1 is missing")
    assert len(lines) == 4
    assert list(told.summary()) == [
        "5 x … queries were spent, but the budget is …",
        "1 x made with another version of method …: run the cell again with this version",
        "1 x seeds are incomplete",
        "3 lines not shown: --all shows every line",
    ]
    everything = Told(lines.append, None)
    for seed in range(5):
        everything.add(f"runs/a-seed{seed}.json: the trace is empty")
    assert len(lines) == 9 and list(everything.summary()) == []
