"""Options that several commands share, and how they read a comma-separated list."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from bench.errors import UserError
from bench.paths import RESULTS

Command = Callable[..., Any]


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
                raise UserError(f"{flag(param)} takes whole numbers, e.g. {self.example}, not {part!r}.")
            numbers += range(int(first), int(last) + 1) if dash else [int(first)]
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
            return tuple(float(part) for part in NAMES.convert(value, param, ctx))
        except ValueError:
            raise UserError(f"{flag(param)} takes numbers, e.g. 50,62.5, not {value!r}.") from None


NAMES, WHOLE_NUMBERS, NUMBERS = Names(), WholeNumbers(), Numbers()
QUERIES = WholeNumbers("500,5000")


def flag(param: click.Parameter | None) -> str:
    """An option's name as the user types it, e.g. '--seeds'."""
    return param.opts[0] if param is not None else "the option"


def _whole(text: str) -> bool:
    return text.isascii() and text.isdigit()


def results(help: str = "Folder of the records.", default: Any = RESULTS) -> Callable[[Command], Command]:
    """The option --results."""
    kind = click.Path(path_type=type(RESULTS))
    return click.option("--results", type=kind, default=default, show_default=True, help=help)


def stack(options: Sequence[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """Several options as one decorator; --help lists them in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
