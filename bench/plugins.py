"""Finds plug-ins: methods, data-set cards and suites. Each is one file, and its name is the file's stem.

Each kind has a shipped folder. Two more places add to it: the user's own folder (./methods, ./datasets and
./suites in the current folder, or what BENCH_METHODS, BENCH_DATASETS and BENCH_SUITES name), and the folders
of installed packages. A package states its folders as entry points of the groups bench.methods,
bench.datasets and bench.suites; the value is the dotted name of the folder:

    [project.entry-points."bench.methods"]
    mushrooms = "bench_mushrooms.methods"

Nothing of a package is imported until one of its methods is loaded.
"""

import ast
import importlib
import importlib.util
import os
import sys
import warnings
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from bench.code import hash_of
from bench.errors import UserError, brief, did_you_mean
from bench.paths import PACKAGE, checkout, expanded

if TYPE_CHECKING:
    from bench.method import Method


@dataclass(frozen=True)
class Kind:
    """A kind of plug-in. where: its folder, in the checkout or, if installed from a wheel, in the package."""

    word: str
    where: str
    ending: str
    variable: str

    @property
    def shipped(self) -> Path:
        """The folder that comes with the package."""
        home = checkout()
        outside = home / self.where if home else PACKAGE / self.where
        return outside if outside.is_dir() else PACKAGE / self.where

    @property
    def place(self) -> Path:
        """The folder for the user's new files; without the variable it need not exist yet.

        Raises UserError if the variable names a folder that is missing.
        """
        named = os.environ.get(self.variable)
        if not named:
            return Path(self.where)
        folder = expanded(named)
        if not folder.is_dir():
            raise UserError(
                f"{self.variable} is {named!r}, but there is no such folder: create it or unset the variable."
            )
        return folder

    @property
    def own(self) -> Path | None:
        """The user's folder; None if there is none. Raises UserError as `place` does."""
        return self.place.resolve() if self.place.is_dir() else None

    def folders(self) -> list[Path]:
        """The user's folder, those of installed packages, and the shipped one, each once."""
        packages = _folders_of_packages(f"bench.{self.where}", tuple(sys.path))
        every = [self.own, *packages, self.shipped]
        return list(dict.fromkeys(folder.resolve() for folder in every if folder is not None))

    def found(self) -> dict[str, list[Path]]:
        """Name -> its files, sorted by name. Files whose names start with _ are helpers and not plug-ins."""
        found: dict[str, list[Path]] = {}
        for folder in self.folders():
            for path in folder.glob(f"*{self.ending}"):
                if not path.name.startswith("_"):
                    found.setdefault(path.stem, []).append(path)
        return dict(sorted(found.items()))

    def files(self) -> dict[str, Path]:
        """Name -> file, sorted by name, without the names that several files have (see `clashes`)."""
        return {name: paths[0] for name, paths in self.found().items() if len(paths) == 1}

    def _missing(self, name: str) -> str:
        """Why there is no plug-in of this name: it is a path, or no folder has such a file."""
        plain = Path(name).stem
        if name != plain and Path(name).suffix in ("", self.ending):
            return f"give its name alone, {brief(plain)}, and not a path."
        return f"no file {brief(f'{name}{self.ending}')} is in {' or '.join(map(str, self.folders()))}."

    def clashes(self) -> dict[str, str]:
        """For each name that several files have, one line that names them."""
        return {name: self._clash(name, paths) for name, paths in self.found().items() if len(paths) > 1}

    def _clash(self, name: str, paths: list[Path]) -> str:
        return f"several {self.word}s are called {name!r}: {' and '.join(map(str, paths))}. Rename one."

    def file(self, name: str) -> Path:
        """The file of one plug-in.

        Raises UserError if there is none (with the closest names), or if several files have the name.
        """
        found = self.found()
        if name not in found:
            raise UserError(
                f"no {self.word} {brief(name)}: {self._missing(name)} {did_you_mean(name, found)}"
            )
        path, *others = found[name]
        if others:
            raise UserError(self._clash(name, found[name]))
        if not path.is_file():
            raise UserError(f"{path} is no file, or a link to nothing: correct or remove it.")
        return path


@cache
def _folders_of_packages(group: str, path: tuple[str, ...]) -> tuple[Path, ...]:
    """The folders that installed packages state; a warning names each one that cannot be found.

    path: sys.path, on which the answer depends.
    """
    found = []
    for point in sorted(entry_points(group=group), key=lambda point: (point.name, point.value)):
        folder = _folder_of(point)
        if folder is None:
            owner = f"the package {point.dist.name}" if point.dist else "a package"
            warnings.warn(
                f"{owner} states {point.name} = {point.value!r} under {group}, but no installed package has "
                "such a folder: its plug-ins are left out.",
                stacklevel=2,
            )
        else:
            found.append(folder)
    return tuple(found)


def _folder_of(point: EntryPoint) -> Path | None:
    """The folder that 'package.folder' names; None if there is none. The package is not imported."""
    top, *rest = point.value.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    places = [Path(place, *rest) for place in (spec and spec.submodule_search_locations) or ()]
    return next((place for place in places if place.is_dir()), None)


METHODS = Kind("method", "methods", ".py", "BENCH_METHODS")
DATASETS = Kind("data set", "datasets", ".toml", "BENCH_DATASETS")
SUITES = Kind("suite", "suites", ".toml", "BENCH_SUITES")
KINDS = (METHODS, DATASETS, SUITES)

SCHEDULES = ("free", "budget")  # see bench.method.Method
PACKAGE_OF_METHODS = "bench.methods"  # methods/zip.py is imported as bench.methods.zip


def load_method(name: str, fresh: bool = False) -> "type[Method]":
    """The only Method class of methods/{name}.py. Raises UserError if it is missing or malformed.

    fresh: import the file, and the files that it imports, again. Then nothing that an earlier cell has left
    in their classes or modules remains.
    """
    load = _load.__wrapped__ if fresh else _load
    return load(METHODS.file(name), method_hash(name))


def method_hash(name: str) -> str:
    """sha256 of the code in a method's file and in all files of the methods' folders that it imports.

    A record with another hash is stale. This function only reads text, so reports can run without torch.
    """
    return hash_of(closure(METHODS.file(name)))


def closure(path: Path) -> list[Path]:
    """A file, then all files of the methods' folders that it imports, directly or not, sorted by name.

    Raises UserError if a name that is imported stands for two files.
    """
    found: set[Path] = set()
    todo, folders = [path], METHODS.folders()
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            for name in _imported(one):
                places = [place for folder in folders if (place := folder / f"{name}.py").is_file()]
                if len(places) > 1:
                    both = " and ".join(map(str, places))
                    raise UserError(f"{one} imports {name!r}, which is in two folders: {both}. Rename one.")
                todo += places
    return [path, *sorted(found - {path}, key=lambda other: other.name)]


def _imported(path: Path) -> set[str]:
    """The names of the methods' modules that a file imports; none for a file that does not parse."""
    return _imported_at(path, path.stat().st_mtime_ns, path.stat().st_size)


@cache
def _imported_at(path: Path, mtime: int, size: int) -> set[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return set()
    prefix = f"{PACKAGE_OF_METHODS}."
    dotted = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            dotted += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = ".".join(filter(None, (PACKAGE_OF_METHODS if node.level else "", node.module)))
            dotted += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return {name.removeprefix(prefix).split(".")[0] for name in dotted if name.startswith(prefix)}


@cache
def _load(path: Path, digest: str) -> "type[Method]":
    """The Method class in a file. digest: the hash of the file and of the files that it imports."""
    module = _import(path)
    from bench.method import Method  # imports torch, which the functions for names do not need

    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__
    ]
    public = [cls for cls in own if not cls.__name__.startswith("_")]
    if len(public) != 1:
        names = ", ".join(cls.__name__ for cls in public) or "none"
        raise UserError(
            f"{path} has to define one Method class, but it defines {names}. (Start a helper's name with _.)"
        )
    _check_class(public[0], path)
    _check_bases(public[0], path)
    return public[0]


def _import(path: Path) -> ModuleType:
    """Import a method's file again: this file, and the files that it imports, may have changed."""
    package = importlib.import_module(PACKAGE_OF_METHODS)
    package.__path__ = [str(folder) for folder in METHODS.folders()]
    for file in closure(path):
        sys.modules.pop(f"{PACKAGE_OF_METHODS}.{file.stem}", None)
    importlib.invalidate_caches()
    # Python recognises changed files by whole seconds only, so bytecode of a file could be out of date.
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    from bench.isolation import unchanged  # imports torch, which the functions for names do not need

    try:
        with unchanged(f"{path}: while it was imported,"):
            return importlib.import_module(f"{PACKAGE_OF_METHODS}.{path.stem}")
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.dont_write_bytecode = before


def _check_bases(cls: "type[Method]", path: Path) -> None:
    """Raises UserError if a base class is in a file that `method_hash` does not cover."""
    covered = {f"{PACKAGE_OF_METHODS}.{file.stem}" for file in closure(path)}
    for base in cls.__mro__:
        if base.__module__ not in covered | {"bench.method", "abc", "builtins"}:
            raise UserError(
                f"{path}: {cls.__name__} builds on {base.__name__} of {base.__module__}. Move it to a file "
                f"in the methods' folder and write `from {PACKAGE_OF_METHODS}.FILE import {base.__name__}`."
            )


def _check_class(cls: "type[Method]", path: Path) -> None:
    """Raises UserError that names what the class lacks or what is wrong."""
    from bench.access import ACCESS, LANGUAGE_MODEL, WHITE_BOX

    lacking = [name for name in ("title", "access") if not hasattr(cls, name)]
    lacking += sorted(cls.__abstractmethods__)
    if lacking:
        raise UserError(f"{path}: class {cls.__name__} lacks {', '.join(lacking)}; see bench/method.py.")
    levels = (*ACCESS.values(), WHITE_BOX, LANGUAGE_MODEL)
    if isinstance(cls.access, str):
        raise UserError(f"{path}: access has to be a tuple: write ({cls.access!r},).")
    for level in cls.access:
        if level not in levels:
            raise UserError(f"{path}: no access {level!r}. {did_you_mean(level, levels)}")
    if not (isinstance(cls.title, str) and cls.title.isprintable() and cls.title.strip()):
        raise UserError(f"{path}: title is {cls.title!r}, but has to be one line of text.")
    if cls.schedule not in SCHEDULES:
        raise UserError(f"{path}: schedule is {cls.schedule!r}, but has to be {' or '.join(SCHEDULES)}.")
    _check_params(cls.Params, path)
    if LANGUAGE_MODEL in cls.access and "model" not in {one.name for one in fields(cls.Params)}:
        raise UserError(f'{path}: a method that asks a language model has a parameter model: str = "".')


def _check_params(params: type, path: Path) -> None:
    """Raises UserError unless every parameter has a default that a record can store."""
    frozen = isinstance(params, type) and is_dataclass(params) and params.__dataclass_params__.frozen  # type: ignore[attr-defined]
    if not frozen:
        raise UserError(
            f"{path}: Params has to be a frozen dataclass: write @dataclass(frozen=True) above it."
        )
    for one in fields(params):
        if not _storable(one.default):
            raise UserError(
                f"{path}: the parameter {one.name!r} needs a default that is a finite number, true or false, "
                "text, or a tuple of numbers."
            )


def _storable(default: object) -> bool:
    if type(default) is tuple:
        return bool(default) and all(type(part) in (int, float) and _storable(part) for part in default)
    return type(default) in (bool, int, str) or (type(default) is float and isfinite(default))
