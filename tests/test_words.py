"""One function says every number of things."""

import pytest

from bench.words import absent, counted, in_dollars


@pytest.mark.parametrize(
    ("n", "noun", "said"),
    [
        (1, "shot", "1 shot"),
        (16, "shot", "16 shots"),
        (0, "record", "0 records"),
        (5000, "query", "5,000 queries"),
        (1, "image-query", "1 image-query"),
        (2, "class", "2 classes"),
        (2, "day", "2 days"),
    ],
)
def test_a_noun_follows_its_number(n: int, noun: str, said: str) -> None:
    assert counted(n, noun) == said


def test_a_verb_follows_its_number() -> None:
    assert (absent(1), absent(2)) == ("1 cell is missing", "2 cells are missing")


def test_dollars_have_no_exponent_and_no_zeros_at_their_end() -> None:
    said = {1000.0: "$1,000", 1.0: "$1", 0.1: "$0.1", 0.001: "$0.001", 1e-7: "$0.0000001", 0.0: "$0"}
    assert {amount: in_dollars(amount) for amount in said} == said
