"""The errors that a user can cause, and the suggestion for a name that does not exist."""

from collections.abc import Iterable
from difflib import get_close_matches


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


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A question that names the closest of `choices` (if one is close), and a list of all of them."""
    known = sorted(choices)
    close = get_close_matches(word, known, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(known) or 'none'}."
