"""A request that is turned away: a status, and one line for whoever sent it."""

from collections.abc import Mapping


class Refused(Exception):
    """The answer is {"error": words} with this status."""

    def __init__(self, status: int, words: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(words)
        self.status, self.words, self.headers = status, words, dict(headers or {})
