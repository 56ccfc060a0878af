"""The hash of code. A record is current only if it was made with the current code.

Comments and docstrings do not decide numbers. The hash ignores them, so they can change freely.
"""

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from bench.paths import PACKAGE

# The files that decide a record's numbers: the box and the objects behind it, optimisers, random streams, the
# computation of the model, images and draws. The method, the cards and the weights have their own hashes.
DECISIVE = (
    "answered.py", "blackbox.py", "cell.py", "coarse.py", "deploy.py", "door.py", "exact.py", "loader.py",
    "meter.py", "method.py", "optim.py", "outcome.py", "pixels.py", "precision.py", "predictor.py",
    "prompt.py", "remembered.py", "scorer.py", "templates.py", "trace.py", "trial.py", "models/*.py",
    "data/crop.py", "data/images.py", "data/split.py", "data/task.py", "mini/captions.py", "mini/model.py",
    "mini/vocabulary.py",
)  # fmt: skip


def code_hash(package: Path = PACKAGE) -> str:
    """sha256 of the harness's code that decides numbers."""
    files = {path for pattern in DECISIVE for path in package.glob(pattern)}
    return hash_of(sorted(files, key=lambda path: path.relative_to(package).as_posix()))


def hash_of(files: Iterable[Path]) -> str:
    """sha256 of the code in these files, in this order."""
    digest = hashlib.sha256()
    for path in files:
        found = path.stat()
        digest.update(_essence(path, found.st_mtime_ns, found.st_size))
    return digest.hexdigest()


@cache
def _essence(path: Path, mtime: int, size: int) -> bytes:
    """A file's text without comments, docstrings and blank lines; the whole text if it is not Python."""
    text = path.read_bytes()
    try:
        lines = text.decode().splitlines()
        spans = [*_docstrings(ast.parse(text)), *_comments(text.decode())]
    except (SyntaxError, ValueError, tokenize.TokenError):
        return text
    for (row, column), (last, end) in sorted(spans, reverse=True):
        kept = lines[row - 1].encode()[:column] + lines[last - 1].encode()[end:]
        lines[row - 1 : last] = [kept.decode()]
    return "\n".join(line.rstrip() for line in lines if line.strip()).encode()


Span = tuple[tuple[int, int], tuple[int, int]]  # start and end, each as (row from 1, byte column)


def _docstrings(tree: ast.Module) -> Iterable[Span]:
    """The places of the docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                end = (first.end_lineno or first.lineno, first.end_col_offset or 0)
                yield (first.lineno, first.col_offset), end


def _comments(text: str) -> Iterable[Span]:
    """The places of the comments."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            start = len(token.line[:column].encode())
            yield (row, start), (row, start + len(token.string.encode()))
