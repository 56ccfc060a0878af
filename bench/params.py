"""Converts parameter values, given as text or in TOML, to the types that a method's Params declares."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from math import isfinite
from typing import Any

from bench.cell import Value, show
from bench.errors import UserError, did_you_mean
from bench.plugins import load_method


def make_params(method: str, *layers: Mapping[str, Value]) -> Any:
    """The method's Params: the defaults, replaced by each layer of values in turn (the suite's, the user's).

    Raises UserError for a name that the method does not have, or for a value of the wrong type.
    """
    params = load_method(method).Params
    values: dict[str, Value] = {}
    for layer in layers:
        values |= {name: parse_value(method, name, value) for name, value in layer.items()}
    try:
        return params(**values)
    except ValueError as error:
        raise UserError(f"{method}: {error}") from error


def as_values(params: Any) -> dict[str, Value]:
    """The values of a Params object, by name."""
    return asdict(params)


def parse_value(method: str, name: str, value: Value) -> Value:
    """`value` (text from the command line, or a TOML value) in the type of the parameter's default.

    Raises UserError for an unknown parameter or a value that does not fit.
    """
    known: dict[str, Any] = {f.name: f.default for f in fields(load_method(method).Params)}
    if name not in known:
        raise UserError(f"method {method!r} has no parameter {name!r}. {did_you_mean(name, known)}")
    default = known[name]
    try:
        return _convert(value, default)
    except (TypeError, ValueError, OverflowError):
        kinds = {bool: "true or false", int: "an integer", float: "a number", tuple: "numbers such as 64x32"}
        kind = kinds.get(type(default), "text")
        raise UserError(f"{method}.{name} takes {kind} (default {show(default)}), not {value!r}.") from None


def _convert(value: Value, default: Value) -> Value:
    """`value` in the type of `default`. Raises TypeError, ValueError or OverflowError if it does not fit."""
    if isinstance(default, tuple):
        parts = value.split("x") if isinstance(value, str) else value
        return tuple(_number(part, default[0]) for part in parts)  # type: ignore[union-attr]
    if isinstance(default, bool):
        if str(value).lower() not in ("true", "false"):
            raise ValueError(value)
        return str(value).lower() == "true"
    if isinstance(default, int | float):
        return _number(value, default)
    return str(value)


def _number(value: Any, default: int | float) -> int | float:
    number = float(value)
    if not isfinite(number) or (isinstance(default, int) and number != int(number)):
        raise ValueError(value)
    return int(number) if isinstance(default, int) else number
