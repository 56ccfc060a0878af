"""The order of data sets: as the suite lists them, and under the names its papers print."""

from collections.abc import Iterable
from functools import cache

from bench.errors import UserError
from bench.report import published
from bench.suite import load_suite


@cache
def suite_datasets(suite: str) -> tuple[str, ...]:
    """The data sets of a suite in its own order; () for a suite this installation does not know."""
    try:
        return load_suite(suite).datasets
    except UserError:  # somebody else's suite: their records are still worth a table
        return published.order(suite)


def arrange(suite: str, names: Iterable[str]) -> list[str]:
    """`names` in the suite's order; those it does not list follow by name."""
    place: dict[str, int] = {}
    for name in (*suite_datasets(suite), *published.order(suite)):
        place.setdefault(plain(name), len(place))
    return sorted(set(names), key=lambda name: (place.get(plain(name), len(place)), name))


def shown(suite: str, name: str) -> str:
    """A column's heading: the name its papers print, else without the suite's prefix ('mini-')."""
    printed = {plain(known): known for known in published.order(suite)}
    return printed.get(plain(name), name.removeprefix(f"{suite}-"))


def plain(name: str) -> str:
    """'oxford_pets' and 'OxfordPets' are one data set; so are 'oxford_flowers' and 'Flowers102'."""
    letters = "".join(letter for letter in name.lower() if letter.isalnum())
    return {"oxfordflowers": "flowers102"}.get(letters, letters)
