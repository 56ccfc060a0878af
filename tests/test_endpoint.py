"""A chat endpoint: what is sent, what is tried again, what is refused, and that the key stays secret."""

import json
import logging
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest
from toy import toy_cell

from bench.chat import ChatFailed, ChatSettings, Conversation, Message, Price, Request
from bench.endpoint import (
    KEY,
    LONGEST_WAIT,
    MOST,
    RETRIES,
    Endpoint,
    checked_url,
    converse,
)
from bench.errors import UserError
from bench.http import key_from
from bench.retry import PATIENCE

SECRET = "sk-very-secret-0123456789"
URL = "http://model.test:8000/v1"
REQUEST = Request("small", (Message("user", "Write a template."),), 1.0, 7, 100)
USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}


def good(text: str | None = "- a {}.", **more: Any) -> httpx2.Response:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return httpx2.Response(200, json={"choices": [choice], "model": "small-1", "usage": USAGE} | more)


def status(code: int, message: str = "no", **headers: str) -> httpx2.Response:
    return httpx2.Response(code, json={"error": {"message": message}}, headers=headers)


class Server:
    """Answers in turn with what it was given; an exception is raised. The last answer repeats."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self.answers, self.requests = list(answers), []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        # streamed, as from a socket
        return httpx2.Response(answer.status_code, headers=answer.headers, content=iter([answer.content]))


def endpoint(server: Callable[..., Any], key: str = SECRET, **settings: Any) -> tuple[Endpoint, list[float]]:
    """An endpoint that speaks with a server of this process, and the waits between its tries."""
    waits: list[float] = []
    place = ChatSettings(**{"url": URL, **settings})
    return Endpoint(place, "small", key, httpx2.MockTransport(server), waits.append), waits


def test_a_request_holds_what_every_server_knows_and_nothing_else() -> None:
    server = Server(good())
    call = endpoint(server)[0].ask(0, REQUEST)
    (sent,) = server.requests
    assert (sent.method, str(sent.url)) == ("POST", f"{URL}/chat/completions")
    assert sent.headers["Authorization"] == f"Bearer {SECRET}"
    assert httpx2.Response(200, content=sent.content).json() == {
        "model": "small",
        "messages": [{"role": "user", "content": "Write a template."}],
        "temperature": 1.0,
        "seed": 7,
        "max_tokens": 100,
        "stream": False,
    }
    assert call.answer is not None and call.tries == 1
    assert (call.answer.text, call.answer.model, call.answer.finish_reason) == ("- a {}.", "small-1", "stop")
    assert (call.answer.prompt_tokens, call.answer.completion_tokens) == (12, 5)


def test_no_key_sends_no_header() -> None:
    server = Server(good())
    endpoint(server, key="")[0].ask(0, REQUEST)
    assert "Authorization" not in server.requests[0].headers


def test_a_server_that_is_busy_is_obeyed() -> None:
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=40), usegmt=True)
    server = Server(status(429, **{"Retry-After": "17"}), status(503, **{"Retry-After": soon}), good())
    asked, waits = endpoint(server)
    call = asked.ask(0, REQUEST)
    assert call.tries == 3 and call.answer is not None
    assert 17 <= waits[0] <= 18 and 35 < waits[1] <= 40


def test_a_server_that_asks_for_too_long_a_wait_has_said_no() -> None:
    server = Server(status(429, **{"Retry-After": str(PATIENCE + 1)}))
    with pytest.raises(ChatFailed, match="asks to wait 301"):
        endpoint(server)[0].ask(0, REQUEST)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        status(500, "out of memory"),
        status(408),
        status(409),
        httpx2.Response(200, content=b"<html>"),
        httpx2.Response(200, json={"choices": []}),
        httpx2.Response(200, json=[1]),
        httpx2.ConnectError("refused"),
        httpx2.ReadTimeout("slow"),
    ],
)
def test_what_may_pass_is_tried_again_with_growing_waits_and_then_given_up(answer: Any) -> None:
    server = Server(answer)
    asked, waits = endpoint(server)
    with pytest.raises(ChatFailed, match=f"no answer from model.test:8000 in {RETRIES + 1} tries") as caught:
        asked.ask(0, REQUEST)
    assert len(server.requests) == RETRIES + 1 and "\n" not in str(caught.value)
    assert len(waits) == RETRIES
    assert all(0 <= wait <= min(LONGEST_WAIT, 2**i) for i, wait in enumerate(waits))
    once = Server(answer, good())
    assert endpoint(once)[0].ask(0, REQUEST).tries == 2


@pytest.mark.parametrize("code", [400, 401, 403, 404, 422])
def test_a_refusal_stops_at_once_with_one_line(code: int) -> None:
    server = Server(status(code, f"bad\nkey {SECRET}"))
    asked, waits = endpoint(server)
    with pytest.raises(ChatFailed) as caught:
        asked.ask(0, REQUEST)
    assert str(caught.value) == f"model.test:8000 refuses the request: status {code}: bad key [key]"
    assert len(server.requests) == 1 and not waits


def test_a_redirect_is_not_followed() -> None:
    server = Server(httpx2.Response(307, headers={"Location": "http://elsewhere.test/"}))
    with pytest.raises(ChatFailed, match=r"status 307 \(a redirect"):
        endpoint(server)[0].ask(0, REQUEST)
    assert len(server.requests) == 1


def test_an_answer_has_a_longest_size() -> None:
    with pytest.raises(ChatFailed, match="longer than"):
        endpoint(Server(good("x" * MOST)))[0].ask(0, REQUEST)


def test_an_answer_without_words_is_empty_and_what_cannot_be_written_is_replaced() -> None:
    for sent, read in ((None, ""), ("- \ud800{}", "- ?{}")):
        body = good(sent) if sent is None else httpx2.Response(200, content=_escaped(sent))
        answer = endpoint(Server(body))[0].ask(0, REQUEST).answer
        assert answer is not None and answer.text == read


def _escaped(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


# Budgets


def test_a_call_beyond_the_budget_is_refused_before_it_is_made() -> None:
    server = Server(good())
    asked, _ = endpoint(server, calls=2)
    calls = [asked.ask(i, REQUEST) for i in range(3)]
    assert [call.answer is None for call in calls] == [False, False, True]
    assert calls[2].refused == "2 of 2 calls are made" and len(server.requests) == 2


PRICE = Price("small", prompt=2.0, completion=10.0, date="2026-01-31")


def test_dollars_are_counted_and_no_call_can_pass_them() -> None:
    """A call costs at most (17 + 16 tokens) * $2 + 100 tokens * $10 a million; this server's: 12 and 5."""
    server = Server(good())
    asked, _ = endpoint(server, prices=(PRICE,), dollars=0.0012)
    calls = [asked.ask(i, REQUEST) for i in range(4)]
    assert calls[0].cost == pytest.approx(74e-6)
    assert [call.answer is None for call in calls] == [False, False, True, True]
    assert "of 0.0012 dollars are spent" in calls[2].refused and len(server.requests) == 2


def test_tokens_that_the_server_does_not_count_are_paid_at_their_bound() -> None:
    call = endpoint(Server(good(usage=None)), prices=(PRICE,))[0].ask(0, REQUEST)
    assert call.cost == pytest.approx((33 * 2 + 100 * 10) / 1e6)


def test_a_limit_in_dollars_needs_a_price() -> None:
    with pytest.raises(UserError, match="needs the price of 'small'"):
        endpoint(Server(good()), dollars=1.0)


# The key


def test_the_key_is_nowhere_but_in_the_header(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = Server(
        good(f"- {SECRET} {{}}", model=SECRET, system_fingerprint=f"fp {SECRET}"), status(401, SECRET)
    )
    talk = Conversation(endpoint(server)[0], "small")
    assert talk.complete([{"role": "user", "content": "hello"}], 1.0, 7, 100) == "- [key] {}"
    try:
        talk.complete([{"role": "user", "content": "again"}], 1.0, 7, 100)
    except ChatFailed:
        shown = traceback.format_exc()
    assert SECRET not in shown + caplog.text + repr(talk.calls) + repr(vars(talk.chat.__class__))
    assert all(SECRET in request.headers["Authorization"] for request in server.requests)


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_what_no_header_may_hold_is_no_key_and_is_not_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, key)
    with pytest.raises(UserError, match=KEY) as caught:
        key_from(KEY, "https://model.test/v1")
    assert key not in str(caught.value)
    monkeypatch.setenv(KEY, f" {SECRET}\n")
    assert key_from(KEY, "https://model.test/v1") == SECRET


def test_the_key_crosses_no_public_network_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, SECRET)
    cell = toy_cell(method="llm")
    with pytest.raises(UserError, match=f"{KEY} would go to model.test without encryption") as caught:
        converse(cell, "small", ChatSettings(url=URL))
    assert SECRET not in str(caught.value)
    for url in ("https://model.test/v1", "http://localhost:11434/v1", "http://192.168.1.7:8000/v1"):
        assert converse(cell, "small", ChatSettings(url=url)).source is not None


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000/v1", "ftp://a/v1", "http://", f"https://user:{SECRET}@a/v1", f"https://a/v1?key={SECRET}",
     "https://a/v1#x", "http://a:b/v1"],
)  # fmt: skip
def test_an_address_is_an_address_alone(url: str) -> None:
    with pytest.raises(UserError) as caught:
        checked_url(url)
    assert SECRET not in str(caught.value) and "\n" not in str(caught.value)


# Before a run


def models(*names: str) -> httpx2.Response:
    return httpx2.Response(200, json={"object": "list", "data": [{"id": name} for name in names]})


@pytest.mark.parametrize(
    "answer", [models("large", "small"), models("small:latest"), models(), status(404), status(405)]
)
def test_a_model_that_is_served_passes(answer: httpx2.Response) -> None:
    """As does one on a server that does not say what it serves."""
    server = Server(answer)
    endpoint(server)[0].check_model()
    assert [str(one.url) for one in server.requests] == [f"{URL}/models"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (models("smaller"), "serves no model 'small'. Did you mean 'smaller'?"),
        (status(401, SECRET), "status 401: .key."),
        (httpx2.ConnectError("refused"), "ConnectError: refused"),
    ],
)
def test_a_model_that_cannot_be_asked_is_refused_in_one_line(answer: Any, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        endpoint(Server(answer))[0].check_model()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "settings", "says"),
    [
        ("", ChatSettings(url=URL), "llm names no language model: add --set llm.model=NAME"),
        ("small", ChatSettings(), "give --llm-url URL"),
        ("small", ChatSettings(replay="/nowhere"), "no transcript: cannot read /nowhere"),
    ],
)
def test_what_is_missing_is_named(model: str, settings: ChatSettings, says: str) -> None:
    with pytest.raises(UserError, match=says):
        converse(toy_cell(method="llm"), model, settings)
