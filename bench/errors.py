"""The errors that a user can cause, and the suggestion for a name that does not exist."""

from collections.abc import Iterable
from difflib import get_close_matches

BRIEF = 80  # letters


class UserError(ValueError):
    """Something that the user asked for cannot be done.

    The message says in one line what is wrong, which name or file it concerns, and what to do. The command
    line prints it without a traceback and exits with code 2.
    """


class NotHere(UserError):
    """`what` is not on this machine; a run with access to the network would download it."""

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message)
        self.what = what


def brief(value: object) -> str:
    """A value in a message: as Python writes it, all of it printable, at most BRIEF letters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits; endless nesting
        text = f"a very large {type(value).__name__}"
    text = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
    return text if len(text) <= BRIEF else f"{text[: BRIEF - 3]}..."


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A question that names the closest of `choices` (if one is close), and a list of all of them."""
    known = sorted(choices)
    close = get_close_matches(word[:BRIEF], known, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(known) or 'none'}."
