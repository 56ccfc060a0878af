"""Records image by image: the test of two methods by hand, and one record's classes and confusions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fabricate import grid, outcome, record, with_outcomes, write
from PIL import Image

from bench.data.draft import Wish, draft
from bench.errors import UserError
from bench.outcome import bits
from bench.record import Record
from bench.report.class_names import class_names
from bench.report.frame import load, select
from bench.report.pairs import Paired, paired, pairs_table
from bench.report.single import record_tables

A = [True] * 6 + [False] * 4
B = [True] * 2 + [False] * 4 + [True] + [False] * 3


def answered(method: str, seed: int, correct: list[bool], **kwargs: object) -> Record:
    return record(method, seed=seed, outcomes={"test": outcome(correct)}, **kwargs)  # type: ignore[arg-type]


def test_the_bits_of_a_record_are_read_in_order() -> None:
    for correct in (A, B, [True] * 8, [False, True, True]):
        assert bits(outcome(correct)).tolist() == correct


def test_mcnemars_exact_test_by_hand() -> None:
    counts = paired(np.array(A), np.array(B))
    assert counts == Paired(both=2, first=4, second=1, neither=3)
    assert counts.p == pytest.approx(2 * (1 + 5) / 2**5)  # 4 or more of 5 coins, on either side
    assert Paired(5, 0, 0, 2).p == 1.0 and Paired(0, 10, 0, 0).p == pytest.approx(2 / 2**10)


def test_each_seed_has_its_row_and_all_seeds_have_their_sum(tmp_path: Path) -> None:
    write(tmp_path, *(answered("zip", seed, A) for seed in (1, 2)))
    write(tmp_path, *(answered("blackvip", seed, B) for seed in (1, 2)))
    results = select(load(tmp_path))
    table = pairs_table(results, ("zip", "blackvip"))
    assert [column.name for column in table.columns][1:3] == ["Only ZIP", "Only BlackVIP"]
    rows = [(row.lead, [entry.text for entry in row.entries]) for row in table.blocks[0].rows]
    assert rows == [
        (("colors", "1"), ["2", "4", "1", "3", "0.38"]),
        (("colors", "2"), ["2", "4", "1", "3", "0.38"]),
        (("colors", "all"), ["4", "8", "2", "6", "0.11"]),
    ]
    assert "does not cover the randomness of training" in table.notes[1]
    swapped = pairs_table(results, ("blackvip", "zip")).blocks[0].rows[0]
    assert [entry.text for entry in swapped.entries[1:3]] == ["1", "4"]


def test_the_hand_template_is_compared_with_every_seed(tmp_path: Path) -> None:
    write(tmp_path, *(answered("zip", seed, A) for seed in (1, 2)), answered("manual", 1, B))
    rows = pairs_table(select(load(tmp_path))).blocks[0].rows
    assert [row.lead[1] for row in rows] == ["1", "2", "all"]


def test_both_halves_of_base_to_new_are_test_sets(tmp_path: Path) -> None:
    records = [with_outcomes(one) for one in grid(("zip", "blackvip"), seeds=(1,), protocol="base-to-new")]
    rows = pairs_table(select(load(write(tmp_path, *records)))).blocks[0].rows
    assert [row.lead[0] for row in rows][:2] == ["clocks, base", "clocks, new"] and len(rows) == 6


def test_what_cannot_be_compared_is_one_line(tmp_path: Path) -> None:
    results = select(load(write(tmp_path / "three", *grid())))
    with pytest.raises(UserError, match=r"the records hold 3 .*choose two, e\.g\. --methods zip,blackvip"):
        pairs_table(results)
    with pytest.raises(UserError, match="does not say which images of test were answered correctly"):
        pairs_table(select(results, methods=("zip", "blackvip")))
    write(tmp_path / "seeds", *(with_outcomes(record(m, seed=s)) for m, s in (("zip", 1), ("blackvip", 2))))
    with pytest.raises(UserError, match="2 cells are missing"):
        pairs_table(select(load(tmp_path / "seeds")))
    with pytest.raises(UserError, match="share no data set and seed"):
        pairs_table(select(load(tmp_path / "seeds")), partial=True)
    write(tmp_path / "sizes", answered("zip", 1, A), answered("blackvip", 1, A[:-1]))
    with pytest.raises(UserError, match="different numbers of images"):
        pairs_table(select(load(tmp_path / "sizes")))


def test_one_record_shows_its_classes_from_the_worst_and_its_confusions() -> None:
    # classes 0 to 3 have 3, 3, 2 and 2 images, of which 2, 2, 1 and 1 are right
    made = answered("zip", 1, A, accuracy={"test": 60.0}, n_test={"test": 10})
    classes, confusions = record_tables(made)
    assert [(row.lead[0], row.entries[0].text) for row in classes.blocks[0].rows] == [
        ("class 2", "50.0"), ("class 3", "50.0"), ("class 0", "66.7"), ("class 1", "66.7"),
    ]  # fmt: skip
    assert confusions.blocks[0].rows[0].lead == ("class 0", "class 1")
    assert classes.notes[0] == "Accuracy: 60.00 % of 10 images."
    assert not any("calibration" in note for note in classes.notes)
    assert "Sent: soft context. Answered: top. Runs on: a provider's consent." in classes.notes


def test_calibration_is_shown_where_the_record_has_it() -> None:
    found = replace(outcome(A), calibration_error=3.14159, log_loss=0.42)
    made = record(outcomes={"test": found}, answers="probs")
    (classes, _) = record_tables(made)
    assert (
        "Expected calibration error: 3.14 % (15 bins of confidence). Mean log loss: 0.420." in classes.notes
    )
    assert "The black box: answers probs." in classes.notes


def test_classes_have_the_names_of_the_card() -> None:
    digits = class_names("few-shot", "mini-digits", "test", 10).names
    assert digits[:2] == ("zero", "one")
    assert class_names("base-to-new", "mini-digits", "new", 5).names == digits[5:]
    numbered = class_names("few-shot", "mini-digits", "test", 4)
    assert numbered.names[0] == "class 0" and "has another number of classes" in numbered.why


def test_classes_of_ones_own_data_set_have_the_names_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`bench new-dataset` writes the number of classes to the card, and their names to the split file."""
    (tmp_path / "cards").mkdir()
    monkeypatch.setenv("BENCH_DATASETS", str(tmp_path / "cards"))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    folder, pixels = tmp_path / "data" / "birds", np.zeros((8, 8, 3), np.uint8)
    for name in ("wren", "great_tit"):
        for i in range(4):
            pixels[:] += 1  # no two images are the same
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    draft(Wish(folder, "birds"), tmp_path / "data")
    made = record(dataset="birds", outcomes={"test": outcome([True, False], classes=2)})
    classes, _ = record_tables(made)
    assert [row.lead[0] for row in classes.blocks[0].rows] == ["wren", "great_tit"]
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    numbered, _ = record_tables(made)
    assert [row.lead[0] for row in numbered.blocks[0].rows] == ["class 1", "class 0"]
    assert "Classes are numbered because their names are in the files of birds" in " ".join(numbered.notes)
    monkeypatch.setenv("BENCH_DATASETS", str(tmp_path))
    unknown = class_names("few-shot", "birds", "test", 2).why
    assert unknown.startswith("Classes are numbered because the card of birds")


def test_a_record_without_outcomes_says_how_to_get_them() -> None:
    with pytest.raises(UserError, match="made before records did"):
        record_tables(record())
