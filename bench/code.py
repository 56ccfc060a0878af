"""The hash of code: a record is current only if the code that made it is.

Comments and docstrings decide no number, so they are left out: a better sentence makes no record stale.
"""

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from bench.paths import PACKAGE

# What decides a record's numbers besides its method, its cards and the model's weights, which have hashes of
# their own: the box and what stands behind it, optimisers, streams, the model's path, images and draws.
DECISIVE = (
    "answered.py", "blackbox.py", "cell.py", "coarse.py", "deploy.py", "door.py", "exact.py", "loader.py",
    "meter.py", "method.py", "optim.py", "outcome.py", "predictor.py", "prompt.py", "scorer.py",
    "templates.py", "trace.py", "trial.py", "models/*.py", "data/crop.py", "data/images.py", "data/split.py",
    "data/task.py", "mini/captions.py", "mini/model.py", "mini/vocabulary.py",
)  # fmt: skip


def code_hash(package: Path = PACKAGE) -> str:
    """sha256 of the code of the harness that decides numbers."""
    files = {path for pattern in DECISIVE for path in package.glob(pattern)}
    return hash_of(sorted(files, key=lambda path: path.relative_to(package).as_posix()))


def hash_of(files: Iterable[Path]) -> str:
    """sha256 of what these files do, in this order."""
    digest = hashlib.sha256()
    for path in files:
        found = path.stat()
        digest.update(_essence(path, found.st_mtime_ns, found.st_size))
    return digest.hexdigest()


@cache
def _essence(path: Path, mtime: int, size: int) -> bytes:
    """A file's text without comments, docstrings and blank lines; all of it where it is no Python."""
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


Span = tuple[tuple[int, int], tuple[int, int]]  # (row from 1, byte column), to there


def _docstrings(tree: ast.Module) -> Iterable[Span]:
    """Where the docstrings stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                end = (first.end_lineno or first.lineno, first.end_col_offset or 0)
                yield (first.lineno, first.col_offset), end


def _comments(text: str) -> Iterable[Span]:
    """Where the comments stand."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            start = len(token.line[:column].encode())
            yield (row, start), (row, start + len(token.string.encode()))
