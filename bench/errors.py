"""What a user can cause, and the one way to suggest what they meant."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Something the user asked for cannot be done: one line that says what, which, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


class NotHere(UserError):
    """Something that one run with network would fetch is not on this machine: `what`."""

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message)
        self.what = what


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A sentence naming the closest of `choices` (if one is close) and then all of them."""
    known = sorted(choices)
    close = get_close_matches(word, known, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(known) or 'none'}."
