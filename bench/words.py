"""How a number of things is said: 1 shot, 16 shots, 5,000 queries, $0.001."""

import re


def counted(n: int, one: str, many: str = "") -> str:
    """A number with its noun: counted(1, "shot") is '1 shot', counted(2, "query") is '2 queries'.

    many: what stands after every number but 1, where that is not `one` with a plural's ending.
    """
    return f"{n:,} {one if n == 1 else many or plural(one)}"


def plural(noun: str) -> str:
    """The plural of a regular noun: cell -> cells, query -> queries, class -> classes."""
    if re.search("[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def in_dollars(amount: float) -> str:
    """An amount as somebody declares it, without zeros at its end: $0.001, $10, $1,000."""
    return "$" + f"{amount:,.10f}".rstrip("0").rstrip(".")


def absent(n: int) -> str:
    """'1 cell is missing', '2 cells are missing'."""
    return counted(n, "cell is missing", "cells are missing")
