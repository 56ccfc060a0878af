"""A record is current only if its code is current: an edit of code that decides numbers changes the hash."""

import shutil
from pathlib import Path

import pytest

from bench.code import DECISIVE, code_hash, hash_of
from bench.paths import PACKAGE

FILES = sorted(path.relative_to(PACKAGE).as_posix() for one in DECISIVE for path in PACKAGE.glob(one))
# The numbers of a record pass through these files: none of them may be missing from the hash.
PATHS = (
    "optim.py",
    "blackbox.py",
    "predictor.py",
    "trial.py",
    "scorer.py",
    "models/fast.py",
    "data/images.py",
)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package's code."""
    return Path(
        shutil.copytree(PACKAGE, tmp_path / "bench", ignore=shutil.ignore_patterns("*.pyc", "*.saf*"))
    )


@pytest.mark.parametrize("name", FILES)
def test_a_changed_number_changes_the_hash(name: str, package: Path) -> None:
    before = code_hash(package)
    assert before == code_hash()
    path = package / name
    path.write_text(path.read_text() + "\nSIGN = -1\n")
    assert code_hash(package) != before


def test_the_hash_covers_every_file_that_numbers_pass_through() -> None:
    assert set(PATHS) <= set(FILES)


def test_an_edited_comment_or_docstring_does_not_change_the_hash(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    head = 'def f(x: str = "# no comment") -> str:'
    code = head + '\n    {doc}\n    return x + "é"  {note}\n\n{gap}A = """data"""\n'
    hashes = set()
    for words in (
        {"doc": '"""What it does."""', "note": "# why", "gap": ""},
        {"doc": '"""What it does,\n\n    and é more."""', "note": "", "gap": "\n\n# a comment\n"},
    ):
        path.write_text(code.format(**words), encoding="utf-8")
        hashes.add(hash_of([path]))
    assert len(hashes) == 1
    path.write_text(path.read_text(encoding="utf-8").replace("data", "date"), encoding="utf-8")
    assert hash_of([path]) not in hashes


def test_a_file_that_is_not_python_is_hashed_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    hashes = set()
    for text in (b"def (", b"def (  # x", b"\xff\xfe"):
        path.write_bytes(text)
        hashes.add(hash_of([path]))
    assert len(hashes) == 3
