"""The audit finds mistakes in the papers' tables, and does not report what rounding explains."""

import pytest

from bench.report.audit import CELL, OF_AVERAGES, OF_CELLS, around, audit, harmonic_of, mean, mixed, table
from bench.report.render import render


def test_the_audit_finds_the_one_impossible_number() -> None:
    (wrong,) = [check for check in audit() if check.wrong]
    assert (wrong.source.file, wrong.method, wrong.what) == (
        "zip_iclr2025_base_to_new.csv",
        "bar",
        "harmonic mean of UCF101",
    )
    # 2 * 66.4 * 73.3 / (66.4 + 73.3) = 69.68; printed 67.7
    assert wrong.printed == 67.7 and wrong.should(CELL).startswith("69.7")


def test_conventions_of_the_printed_harmonic_averages() -> None:
    follows = {c.method: c.follows for c in audit() if c.what == "harmonic average"}
    assert follows == {
        "bar": [OF_AVERAGES, OF_CELLS],
        "blackvip": [OF_AVERAGES],
        "bptvlm": [OF_AVERAGES],
        "zip": [OF_CELLS],
    }
    (sentence,) = mixed(audit())
    assert "the rows follow different conventions" in sentence


def test_every_printed_average_and_harmonic_mean_is_checked() -> None:
    # few-shot: 5 averages; base-to-new: 4 rows x (2 averages + 13 harmonic cells + 1); ood: 12
    assert len(audit()) == 5 + 4 * 16 + 12


def test_intervals_by_hand() -> None:
    both = mean([around(1.0, 0.05), around(2.0, 0.05)])
    assert (both.low, both.high) == (pytest.approx(1.45), pytest.approx(1.55))
    h = harmonic_of(around(60, 0.05), around(30, 0.05))
    assert h.low == pytest.approx(2 * 59.95 * 29.95 / 89.9) and h.high == pytest.approx(
        2 * 60.05 * 30.05 / 90.1
    )
    assert around(1.0, 0.05).meets(around(1.1, 0.05))  # 1.05 may round up or down
    assert not around(1.0, 0.05).meets(around(1.11, 0.05))


def test_the_report_gives_the_correct_number() -> None:
    text = render(table(audit()), "markdown")
    assert "Cannot be right (1 of 81 numbers)" in text and "69.7" in text
