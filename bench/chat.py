"""A conversation of a method with a language model. Its calls are counted and written to a transcript.

A method gets only a `Chat`. Behind it is a `Conversation`, which keeps every call as a line of a transcript.
The conversation gets the answers from a source: an endpoint (bench/endpoint.py), a transcript (`Replay`), or
a script (`Scripted`, for tests). A call of the language model is not a query; calls have their own budgets.
"""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import Any, Protocol

import msgspec

from bench.blackbox import BudgetSpent
from bench.errors import UserError
from bench.files import read_bytes
from bench.record import ChatLog, Record

SCRIPTED = "scripted"  # the name that stands for `Scripted` in place of a model
MOSTLY = 0.5  # a record has a warning if a larger share of proposals was made without the language model
ENDING = ".chat.jsonl"  # the ending of a transcript, which is beside its record


class Chat(Protocol):
    """A language model as a method sees it."""

    def complete(
        self, messages: Sequence[Mapping[str, str]], temperature: float, seed: int, max_tokens: int
    ) -> str:
        """The model's answer to messages of {"role", "content"}. This is one call. The answer may be empty.

        Raises BudgetSpent before a call that would exceed the run's budget of calls or of dollars.
        """
        ...

    def note(self, used: bool) -> None:
        """Record for each proposal whether it used an answer. used: False if it was made without one."""
        ...


class ChatFailed(Exception):
    """No answer is available. The cell fails, and its record gives this message as the reason."""


@dataclass(frozen=True)
class Price:
    """The price of one model in dollars per million tokens. date: the day on which the user looked it up."""

    model: str
    prompt: float
    completion: float
    date: str  # ISO 8601

    def __post_init__(self) -> None:
        if not all(0 <= one < float("inf") for one in (self.prompt, self.completion)):
            raise ValueError(f"the price of {self.model!r} must not be negative")
        if not self.date:
            raise ValueError(f'the price of {self.model!r} has no date: write date = "2026-01-31"')


@dataclass(frozen=True)
class ChatSettings:
    """The source of the answers, and the budget of calls and dollars per cell. A cell does not hold these."""

    url: str = ""  # of an endpoint, up to /v1
    replay: str = ""  # a transcript, or a folder of records with their transcripts; then nothing is sent
    scripted: bool = False  # whether `Scripted` answers
    calls: int = 200  # per cell
    dollars: float | None = None  # per cell; None: no limit
    prices: tuple[Price, ...] = ()


# The entries of a transcript


@dataclass(frozen=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True)
class Request:
    """Everything that is sent. There are no further fields, because not every server knows them."""

    model: str
    messages: tuple[Message, ...]
    temperature: float
    seed: int
    max_tokens: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(_line(asdict(self)).encode()).hexdigest()

    @property
    def most_tokens(self) -> int:
        """An upper bound of the messages' tokens: their bytes, and 16 for the frame of each message."""
        return sum(len(one.content.encode()) + 16 for one in self.messages)


@dataclass(frozen=True)
class Answer:
    """The answer of a server. Fields that the server does not give are None."""

    text: str
    finish_reason: str | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def answer_of(data: Any) -> Answer:
    """The answer in an OpenAI-compatible chat completion. Raises ValueError if it has another shape."""
    try:
        choice = data["choices"][0]
        text, finish = choice["message"].get("content"), choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError("its answer holds no message") from None
    usage = data.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Answer(
        _text(text) or "",
        _text(finish),
        _text(data.get("model")),
        _text(data.get("system_fingerprint")),
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
    )


def model_names(data: Any) -> list[str]:
    """The names in the answer to GET /models; empty if the answer has another shape."""
    models = data.get("data") if isinstance(data, dict) else None
    entries = models if isinstance(models, list) else []
    return [one["id"] for one in entries if isinstance(one, dict) and isinstance(one.get("id"), str)]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None


@dataclass(frozen=True)
class Call:
    """One line of a transcript: a request with its answer, or with the reason why it was not sent."""

    index: int
    request: Request
    sha256: str  # of the request
    answer: Answer | None = None
    refused: str = ""  # why the call was not made
    price: Price | None = None
    seconds: float = 0.0
    tries: int = 1  # requests sent until there was an answer
    time: str = ""  # ISO 8601, UTC

    @property
    def cost(self) -> float | None:
        """The cost in dollars; None without a price. Tokens that the server does not count get a bound."""
        if self.price is None or self.answer is None:
            return None
        sent, said = self.answer.prompt_tokens, self.answer.completion_tokens
        sent = self.request.most_tokens if sent is None else sent
        said = self.request.max_tokens if said is None else said
        return (sent * self.price.prompt + said * self.price.completion) / 1e6


class Source(Protocol):
    """A source of answers."""

    def ask(self, index: int, request: Request) -> Call:
        """The call with this number: with an answer, or refused by a budget. Raises ChatFailed."""
        ...


class Conversation:
    """All calls of one cell. The method gets its `chat`."""

    def __init__(self, source: Source, model: str) -> None:
        self.source, self.model = source, model
        self.calls: list[Call] = []
        self.used = self.fallbacks = 0

    def complete(
        self, messages: Sequence[Mapping[str, str]], temperature: float, seed: int, max_tokens: int
    ) -> str:
        """See Chat.complete."""
        sent = tuple(Message(one["role"], one["content"]) for one in messages)
        request = Request(self.model, sent, float(temperature), int(seed), int(max_tokens))
        call = self.source.ask(len(self.calls), request)
        self.calls.append(call)
        if call.answer is None:
            raise BudgetSpent(call.refused)
        return call.answer.text

    def note(self, used: bool) -> None:
        """See Chat.note."""
        self.used += used
        self.fallbacks += not used

    @property
    def chat(self) -> Chat:
        """A `Chat` with only its two methods. They are closures: nothing leads to the source and its key."""
        conversation = self

        class Handed:
            __slots__ = ()

            def complete(
                self, messages: Sequence[Mapping[str, str]], temperature: float, seed: int, max_tokens: int
            ) -> str:
                return conversation.complete(messages, temperature, seed, max_tokens)

            def note(self, used: bool) -> None:
                conversation.note(used)

        return Handed()

    def written_to(self, record: Record) -> Record:
        """The record with the fields of this conversation: its log, and the transcript's text."""
        text = "".join(f"{_line(asdict(call))}\n" for call in self.calls)
        name = transcript_of(record.cell.path).name
        return replace(record, chat=self._log(name, text), transcript=text)

    def _log(self, name: str, text: str) -> ChatLog:
        answers = [call.answer for call in self.calls if call.answer is not None]
        costs = [call.cost for call in self.calls if call.answer is not None]
        tokens = [(one.prompt_tokens, one.completion_tokens) for one in answers]
        return ChatLog(
            file=name,
            sha256=hashlib.sha256(text.encode()).hexdigest(),
            calls=len(answers),
            refused=next((call.refused for call in self.calls if call.refused), ""),
            prompt_tokens=sum(sent or 0 for sent, _ in tokens),
            completion_tokens=sum(said or 0 for _, said in tokens),
            uncounted=sum(None in pair for pair in tokens),
            dollars=None if not costs or None in costs else round(sum(map(float, costs)), 9),  # type: ignore[arg-type]
            prices=tuple(dict.fromkeys(call.price.date for call in self.calls if call.price)),
            models=tuple(dict.fromkeys(one.model for one in answers if one.model)),
            fingerprints=tuple(
                dict.fromkeys(one.system_fingerprint for one in answers if one.system_fingerprint)
            ),
            used=self.used,
            fallbacks=self.fallbacks,
            warnings=tuple(self._warnings(answers)),
        )

    def _warnings(self, answers: Sequence[Answer]) -> list[str]:
        found = []
        if self.fallbacks > MOSTLY * (self.used + self.fallbacks):
            share = f"{self.fallbacks} of {self.used + self.fallbacks} proposals"
            found.append(f"mostly edits: {share} were made without the language model")
        for words, name in (("models", "model"), ("system fingerprints", "system_fingerprint")):
            if len({getattr(one, name) for one in answers}) > 1:
                found.append(f"the server named several {words} in one run")
        return found


def _line(data: object) -> str:
    """Canonical JSON on one line."""
    return json.dumps(data, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


# Transcripts


def transcript_of(record: PurePath) -> PurePath:
    """The path of a transcript, from the path of its record."""
    return record.with_suffix(ENDING)


def read_transcript(path: Path) -> list[Call]:
    """The calls of a transcript. Raises UserError if it is missing or damaged."""
    try:
        lines = read_bytes(path).split(b"\n")
    except UserError as error:
        raise UserError(f"no transcript: {error} Name its folder.") from error
    calls = []
    for index, line in enumerate(lines[:-1] if lines[-1] == b"" else lines):
        try:
            call = msgspec.json.decode(line, type=Call)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise UserError(f"{path}, line {index + 1} is damaged: {error}.") from error
        if call.index != index or call.sha256 != call.request.sha256:
            raise UserError(f"{path}, line {index + 1} is damaged: its number or its checksum is wrong.")
        calls.append(call)
    return calls


class Replay:
    """The answers of a transcript. Nothing is sent."""

    def __init__(self, path: Path) -> None:
        self.path, self.calls = path, read_transcript(path)

    def ask(self, index: int, request: Request) -> Call:
        """The call in the transcript. Raises ChatFailed if this run makes another request."""
        if index >= len(self.calls):
            raise ChatFailed(f"the transcript {self.path} ends after {index} calls, and this run makes more")
        call = self.calls[index]
        if call.request != request:
            what = difference(call.request, request)
            raise ChatFailed(f"call {index} differs from the transcript {self.path} in {what}")
        return call


def difference(then: Request, now: Request) -> str:
    """The first difference between two requests, e.g. "seed: 1 then, 2 now"."""
    for number, (old, new) in enumerate(zip(then.messages, now.messages, strict=False)):
        if old.role != new.role:
            return f"messages[{number}].role: {old.role!r} then, {new.role!r} now"
        if old.content != new.content:
            same = first_difference(old.content, new.content)
            excerpts = (repr(one.content[max(same - 20, 0) : same + 20]) for one in (old, new))
            return f"messages[{number}].content at character {same}: {' then, '.join(excerpts)} now"
    if len(then.messages) != len(now.messages):
        return f"the number of messages: {len(then.messages)} then, {len(now.messages)} now"
    names = ("model", "temperature", "seed", "max_tokens")
    name = next(name for name in names if getattr(then, name) != getattr(now, name))
    return f"{name}: {getattr(then, name)!r} then, {getattr(now, name)!r} now"


def first_difference(one: str, other: str) -> int:
    """The position of the first character in which two texts differ."""
    shorter = min(len(one), len(other))
    return next((i for i in range(shorter) if one[i] != other[i]), shorter)


class Scripted:
    """A script in place of a language model, for `bench check` and tests.

    It joins the first half of one line of the request with the second half of another.
    """

    def ask(self, index: int, request: Request) -> Call:
        """See Source.ask. The same request always gets the same answer."""
        draw = random.Random(request.sha256)
        shown = [line[2:] for line in request.messages[-1].content.split("\n") if line.startswith("- ")]
        left, right = (draw.choice(shown or ["a photo of a {}."]).partition("{}") for _ in range(2))
        answer = Answer(f"<think>\n- not this\n</think>\n- {left[0]}{{}}{right[2]}", "stop", SCRIPTED)
        return Call(index, request, request.sha256, answer)
