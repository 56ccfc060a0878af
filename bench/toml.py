"""Reads a TOML file into a frozen dataclass. Missing keys, unknown keys and wrong types are errors."""

import dataclasses
import sys
import types
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from bench.errors import UserError, brief, did_you_mean
from bench.files import read_text, reason, shown

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


def read_toml(path: Path, into: type[T], **given: Any) -> T:
    """The dataclass `into`, filled from the file. `given` fields come from the caller, not from the file.

    Raises UserError, which names the file and the key, if the file is not TOML, or for a missing key, an
    unknown key or a wrong type. A ValueError from `into.__post_init__` becomes such a UserError.
    """
    text = read_text(path)
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a whole number of thousands of digits
        raise UserError(f"{shown(path)} is not valid TOML: {reason(error)}. Correct that line.") from error
    return fill(into, table, shown(path), **given)


def fill(into: type[T], table: dict[str, Any], where: str, **given: Any) -> T:
    """The dataclass `into`, filled from one table. where: the place, for messages. Raises UserError."""
    fields = {f.name: f for f in dataclasses.fields(into) if f.name not in given}  # type: ignore[arg-type]
    hints = get_type_hints(into)
    for key in table:
        if key not in fields:
            raise UserError(f"{where}: unknown key {brief(key)}. {did_you_mean(key, fields)}")
    for key, field in fields.items():
        optional = (
            field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        )
        if key not in table and not optional:
            raise UserError(f"{where}: the key {key!r} is missing: add it ({_words(hints[key])}).")
    values = {key: _convert(value, hints[key], f"{where}: {key}") for key, value in table.items()}
    try:
        return into(**values, **given)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _convert(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type `hint`: lists become tuples, and tables become dataclasses."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        for option in args:
            if option is not type(None) and _plausible(value, option):
                return _convert(value, option, where)
    elif origin is tuple and isinstance(value, list):
        return tuple(_convert(item, args[0], f"{where}[{i}]") for i, item in enumerate(value))
    elif origin is dict and isinstance(value, dict):
        return {key: _convert(item, args[1], f"{where}.{key}") for key, item in value.items()}
    elif dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return fill(hint, value, where)  # type: ignore[arg-type]
    elif hint is Any or (isinstance(hint, type) and type(value) is hint):  # so a bool is not an int
        _sound(value, where)
        return value
    raise UserError(f"{where} is {brief(value)}, but must be {_words(hint)}.")


def _sound(value: Any, where: str) -> None:
    """Raise UserError for a number that no table can hold, and for letters that steer a terminal."""
    if isinstance(value, dict):
        for key, item in value.items():
            _sound(key, where)
            _sound(item, f"{where}.{key}")
    elif isinstance(value, list):
        for item in value:
            _sound(item, where)
    elif isinstance(value, int) and abs(value) >= 2**63:
        raise UserError(f"{where} is {brief(value)}, but must be below 2^63.")
    elif isinstance(value, float) and not isfinite(value):
        raise UserError(f"{where} is {value}, but must be finite.")
    elif isinstance(value, str) and not value.replace("\n", "").replace("\t", "").isprintable():
        raise UserError(f"{where} is {brief(value)}, but must hold only letters that can be printed.")


def _plausible(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin is tuple:
        return isinstance(value, list)
    if origin is dict or dataclasses.is_dataclass(hint):
        return isinstance(value, dict)
    return type(value) is hint


def _words(hint: Any) -> str:
    """A type in plain words, for messages."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(option) for option in args if option is not type(None))
    if origin is tuple:
        return f"a list, each item {_words(args[0])}"
    if origin is dict or dataclasses.is_dataclass(hint):
        return "a table"
    names = {str: "a string", int: "a whole number", bool: "true or false", float: "a decimal number"}
    return names.get(hint, str(hint))
