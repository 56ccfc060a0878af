"""An OpenAI-compatible chat endpoint as a source of answers: a hosted one, or your own server.

It uses two routes, GET /models and POST /chat/completions. The second gets only fields that every server
knows: model, messages, temperature, seed, max_tokens. The key comes only from BENCH_LLM_KEY, and is written
only to the header of the request.
"""

import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from bench import http
from bench.cell import Cell
from bench.chat import (
    SCRIPTED,
    Answer,
    Call,
    ChatFailed,
    ChatSettings,
    Conversation,
    Price,
    Replay,
    Request,
    Scripted,
    answer_of,
    model_names,
    transcript_of,
)
from bench.errors import UserError, did_you_mean
from bench.http import Refused, Rules
from bench.retry import NoAnswer, Rule, Sleep, Tried, Unusable

T = TypeVar("T")

KEY = "BENCH_LLM_KEY"  # the environment variable that holds the key
TIMEOUT = httpx2.Timeout(120.0, connect=5.0)  # seconds without a byte
DEADLINE = 600.0  # seconds for one whole answer
MOST = 1 << 20  # bytes of one answer
RETRIES = 6
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds between two tries


class Endpoint:
    """Calls one model at one endpoint. It counts the calls and refuses a call that would exceed a budget."""

    def __init__(
        self,
        settings: ChatSettings,
        model: str,
        key: str = "",
        transport: httpx2.BaseTransport | None = None,
        sleep: Sleep = time.sleep,
    ) -> None:
        self.settings, self.model, self._key = settings, model, key
        self._rules = Rules(MOST, DEADLINE, key)
        self.url = checked_url(settings.url)
        self.price = price_of(model, settings)
        self._transport, self._sleep = transport, sleep
        # An own generator, because Python's global one must not change during a cell.
        self._jitter = random.Random()
        self.calls, self.dollars = 0, 0.0

    def ask(self, index: int, request: Request) -> Call:
        """See Source.ask. Raises ChatFailed if the server refuses, or if no try gives an answer."""
        why = self._refused(request)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        if why:
            return Call(index, request, request.sha256, refused=why, price=self.price, time=now)
        self.calls += 1
        clock = time.perf_counter()
        body = json.dumps({**asdict(request), "stream": False}).encode()
        found = self._tried("POST", "/chat/completions", self._read, body)
        seconds = round(time.perf_counter() - clock, 3)
        call = Call(index, request, request.sha256, found.value, "", self.price, seconds, found.tries, now)
        self.dollars += call.cost or 0.0
        return call

    def _refused(self, request: Request) -> str:
        """Why a call may not be made; "" if it may."""
        s = self.settings
        if self.calls >= s.calls:
            return f"{self.calls} of {s.calls} calls are made"
        if s.dollars is None or self.price is None:
            return ""
        most = request.most_tokens * self.price.prompt + request.max_tokens * self.price.completion
        if self.dollars + most / 1e6 > s.dollars:
            return (
                f"{self.dollars:.4f} of {s.dollars:g} dollars are spent, and a call may cost {most / 1e6:.4f}"
            )
        return ""

    def check_model(self) -> None:
        """Ask the server which models it has. Raises UserError if this one is missing or nothing answers.

        A server without this route passes the check.
        """
        try:
            served = self._tried("GET", "/models", model_names, retries=1).value
        except ChatFailed as error:
            raise UserError(f"{error}.") from None
        # ollama lists a model "name" as "name:latest".
        if served and not {self.model, f"{self.model}:latest"} & set(served):
            hint = did_you_mean(self.model, served)
            raise UserError(f"{self.host} serves no model {self.model!r}. {hint}")

    @property
    def host(self) -> str:
        """The host of the endpoint, with the port if the URL has one."""
        return self.url.netloc.decode()

    # One request

    def _tried(
        self,
        method: str,
        route: str,
        read: Callable[[Any], T],
        body: bytes | None = None,
        retries: int = RETRIES,
    ) -> Tried[T]:
        """The answer, converted by `read`. Raises ChatFailed."""
        rule = Rule(retries, FIRST_WAIT, LONGEST_WAIT)
        try:
            return rule.tried(
                lambda: read(self._sent(method, route, body)), self.host, self._jitter, self._sleep
            )
        except (NoAnswer, Refused) as error:
            raise ChatFailed(str(error)) from None

    def _sent(self, method: str, route: str, body: bytes | None) -> Any:
        """The JSON of a good answer. Raises Unusable if another try may help, otherwise Refused."""
        try:
            with httpx2.Client(timeout=TIMEOUT, transport=self._transport, follow_redirects=False) as client:
                data = self._rules.send(client, method, f"{self.url}{route}", body).body
        except Refused as error:
            if method == "GET" and error.status in (404, 405):
                return {}
            raise
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise Unusable("its answer is no JSON") from error

    def _read(self, data: Any) -> Answer:
        """The answer in a response. Raises Unusable if the response has another shape."""
        try:
            found = answer_of(data)
        except ValueError as error:
            raise Unusable(str(error)) from None
        return replace(
            found,
            text=http.without(found.text, self._key),
            finish_reason=self._word(found.finish_reason),
            model=self._word(found.model),
            system_fingerprint=self._word(found.system_fingerprint),
        )

    def _word(self, value: str | None) -> str | None:
        return None if value is None else http.without(value, self._key)[: http.SAID]


# The user's settings


def checked_url(text: str) -> httpx2.URL:
    """The address of an endpoint. Raises UserError if it is not an address, or holds a key or a password."""
    return http.checked_url(text, "--llm-url", KEY, "http://localhost:11434/v1")


def price_of(model: str, settings: ChatSettings) -> Price | None:
    """The price of a model, or None. Raises UserError if dollars are limited and there is no price."""
    price = next((one for one in settings.prices if one.model == model), None)
    if settings.dollars is not None and price is None:
        raise UserError(f"--llm-cost needs the price of {model!r}: give --llm-prices FILE (see docs/llm.md).")
    return price


def converse(cell: Cell, model: str, settings: ChatSettings) -> Conversation:
    """The conversation of a cell. model: the value of the method's parameter `model`.

    Raises UserError if the settings give no source of answers.
    """
    if settings.scripted:
        return Conversation(Scripted(), SCRIPTED)
    if not model:
        raise UserError(f"{cell.method} names no language model: add --set {cell.method}.model=NAME.")
    if settings.replay:
        return Conversation(Replay(_transcript(Path(settings.replay), cell)), model)
    if not settings.url:
        raise UserError(
            f"{cell.method} asks a language model: give --llm-url URL, or --llm-replay FOLDER to ask none."
        )
    key = http.key_from(KEY, str(checked_url(settings.url)))
    return Conversation(Endpoint(settings, model, key), model)


def _transcript(place: Path, cell: Cell) -> Path:
    """The path of the cell's transcript: below `place` if that is a folder, else `place` itself."""
    return place / transcript_of(cell.path) if place.is_dir() else place


def check_model(cell: Cell, model: str, settings: ChatSettings) -> None:
    """Ask the endpoint, if there is one, about the model of a cell. Raises UserError."""
    source = converse(cell, model, settings).source
    if isinstance(source, Endpoint):
        source.check_model()
