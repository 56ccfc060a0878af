"""Which records are stale: a hash in them differs from that of the file that is here now."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pandas as pd

from bench.code import code_hash
from bench.errors import UserError
from bench.plugins import method_hash
from bench.resolve import card_hash
from bench.suite import load_suite
from bench.words import counted

# What a record's numbers depend on, by the name of its hash. Splits and weights are not read here: that would
# need the images and the model.
WORDS = {
    "code": "bench's code",
    "method": "the method's file",
    "card": "the data set's card",
    "suite": "the suite's file",
}
PLACE = ["method", "suite", "protocol", "dataset"]


def changed(cells: pd.DataFrame) -> "pd.Series[Any]":
    """For each row of Results.cells: which of WORDS have changed since its record was made; () if none has.

    What this installation does not have, such as the file of somebody else's method, is not compared.
    """
    here = _hashes()
    given = cells[[*PLACE, *(f"hash_{kind}" for kind in WORDS)]].itertuples(index=False, name=None)
    found = [
        tuple(
            kind
            for kind, now, then in zip(WORDS, here(*row[: len(PLACE)]), row[len(PLACE) :], strict=True)
            if now and now != then
        )
        for row in given
    ]
    return pd.Series(found, cells.index, dtype=object)


def stale_said(cells: pd.DataFrame) -> str:
    """How many of these records are stale, and why; '' if none is. cells: with the column `stale`."""
    records = cells.drop_duplicates("path")
    old = [what for what in records["stale"] if what]
    if not old:
        return ""
    why = {kind: sum(kind in what for what in old) for kind in WORDS}
    listed = ", ".join(f"{WORDS[kind]} ({count})" for kind, count in why.items() if count)
    return (
        f"{len(old)} of {counted(len(records), 'record')}; since they were made, these have changed: {listed}"
    )


def _hashes() -> Callable[[str, str, str, str], tuple[str, ...]]:
    """The hashes of WORDS as they are here, by the names of PLACE; "" for what is not here.

    Each file is read once for all calls.
    """
    code, suite_of = code_hash(), cache(load_suite)
    method_of = cache(lambda method: _or_empty(lambda: method_hash(method)))
    own = cache(lambda suite: _or_empty(lambda: suite_of(suite).hash))

    @cache
    def card_of(suite: str, protocol: str, dataset: str) -> str:
        return _or_empty(lambda: card_hash(dataset, suite_of(suite).tests(protocol, dataset)))

    def here(method: str, suite: str, protocol: str, dataset: str) -> tuple[str, ...]:
        return code, method_of(method), card_of(suite, protocol, dataset), own(suite)

    return here


def _or_empty(look_up: Callable[[], str]) -> str:
    try:
        return look_up()
    except UserError:
        return ""
