"""What a method's file says about itself, read without running it: reports need it, and do without torch."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.access import LEAST_ANSWER
from bench.errors import UserError
from bench.plugins import METHODS, closure

BASE = "Method"  # bench.method.Method


@dataclass(frozen=True)
class Declared:
    """paper: as its class cites it. link: the first address in the file's docstring, or ''.

    least_answer: the least kind of answer that it needs; None if only its code can say, or if the file cannot
    be read in this way.
    """

    paper: str = ""
    link: str = ""
    least_answer: str | None = None


def declared(method: str) -> Declared:
    """What the file of a method says; nothing if this installation does not have it."""
    try:
        files = closure(METHODS.file(method))
    except UserError:
        return Declared()
    return _declared(tuple((path, path.stat().st_mtime_ns) for path in files))


@cache
def _declared(files: tuple[tuple[Path, int], ...]) -> Declared:
    """files: the method's file and those that it imports, each with its time of change."""
    try:
        trees = [ast.parse(path.read_bytes()) for path, _ in files]
    except (SyntaxError, ValueError):
        return Declared()
    known = {one.name: one for tree in reversed(trees) for one in _classes(tree)}
    public = [one.name for one in _classes(trees[0]) if not one.name.startswith("_")]
    line = next(filter(None, (_bodies(name, known) for name in public)), [])
    link = re.search(r"https://[^\s,;)]*[^\s,;).]", ast.get_docstring(trees[0]) or "")
    said = {name: value for body in reversed(line) for name, value in _constants(body)}
    methods = {one.name for body in line for one in body if isinstance(one, ast.FunctionDef)}
    least = None if not line or "needs" in methods else str(said.get("least_answer", LEAST_ANSWER))
    return Declared(str(said.get("paper", "")), link[0] if link else "", least)


def _classes(tree: ast.Module) -> Iterator[ast.ClassDef]:
    return (node for node in tree.body if isinstance(node, ast.ClassDef))


def _bodies(name: str, known: dict[str, ast.ClassDef]) -> list[list[ast.stmt]]:
    """The bodies of a class and of its bases up to Method; none if these are not one line of plain names."""
    found: list[list[ast.stmt]] = []
    while name != BASE:
        bases = known[name].bases if name in known else []
        if len(bases) != 1 or not isinstance(bases[0], ast.Name) or len(found) > len(known):
            return []
        found.append(known[name].body)
        name = bases[0].id
    return found


def _constants(body: list[ast.stmt]) -> Iterator[tuple[str, object]]:
    """The names of a class that are set to a constant."""
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            yield from ((name, node.value.value) for name in names)
