"""The order of data sets (as in their suite), and their names in headings (as in the papers)."""

from collections.abc import Iterable
from functools import cache

import pandas as pd

from bench.errors import UserError, brief
from bench.report import published
from bench.suite import load_suite


@cache
def suite_datasets(suite: str) -> tuple[str, ...]:
    """The data sets of a suite, in its order; for an unknown suite those that its paper prints, or ()."""
    try:
        return load_suite(suite).datasets
    except UserError:  # records of a suite that is not installed can still have a table
        return published.order(suite)


@cache
def not_tuned_on(suite: str) -> frozenset[str]:
    """The suite's data sets that were not used to choose parameter values; empty if it does not say."""
    try:
        one = load_suite(suite)
    except UserError:
        return frozenset()
    return frozenset(one.datasets) - set(one.tuned_on) if one.tuned_on else frozenset()


def arrange(suite: str, names: Iterable[str]) -> list[str]:
    """`names` in the suite's order; names that it does not list come last, sorted."""
    place: dict[str, int] = {}
    for name in (*suite_datasets(suite), *published.order(suite)):
        place.setdefault(plain(name), len(place))
    return sorted(set(names), key=lambda name: (place.get(plain(name), len(place)), name))


def shown(suite: str, name: str) -> str:
    """A column's heading: the name that the papers print, or that without the suite's prefix.

    The prefix is 'mini-' in the suites mini and mini-many.
    """
    printed = {plain(known): known for known in published.order(suite)}
    return printed.get(plain(name), name.removeprefix(f"{suite.partition('-')[0]}-"))


def full_name(name: str, known: Iterable[tuple[str, str]]) -> str:
    """The data set that is meant by a name or by a column's heading, e.g. 'colors' for 'mini-colors'.

    known: (suite, data set) pairs. A name that no heading has is returned as it is. Raises UserError if it
    is the heading of several data sets.
    """
    pairs = list(known)
    if any(name == dataset for _, dataset in pairs):
        return name
    meant = sorted({one for suite, one in pairs if plain(name) in (plain(one), plain(shown(suite, one)))})
    if len(meant) > 1:
        raise UserError(f"{brief(name)} can mean {' or '.join(meant)}: give the whole name.")
    return meant[0] if meant else name


def own(suite: str, names: Iterable[str]) -> list[str]:
    """Those of these data sets that do not belong to the suite, sorted; none for a suite without a list."""
    known = {plain(name) for name in (*suite_datasets(suite), *published.order(suite))}
    return sorted({name for name in set(names) if known and plain(name) not in known})


def place_said(cells: pd.DataFrame) -> str:
    """Where these records were made, e.g. 'mini suite', 'data set birds', 'mini suite and data set birds'."""
    suite, names = cells["suite"].iloc[0], set(cells["dataset"])
    others = own(suite, names)
    if not others:
        return f"{suite} suite"
    listed = (
        " and ".join(others) if len(others) < 3 else f"{others[0]}, {others[1]} and {len(others) - 2} more"
    )
    said = f"data set{'s' * (len(others) > 1)} {listed}"
    return said if len(others) == len(names) else f"{suite} suite and {said}"


def plain(name: str) -> str:
    """A form in which a data set's spellings are equal, e.g. 'oxford_pets' and 'OxfordPets'."""
    letters = "".join(letter for letter in name.lower() if letter.isalnum())
    return {"oxfordflowers": "flowers102"}.get(letters, letters)
