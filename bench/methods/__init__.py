"""Finds and loads the methods: one file each in methods/, and in the folder that BENCH_METHODS names."""

import hashlib
import importlib.util
import os
import re
import sys
from dataclasses import fields, is_dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cell import Value
from bench.errors import UserError, did_you_mean
from bench.paths import checkout

if TYPE_CHECKING:
    from bench.method import Method

BUILDS_ON = re.compile(rb'load_method\("(\w+)"\)')


def folders() -> list[Path]:
    """Where methods lie, the user's own folder first. Raises UserError when BENCH_METHODS is no folder."""
    home = checkout()
    shipped = home / "methods" if home else Path(__file__).parent
    own = os.environ.get("BENCH_METHODS")
    if own and not Path(own).is_dir():
        raise UserError(f"BENCH_METHODS={own} is not a folder. Make it, or unset the variable.")
    return [Path(own).resolve(), shipped] if own else [shipped]


def method_files() -> dict[str, Path]:
    """Name -> file of every method. Raises UserError for a name that two folders have."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.py")):
            if not path.name.startswith("_"):
                if path.stem in found:
                    raise UserError(f"two methods are called {path.stem}: {found[path.stem]} and {path}.")
                found[path.stem] = path
    return dict(sorted(found.items()))


def load_method(name: str) -> "type[Method]":
    """The one Method class of methods/{name}.py. Raises UserError when it is missing or malformed."""
    files = method_files()
    if name not in files:
        raise UserError(f"no method {name!r}: there is no methods/{name}.py. {did_you_mean(name, files)}")
    return _load(files[name], method_hash(name))


def method_hash(name: str) -> str:
    """sha256 of the method's file, and of the files of methods it builds on by `load_method("...")`.

    A changed one shows as stale in the store. Reads text only, so that reports need no torch.
    """
    text = method_files()[name].read_bytes()
    bases = sorted({base.decode() for base in BUILDS_ON.findall(text)} & set(method_files()) - {name})
    return hashlib.sha256(text + "".join(map(method_hash, bases)).encode()).hexdigest()


@cache
def _load(path: Path, digest: str) -> "type[Method]":
    from bench.method import Method  # imports torch; names and hashes are to be had without

    module_name = f"bench.methods.{path.stem}_{digest[:8]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up while the file is being run
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise UserError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module_name
    ]
    public = [cls for cls in own if not cls.__name__.startswith("_")]
    if len(public) != 1:
        names = ", ".join(cls.__name__ for cls in public) or "none"
        raise UserError(
            f"{path} has to define one Method class; it defines {names}. (A helper's file starts with _.)"
        )
    _check_class(public[0], path)
    return public[0]


def _check_class(cls: "type[Method]", path: Path) -> None:
    """Raises UserError naming what the class lacks."""
    from bench.prompt import ACCESS, WHITE_BOX

    lacking = [name for name in ("title", "access") if not hasattr(cls, name)]
    lacking += sorted(cls.__abstractmethods__)
    if lacking:
        raise UserError(f"{path}: class {cls.__name__} lacks {', '.join(lacking)}; see bench/method.py.")
    levels = (*ACCESS.values(), WHITE_BOX)
    if isinstance(cls.access, str):
        raise UserError(f"{path}: access is a tuple, e.g. ({cls.access!r},).")
    for level in cls.access:
        if level not in levels:
            raise UserError(f"{path}: no access {level!r}. {did_you_mean(level, levels)}")
    if not (isinstance(cls.Params, type) and is_dataclass(cls.Params)):
        raise UserError(
            f"{path}: Params has to be a frozen dataclass: write @dataclass(frozen=True) above it."
        )


def make_params(method: str, *layers: dict[str, Any]) -> Any:
    """The method's Params: its defaults, then each layer (the suite's values, the user's) over the last.

    Raises UserError for a name the method does not have or a value of the wrong kind.
    """
    params = load_method(method).Params
    values: dict[str, Value] = {}
    for layer in layers:
        values |= {name: parse_value(method, name, value) for name, value in layer.items()}
    try:
        return params(**values)
    except ValueError as error:
        raise UserError(f"{method}: {error}") from error


def parse_value(method: str, name: str, value: Any) -> Value:
    """`value` (text from the command line, or TOML) as the type of the parameter's default.

    Raises UserError for an unknown parameter or a value that does not fit.
    """
    known = {f.name: f.default for f in fields(load_method(method).Params)}
    if name not in known:
        raise UserError(f"method {method!r} has no parameter {name!r}. {did_you_mean(name, known)}")
    default = known[name]
    try:
        return _convert(value, default)
    except (TypeError, ValueError):
        kinds = {bool: "true or false", int: "an integer", float: "a number", tuple: "numbers such as 64x32"}
        kind = kinds.get(type(default), "text")
        raise UserError(f"{method}.{name} takes {kind} (default {_spell(default)}), not {value!r}.") from None


def _convert(value: Any, default: Any) -> Any:
    """`value` in the type of `default`. Text stays text only where the default is text."""
    if isinstance(default, tuple):
        parts = value.split("x") if isinstance(value, str) else value
        return tuple(_convert(part, default[0]) for part in parts)
    if isinstance(default, bool):
        if str(value).lower() not in ("true", "false"):
            raise ValueError(value)
        return str(value).lower() == "true"
    if isinstance(default, int):
        if float(value) != int(float(value)):
            raise ValueError(value)
        return int(float(value))
    if isinstance(default, float) and not isfinite(float(value)):
        raise ValueError(value)
    return float(value) if isinstance(default, float) else str(value)


def _spell(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
