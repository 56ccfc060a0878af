"""Options that several commands share, and how they read a comma-separated list."""

from collections.abc import Callable, Sequence
from math import isfinite, nan
from pathlib import Path
from typing import Any

import click

from bench.errors import UserError, brief
from bench.paths import RESULTS

Command = Callable[..., Any]
SEVERAL = 100_000  # numbers in one list: what `1-100000000000` would hold fits no memory
LARGEST = 2**63 - 1  # what a record's file and a table can hold


class Names(click.ParamType[tuple[str, ...]]):
    """A list of names: 'a,b' -> ('a', 'b')."""

    name = "names"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        parts = tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
        if not parts:
            raise UserError(f"{flag(param)} is an empty list: give at least one value.")
        return parts


class WholeNumbers(click.ParamType[tuple[int, ...]]):
    """A list of whole numbers: '1,2,3' or '1-3' -> (1, 2, 3)."""

    name = "numbers"

    def __init__(self, example: str = "1,2 or 1-3") -> None:
        self.example = example

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        numbers: list[int] = []
        for part in NAMES.convert(value, param, ctx):
            first, dash, last = part.replace("_", "").partition("-")
            if not _whole(first) or (dash and not (_whole(last) and int(first) <= int(last))):
                raise UserError(f"{flag(param)} takes whole numbers, e.g. {self.example}, not {brief(part)}.")
            span = range(int(first), int(last or first) + 1)
            if len(numbers) + len(span) > SEVERAL:
                raise UserError(f"{flag(param)} {brief(part)}: give at most {SEVERAL:,} numbers.")
            numbers += span
        return tuple(dict.fromkeys(numbers))


class Numbers(click.ParamType[tuple[float, ...]]):
    """A list of numbers: '50,62.5' -> (50.0, 62.5)."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(part) for part in NAMES.convert(value, param, ctx))
        except UserError:
            raise
        except ValueError:
            numbers = (nan,)
        if not all(map(isfinite, numbers)):
            raise UserError(f"{flag(param)} takes numbers, e.g. 50,62.5, not {brief(value)}.")
        return numbers


class Real(click.FloatRange):
    """A number in a range; NaN, which lies in every range, and infinity are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value!r} is no finite number.", param, ctx)
        return number


class Place(click.Path):
    """A path that a system can have."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value).strip() or "\0" in str(value):
            raise UserError(f"{flag(param)} {brief(str(value))} is no path: name a file or folder.")
        return super().convert(value, param, ctx)


NAMES, WHOLE_NUMBERS, NUMBERS, PLACE = Names(), WholeNumbers(), Numbers(), Place()
COUNT = click.IntRange(0, LARGEST)  # how many there may be
QUERIES = WholeNumbers("500,5000")


def flag(param: click.Parameter | None) -> str:
    """An option's name as the user types it, e.g. '--seeds'."""
    return param.opts[0] if param is not None else "the option"


def _whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST


def results(help: str = "Folder of the records.", default: Any = RESULTS) -> Callable[[Command], Command]:
    """The option --results."""
    return click.option("--results", type=PLACE, default=default, show_default=True, help=help)


def root(existing: bool = False) -> Callable[[Command], Command]:
    """The option --root. existing: a folder that is not there is refused; `data get` makes it."""

    def checked(_: click.Context, param: click.Parameter, place: Path | None) -> Path | None:
        if existing and place is not None and not place.is_dir():
            raise UserError(f"{flag(param)} {place}: there is no such folder.")
        return place

    help = "Folder of the data sets on disk. Default: $BENCH_DATA, else ./data."
    return click.option("--root", type=PLACE, callback=checked, help=help)


def stack(options: Sequence[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """Several options as one decorator; --help lists them in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
