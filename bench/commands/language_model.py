"""The options of a run whose methods ask a language model, and what they come to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.commands import options
from bench.errors import UserError
from bench.words import counted

if TYPE_CHECKING:
    from bench.chat import ChatSettings, Price
    from bench.resolve import Resolved

llm = options.stack(
    [
        click.option(
            "--llm-url",
            envvar="BENCH_LLM_URL",
            help="An OpenAI-compatible chat endpoint, for methods that ask a language model, e.g. "
            "http://localhost:11434/v1. Default: $BENCH_LLM_URL. The key: $BENCH_LLM_KEY.",
        ),
        click.option(
            "--llm-calls",
            type=click.IntRange(1),
            help="Calls of the language model in each cell, at most. Default: 200.",
        ),
        click.option(
            "--llm-cost",
            type=click.FloatRange(0, min_open=True),
            help="Dollars in each cell, at most; needs --llm-prices.",
        ),
        click.option(
            "--llm-prices",
            type=click.Path(path_type=Path),
            help="A TOML file of yours with prices and their dates: see docs/llm.md.",
        ),
        click.option(
            "--llm-replay",
            type=click.Path(path_type=Path),
            help="Answer from the transcripts in this results folder, and send nothing.",
        ),
    ]
)


def chat_settings(
    offline: bool,
    llm_url: str | None,
    llm_calls: int | None,
    llm_cost: float | None,
    llm_prices: Path | None,
    llm_replay: Path | None,
) -> "ChatSettings":
    """What the options say. Raises UserError."""
    from bench.chat import ChatSettings

    if llm_replay is not None and not llm_replay.exists():
        raise UserError(f"--llm-replay {llm_replay}: no such folder.")
    if offline and llm_url and llm_replay is None:
        raise UserError("--offline never touches the network: leave out --llm-url, or add --llm-replay.")
    replay = "" if llm_replay is None else str(llm_replay.resolve())
    prices = () if llm_prices is None else read_prices(llm_prices)
    calls = llm_calls or ChatSettings.calls
    return ChatSettings(llm_url or "", replay, False, calls, llm_cost, prices)


def read_prices(path: Path) -> "tuple[Price, ...]":
    """The [[prices]] of a file. Raises UserError."""
    from bench.chat import Price
    from bench.toml import read_toml

    @dataclass(frozen=True)
    class Prices:
        prices: tuple[Price, ...]

    found = read_toml(path, Prices).prices
    names = [one.model for one in found]
    if len(set(names)) < len(names):
        raise UserError(f"{path} holds two prices of one model: remove the older one.")
    return found


def echo_chats(cells: "Sequence[Resolved]", settings: "ChatSettings") -> None:
    """Who will read what these cells send."""
    asking = [one for one in cells if one.model is not None]
    if not asking or not (settings.replay or settings.url):
        return
    names = ", ".join(dict.fromkeys(one.cell.method for one in asking))
    if settings.replay:
        click.echo(f"{names}: the language model's answers come from {settings.replay}; nothing is sent.")
        return
    from bench.endpoint import checked_url

    host = checked_url(settings.url).netloc.decode()
    most = len(asking) * settings.calls
    click.echo(
        f"{names}: class names and templates of the data sets go to {host}, a third party unless it is "
        f"yours; at most {counted(most, 'call')} of the language model."
    )
