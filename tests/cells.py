"""Resolved cells of the mini suite, for tests that run them."""

from typing import Any

from bench.chat import SCRIPTED, ChatSettings, Conversation, Scripted
from bench.lab import Settings
from bench.plan import make_cells
from bench.resolve import Resolved, resolve
from bench.suite import load_suite

SCRIPT = Settings(chat=ChatSettings(scripted=True))  # whoever asks a language model gets a script's answers


def conversation() -> Conversation:
    """One with the script, which is no language model."""
    return Conversation(Scripted(), SCRIPTED)


def mini_cells(*methods: str, **what: Any) -> list[Resolved]:
    """The grid that `bench run --methods ...` makes. what: the arguments of bench.plan.make_cells."""
    suite = load_suite("mini")
    return resolve(make_cells(suite, methods, **what), suite)
