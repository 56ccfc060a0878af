"""What a method's file says without being run is what its class says."""

from pathlib import Path

import pytest

from bench.declared import Declared, declared
from bench.plugins import METHODS, load_method


@pytest.mark.parametrize("name", METHODS.files())
def test_a_file_says_what_its_class_says(name: str) -> None:
    cls, said = load_method(name), declared(name)
    assert said.paper == cls.paper
    overridden = any(
        "needs" in vars(base) for base in cls.__mro__ if base.__module__.startswith("bench.methods")
    )
    assert said.least_answer == (None if overridden else cls.least_answer)


def test_a_link_is_the_first_address_of_the_docstring() -> None:
    assert declared("zip").link == "https://openreview.net/forum?id=2OegVbwvY2"
    assert declared("craft").link == "https://arxiv.org/abs/2402.04050"
    assert declared("random_search").link == ""


def test_of_a_file_that_cannot_be_read_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    (tmp_path / "broken.py").write_text("class (")
    (tmp_path / "odd.py").write_text("import x\n\nclass Odd(x.y):\n    least_answer = 'label'\n")
    assert declared("broken") == declared("odd") == declared("missing") == Declared()
