"""Converts parameter values, given as text or in TOML, to the types that a method's Params declares."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from math import isfinite
from typing import Any

from bench.cell import Value, show
from bench.errors import UserError, brief, did_you_mean
from bench.plugins import load_method

LONGEST = 1000  # letters of a text


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
    known = {f.name: f for f in fields(load_method(method).Params)}
    if name not in known:
        raise UserError(f"method {method!r} has no parameter {name!r}. {did_you_mean(name, known)}")
    default: Any = known[name].default
    try:
        return _convert(value, default, known[name].metadata.get("least"))
    except _Small as small:
        raise UserError(f"{method}.{name} must be at least {small}, not {brief(value)}.") from None
    except (TypeError, ValueError, OverflowError):
        kinds = {bool: "true or false", int: "an integer", float: "a number", tuple: "numbers such as 64x32"}
        kind = kinds.get(type(default), f"a line of at most {LONGEST} letters")
        raise UserError(
            f"{method}.{name} takes {kind} (default {show(default)}), not {brief(value)}."
        ) from None


class _Small(Exception):
    """A number below the least that its parameter can have."""


def _convert(value: Any, default: Value, least: int | None) -> Value:
    """`value` in the type of `default`. Text stays text only where the default is text."""
    if isinstance(default, tuple):
        parts = value.split("x") if isinstance(value, str) else value
        if not parts:
            raise ValueError(value)
        return tuple(_number(part, default[0], least) for part in parts)
    if isinstance(default, bool):
        if str(value).lower() not in ("true", "false"):
            raise ValueError(value)
        return str(value).lower() == "true"
    if isinstance(default, int | float):
        return _number(value, default, least)
    if not isinstance(value, str | int | float):  # TOML has tables and dates, too
        raise TypeError(value)
    text = str(value)
    if not text.isprintable() or len(text) > LONGEST:
        raise ValueError(text)
    return text


def _number(value: Any, default: int | float, least: int | None) -> int | float:
    """A number like the default, and not below `least`.

    Where the field does not say the least value, a whole number whose default is 1 or more is a count and
    stays at 1 or more, and a number that is not negative by default never is.
    """
    number = float(value)
    if isinstance(value, bool) or not isfinite(number) or (isinstance(default, int) and not _whole(number)):
        raise ValueError(value)
    if least is None and default >= 0:
        least = 1 if isinstance(default, int) and default >= 1 else 0
    if least is not None and number < least:
        raise _Small(least)
    return int(number) if isinstance(default, int) else number


def _whole(number: float) -> bool:
    return number == int(number) and abs(number) < 2**53  # beyond it floats leave whole numbers out
