"""A conversation is written down, and its transcript answers in its place."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from cells import conversation
from toy import toy_cell

from bench.blackbox import BudgetSpent
from bench.chat import (
    Answer,
    Call,
    ChatFailed,
    Conversation,
    Message,
    Price,
    Replay,
    Request,
    Scripted,
    difference,
    read_transcript,
    transcript_of,
)
from bench.errors import UserError
from bench.record import ChatLog, Record, dump, failure, read

PRICE = Price("small", 1.0, 2.0, "2026-01-31")


class Source:
    """Answers with what it was given, then refuses."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = answers

    def ask(self, index: int, request: Request) -> Call:
        if index >= len(self.answers):
            return Call(index, request, request.sha256, refused="2 of 2 calls are made", price=PRICE)
        return Call(
            index, request, request.sha256, self.answers[index], "", PRICE, 0.5, 2, "2026-01-31T00:00:00"
        )


ANSWERS = (
    Answer("- one {}.\u2028é", "stop", "small-1", "fp1", 10, 20),
    Answer("", None, "small-2", "fp1", 30, 40),
)


def say(talk: Conversation, word: str = "hello", seed: int = 3) -> str:
    return talk.complete([{"role": "user", "content": word}], 0.5, seed, 50)


def held(source: Any) -> tuple[Conversation, Record]:
    """Two answers and a refusal; the record that keeps them."""
    talk = Conversation(source, "small")
    assert [say(talk, "hello"), say(talk, "again")] == [one.text for one in ANSWERS]
    for used in (True, False, False):
        talk.note(used)
    with pytest.raises(BudgetSpent, match="2 of 2 calls"):
        say(talk, "more")
    return talk, talk.written_to(failure(toy_cell(method="llm"), "none"))


def test_the_record_says_what_was_asked(tmp_path: Path) -> None:
    _, record = held(Source(*ANSWERS))
    assert record.chat is not None
    assert asdict(record.chat) == {
        "file": "toy-shots10-batch8-budget100-seed1.chat.jsonl",
        "sha256": record.chat.sha256,
        "calls": 2,
        "refused": "2 of 2 calls are made",
        "prompt_tokens": 40,
        "completion_tokens": 60,
        "uncounted": 0,
        "dollars": pytest.approx((40 * 1 + 60 * 2) / 1e6),
        "prices": ("2026-01-31",),
        "models": ("small-1", "small-2"),
        "fingerprints": ("fp1",),
        "used": 1,
        "fallbacks": 2,
        "warnings": (
            "mostly edits: 2 of 3 proposals were made without the language model",
            "the server named several models in one run",
        ),
    }
    path = tmp_path / "record.json"
    path.write_text(dump(record))
    assert read(path) == record and isinstance(read(path).chat, ChatLog)
    assert "transcript" not in json.loads(path.read_text())


def test_other_records_do_not_mention_it() -> None:
    assert '"chat"' not in dump(failure(toy_cell(), "none"))


def test_a_transcript_has_a_line_a_call(tmp_path: Path) -> None:
    talk, record = held(Source(*ANSWERS))
    path = tmp_path / "one.chat.jsonl"
    path.write_text(record.transcript)
    assert record.transcript.count("\n") == 3
    assert read_transcript(path) == talk.calls
    assert transcript_of(toy_cell().path).name == "toy-shots10-batch8-budget100-seed1.chat.jsonl"


def test_a_replay_is_the_conversation_over_again(tmp_path: Path) -> None:
    _, live = held(Source(*ANSWERS))
    path = tmp_path / "one.chat.jsonl"
    path.write_text(live.transcript)
    _, again = held(Replay(path))
    assert (again.chat, again.transcript) == (live.chat, live.transcript)


def test_a_replay_that_misses_names_the_difference_and_sends_nothing(tmp_path: Path) -> None:
    _, live = held(Source(*ANSWERS))
    path = tmp_path / "one.chat.jsonl"
    path.write_text(live.transcript)
    talk = Conversation(Replay(path), "small")
    say(talk)
    with pytest.raises(ChatFailed) as caught:
        say(talk, "agape")
    said = "messages[0].content at character 3: 'again' then, 'agape' now"
    assert str(caught.value) == f"call 1 differs from the transcript {path} in {said}"
    other = Conversation(Replay(path), "large")
    with pytest.raises(ChatFailed, match="in model: 'small' then, 'large' now"):
        say(other)
    path.write_text("")
    with pytest.raises(ChatFailed, match="ends after 0 calls"):
        say(Conversation(Replay(path), "small"))


REQUEST = Request("small", (Message("user", "hello"),), 1.0, 3, 50)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"messages": (Message("system", "hello"),)}, "messages[0].role: 'user' then, 'system' now"),
        ({"messages": (Message("user", "hello you"),)}, "messages[0].content at character 5"),
        ({"messages": (*REQUEST.messages, Message("user", ""))}, "the number of messages: 1 then, 2 now"),
        ({"temperature": 0.0}, "temperature: 1.0 then, 0.0 now"),
        ({"seed": 4}, "seed: 3 then, 4 now"),
        ({"max_tokens": 51, "model": "large"}, "model: 'small' then, 'large' now"),
    ],
)
def test_the_first_difference_is_named(changes: dict[str, Any], said: str) -> None:
    other = replace(REQUEST, **changes)
    assert difference(REQUEST, other).startswith(said)
    assert other.sha256 != REQUEST.sha256


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (
            lambda text: text.replace('"seed":3', '"seed":4', 1),
            "line 1 is damaged: its number or",
        ),
        (lambda text: text.split("\n", 1)[1], "line 1 is damaged: its number"),
        (lambda text: text.replace('"index":1', '"index":"1"'), "line 2 is damaged: Expected `int`"),
        (lambda text: text[:-20], "line 3 is damaged"),
        (lambda text: text.replace("\n", "\n\n"), "line 2 is damaged"),
    ],
)
def test_a_damaged_transcript_is_refused(damage: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "one.chat.jsonl"
    path.write_text(damage(held(Source(*ANSWERS))[1].transcript))
    with pytest.raises(UserError, match=says):
        read_transcript(path)


def test_a_method_is_handed_two_names_and_no_more() -> None:
    chat = conversation().chat
    assert [name for name in dir(chat) if not name.startswith("_")] == ["complete", "note"]
    with pytest.raises(AttributeError):
        chat.source = None  # type: ignore[attr-defined]


def test_the_script_answers_the_same_to_the_same() -> None:
    asked = replace(REQUEST, messages=(Message("user", "as:\n- one {} two.\n- three {} four."),))
    texts = {Scripted().ask(0, replace(asked, seed=seed)).answer.text for seed in range(50)}  # type: ignore[union-attr]
    lines = {text.split("\n")[-1] for text in texts}
    assert lines == {"- one {} two.", "- one {} four.", "- three {} two.", "- three {} four."}
    assert Scripted().ask(0, asked) == Scripted().ask(0, asked)


@pytest.mark.parametrize("changes", [{"prompt": -1.0}, {"completion": float("nan")}, {"date": ""}])
def test_a_price_is_a_price_with_a_date(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the price of 'small'"):
        replace(PRICE, **changes)
