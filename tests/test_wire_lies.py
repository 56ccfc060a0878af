"""A server that lies, storms or never ends: one line and a failed cell, and never a hang."""

import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx2
import pytest
import torch
from wired import cell_of, streamed

from bench.answered import parse
from bench.bill import Bill, Part
from bench.commands.wire import leave_some_for_queries
from bench.errors import UserError
from bench.lab import Lab, Settings
from bench.remote import Endpoint, Price, Wiring
from bench.runner import run_cell
from bench.wire import connect
from bench.wire.asker import Asked, Asker, Tally
from bench.wire.client import MOST, Client
from bench.wire.dialects import ASKED, most_tokens
from bench.wire.failed import WireFailed
from bench.wire.probe import Probe, probe, refuse
from bench.wire.store import Answers

SECRET = "s3cret-key"
Handler = Callable[[httpx2.Request], httpx2.Response]


def at(dialect: str, **more: Any) -> Endpoint:
    answers = {"oip": "logits", "chat": "label"}.get(dialect, "probs")
    routes = {"oip": "v2/models/clip", "hf": "hf", "rank": "rank", "chat": "v1"}
    given = {
        "url": f"http://server/{routes[dialect]}",
        "dialect": dialect,
        "name": "mini",
        "image_size": 32,
        "answers": answers,
    }
    return Endpoint(**(given | more))


def asker(handler: Handler, endpoint: Endpoint, slept: list[float] | None = None, **wiring: Any) -> Asker:
    """What asks a server that is a function."""
    given = Wiring(**wiring)
    sleep = (slept if slept is not None else []).append
    client = Client(given, SECRET, httpx2.MockTransport(lambda request: streamed(handler(request))), sleep)
    return Asker(endpoint, given, client, Answers(given.store))


def asked(endpoint: Endpoint, handler: Handler, slept: list[float] | None = None, **wiring: Any) -> Any:
    one = asker(handler, endpoint, slept, **wiring)
    try:
        return one.ask([Asked(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), ("a", "b", "c"))], Tally())
    finally:
        one.close()


def fixed(data: Any) -> Handler:
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return lambda request: httpx2.Response(200, content=text)


def scores(*numbers: Any, **more: Any) -> dict[str, Any]:
    return {"outputs": [{"name": "scores", "datatype": "FP64", "shape": [1, 3], "data": [*numbers]} | more]}


def labels(*pairs: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"label": label, "score": score} for label, score in pairs]


def reply(text: Any, **usage: int) -> dict[str, Any]:
    """A chat completion."""
    return {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage}


def endless() -> Iterator[bytes]:
    while True:
        yield b"[" * 65536


LIES = [
    ("oip", scores(1.0, float("nan"), 2.0), "not finite"),
    ("oip", scores(1.0, float("inf"), 2.0), "not finite"),
    ("oip", scores(1.0, 10**400, 2.0), "shape"),
    ("oip", scores(1.0, 2.0), "2 scores"),
    ("oip", scores(1.0, 2.0, 3.0, 4.0), "4 scores"),
    ("oip", scores(1.0, "2", 3.0), "no numbers"),
    ("oip", scores(1.0, True, 3.0), "no numbers"),
    ("oip", scores(data={"a": 1}), "no scores"),
    ("oip", {"outputs": []}, "shape"),
    ("oip", {"outputs": [{"name": "labels", "data": [3]}]}, "not sent"),
    ("oip", {"outputs": [{"name": "labels", "data": [-1]}]}, "not sent"),
    ("oip", {"outputs": [{"name": "labels", "data": [1, 1]}]}, "twice"),
    ("oip", {"outputs": [{"name": "labels", "data": []}]}, "labels"),
    ("oip", {"error": "?"}, "shape"),
    ("oip", [], "shape"),
    ("oip", b"<html>", "no JSON"),
    ("oip", b"[" * 100_000, "no JSON"),
    ("oip", b"", "no JSON"),
    ("hf", labels(("a", 0.5), ("b", 0.2), ("d", 0.3)), "not sent"),
    ("hf", labels(("a", 0.5), ("b", 0.2), ("b", 0.3)), "twice"),
    ("hf", labels(("a", 0.5), ("b", float("nan")), ("c", 0.3)), "not finite"),
    ("hf", labels(("a", 0.5), ("b", 1.2), ("c", 0.3)), "no probabilities"),
    ("hf", labels(("a", None), ("b", 0.2), ("c", 0.3)), "no numbers"),
    ("hf", [], "no list"),
    ("hf", {"error": "loading"}, "no list"),
    ("hf", ["a", "b", "c"], "shape"),
    ("rank", {"probabilities": [[0.5, 0.5]]}, "2 scores"),
    ("rank", {"probabilities": [[0.5, 0.5, None]]}, "no numbers"),
    ("rank", {"cosine_similarities": [[0.5, 0.5, 0.1]]}, "shape"),
    ("chat", reply("d"), "not sent: 'd'"),
    ("chat", reply("a or b"), "not sent: 'a or b'"),
    ("chat", reply("A"), "not sent: 'A'"),
    ("chat", reply("I cannot\nsay \x1b[2J."), "not sent: 'I cannot say "),
    ("chat", reply("x" * 10**5), "not sent"),
    ("chat", reply(""), "not sent: ''"),
    ("chat", reply(None), "not sent: ''"),
    ("chat", {"choices": []}, "shape"),
    ("chat", {"error": {"message": "?"}}, "shape"),
]


@pytest.mark.parametrize(("dialect", "data", "words"), LIES)
def test_a_lie_is_one_line(dialect: str, data: Any, words: str) -> None:
    with pytest.raises(WireFailed, match=words) as error:
        asked(at(dialect), fixed(data))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["b", " b\n", "- b", '"b"', "`b`"])
def test_a_chat_answers_with_one_of_the_texts(text: str) -> None:
    (said,) = asked(at("chat"), fixed(reply(text)))
    assert said.nan_to_num(0.0).tolist() == [[0.0, 1.0, 0.0]]


def test_a_chat_is_asked_with_what_every_server_knows() -> None:
    sent: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json=reply("a"))

    asked(at("chat"), handler)
    (request,) = sent
    body = json.loads(request.content)
    assert str(request.url) == "http://server/v1/chat/completions"
    assert set(body) == {"model", "messages", "temperature", "seed", "max_tokens", "stream"}
    assert (body["model"], body["temperature"], body["stream"]) == ("mini", 0.0, False)
    words, image = body["messages"][0]["content"]
    assert words["text"].endswith("\n- a\n- b\n- c")
    assert image["image_url"]["url"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("texts", [("a", "a"), ("a", "b\nc"), ("a", "b ")])
def test_what_a_chat_cannot_list_is_not_sent(texts: tuple[str, ...]) -> None:
    one = asker(lambda _: pytest.fail("sent"), at("chat"))
    with pytest.raises(WireFailed):
        one.ask([Asked(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), texts)], Tally())
    one.close()


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [({"prompt_tokens": 40, "completion_tokens": 2}, (40, 2)), ({"prompt_tokens": 40}, (40, 17)), ({}, None)],
)
def test_tokens_are_paid_as_counted_else_at_their_bound(
    usage: dict[str, int], tokens: tuple[int, int] | None
) -> None:
    price = Price("2026-01-31", prompt=1e6, completion=2e6, image_tokens=300)
    endpoint, tally = at("chat", price=price), Tally()
    most = most_tokens(("a", "b", "c"), endpoint)
    assert most == (len(f"{ASKED}\n- a\n- b\n- c") + 16 + 300, 17)
    one = asker(fixed(reply("a", **usage)), endpoint, spend=sum(most) + most[1])
    question = [Asked(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), ("a", "b", "c"))]
    one.ask(question, tally)
    sent, said = tokens or most
    assert (tally.prompt_tokens, tally.completion_tokens, tally.dollars) == (sent, said, sent + 2 * said)
    assert one.answers.paid() == tally.dollars
    with pytest.raises(WireFailed, match="dollars are spent"):  # the bound of another call does not fit
        one.ask(question, tally, "another")
    one.close()


def test_an_unknown_label_is_counted_and_paid_for() -> None:
    price, tally = Price("2026-01-31", image=0.5), Tally()
    one = asker(fixed(reply(f"neither, {SECRET}")), at("chat", price=price))
    with pytest.raises(WireFailed, match=r"not sent: 'neither, \[key\]'"):
        one.ask([Asked(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), ("a", "b"))], tally)
    assert (tally.requests, tally.images, tally.dollars) == (1, 1, 0.5)
    one.close()


@pytest.mark.parametrize("content", [b"x" * (MOST + 1), endless()], ids=["huge", "endless"])
def test_a_body_without_end_is_left(content: Any) -> None:
    with pytest.raises(WireFailed, match="longer than"):
        asked(at("oip"), lambda request: httpx2.Response(200, content=content))


# The probe

TEXTS, OTHERS = ("red", "green", "blue"), ("a red one", "a green one", "a blue one")


def probed(dialect: str, answer: Callable[[list[str]], Any]) -> tuple[Probe, Endpoint]:
    """What is seen of a server that answers texts with `answer`."""

    def handler(request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content)
        if dialect == "oip":
            return httpx2.Response(200, json=scores(*answer(body["inputs"][1]["data"])))
        lines = body["messages"][0]["content"][0]["text"].split("\n- ")[1:]
        return httpx2.Response(200, json=reply(answer(lines)))

    endpoint = at(dialect)
    one = asker(handler, endpoint)
    try:
        return probe(one, TEXTS, OTHERS), endpoint
    finally:
        one.close()


def test_a_good_endpoint_passes_the_probe() -> None:
    found, endpoint = probed("oip", lambda texts: [zlib.crc32(text.encode()) / 1e9 for text in texts])
    assert (found.deterministic, found.follows, found.worded, found.requests) == (True, True, True, 4)
    assert "WARNING" not in str(found) and "(probe: 4 requests)" in str(found)
    refuse(found, parse("logits"), endpoint)


def test_scores_that_do_not_follow_their_labels_are_refused() -> None:
    found, endpoint = probed("oip", lambda texts: sorted(zlib.crc32(text.encode()) / 1e9 for text in texts))
    assert found.follows is False
    with pytest.raises(UserError, match="do not belong to the labels") as error:
        refuse(found, parse("logits"), endpoint)
    assert "\n" not in str(error.value)


def test_words_that_do_not_arrive_are_a_warning() -> None:
    names = {"red": 1.0, "green": 2.0, "blue": 3.0}
    found, endpoint = probed(
        "oip", lambda texts: [next(v for k, v in names.items() if k in t) for t in texts]
    )
    assert (found.follows, found.worded) == (True, False)
    assert "WARNING: another template gets the same answer" in str(found)
    refuse(found, parse("logits"), endpoint)


def test_a_chat_may_prefer_the_first_of_a_list() -> None:
    found, endpoint = probed("chat", lambda texts: texts[0])
    assert (found.level, found.follows, found.worded, found.requests) == (parse("label"), False, None, 3)
    assert "WARNING: another order" in str(found)
    refuse(found, parse("label"), endpoint)
    steady, _ = probed("chat", lambda texts: "green")
    assert steady.follows is True


def test_what_changes_by_itself_says_nothing_about_order() -> None:
    count = iter(range(10**6))
    found, endpoint = probed("oip", lambda texts: [float(next(count)) for _ in texts])
    assert (found.deterministic, found.follows, found.worded) == (False, None, None)
    assert "ANOTHER answer" in str(found)
    refuse(found, parse("logits"), endpoint)


def test_a_cell_fails_with_that_line_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        images, texts = (one["data"] for one in json.loads(request.content)["inputs"])
        # the probe asks about one image; then the lies begin
        numbers = [float(zlib.crc32(text.encode())) for text in texts]
        numbers = numbers if len(images) == 1 else [float("nan")] * len(images) * len(texts)
        return httpx2.Response(200, content=json.dumps(scores(*numbers)).encode())

    monkeypatch.setattr(connect, "connected", lambda found, wiring: asker(handler, found))
    record = run_cell(cell_of("head", at("oip"), budgets=[30]), Settings(), Lab(Settings()))
    assert not record.ok
    assert record.error is not None
    assert "\n" not in record.error.strip()
    assert record.reason == record.error


def test_a_storm_of_429_ends() -> None:
    slept: list[float] = []
    left = [6]

    def handler(request: httpx2.Request) -> httpx2.Response:
        left[0] -= 1
        if left[0] >= 0:
            return httpx2.Response(429, headers={"Retry-After": "7"}, json={"error": "slow down"})
        return httpx2.Response(200, json=scores(1.0, 2.0, 3.0))

    (found,) = asked(at("oip"), handler, slept)
    assert found.tolist() == [[1.0, 2.0, 3.0]]
    assert len(slept) == 6
    assert all(7 <= wait <= 60 for wait in slept)


def test_a_storm_without_end_ends_as_well() -> None:
    slept: list[float] = []
    with pytest.raises(WireFailed, match=r"no answer from server in 9 tries.*429.*slow down"):
        asked(at("oip"), lambda _: httpx2.Response(429, json={"error": "slow down"}), slept)
    assert len(slept) == 8
    assert all(0 <= wait <= 60 for wait in slept)


def test_a_wait_that_is_too_long_is_a_no() -> None:
    with pytest.raises(WireFailed, match="run again later"):
        asked(at("oip"), lambda _: httpx2.Response(503, headers={"Retry-After": "86400"}))


def test_what_was_paid_for_is_kept_when_another_request_fails(tmp_path: Any) -> None:
    store = str(tmp_path / "answers")
    endpoint = at("hf")
    good = labels(("a", 0.5), ("b", 0.3), ("c", 0.2))
    sent: list[str] = []
    first, lock = threading.Event(), threading.Lock()

    def handler(request: httpx2.Request) -> httpx2.Response:
        with lock:
            sent.append(request.headers["Idempotency-Key"])
            number = len(sent)
        if number > 1:
            first.wait(10)
            return httpx2.Response(402)
        first.set()
        time.sleep(0.1)
        return httpx2.Response(200, json=good)

    images = torch.arange(12, dtype=torch.uint8)[:, None, None, None].expand(12, 3, 32, 32)
    one = asker(handler, endpoint, store=store, at_once=2)
    with pytest.raises(WireFailed, match="402"):
        one.ask([Asked(images, ("a", "b", "c"))], Tally())
    one.close()
    assert len(sent) < 12
    tally = Tally()
    again = asker(fixed(good), endpoint, store=store)
    again.ask([Asked(images, ("a", "b", "c"))], tally)
    again.close()
    assert (tally.hits, tally.images) == (1, 11)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
def test_a_refusal_is_one_line_and_no_retry(status: int) -> None:
    sent = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(status, json={"error": f"no\nway with {SECRET}"})

    with pytest.raises(WireFailed, match=f"status {status}") as error:
        asked(at("oip"), handler)
    assert len(sent) == 1
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)


def test_a_redirect_is_not_followed() -> None:
    sent = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.url)
        return httpx2.Response(307, headers={"Location": "http://elsewhere/"})

    with pytest.raises(WireFailed, match="a redirect"):
        asked(at("oip"), handler)
    assert len(sent) == 1


def test_a_retry_has_the_name_of_the_first_try() -> None:
    names = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        names.append(request.headers["Idempotency-Key"])
        return httpx2.Response(500 if len(names) < 3 else 200, json=scores(1.0, 2.0, 3.0))

    asked(at("oip"), handler)
    assert len(names) == 3
    assert len(set(names)) == 1


def test_dollars_are_refused_before_the_call(tmp_path: Any) -> None:
    sent, store = [], str(tmp_path / "answers")

    def handler(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json=scores(1.0, 2.0, 3.0))

    endpoint = at("oip", price=Price("2026-01-31", image=0.4, request=0.1))
    one = asker(handler, endpoint, spend=1.2, store=store)
    tally = Tally()
    images = torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 3, 32, 32)
    for image in images[:2]:
        one.ask([Asked(image[None], ("a", "b", "c"))], tally)
    with pytest.raises(WireFailed, match="dollars are spent"):
        one.ask([Asked(images[2:], ("a", "b", "c"))], tally)
    one.ask([Asked(images[:2], ("a", "b", "c"))], tally)
    one.close()
    assert len(sent) == 2
    assert (tally.dollars, tally.images, tally.hits) == (1.0, 2, 2)
    # a later run of the same store has what is left, and no more
    for spend, paid in ((1.4, 2), (1.6, 3)):
        later = asker(handler, endpoint, spend=spend, store=store, run=f"later {spend}", drift=0.0)
        with suppress(WireFailed):
            later.ask([Asked(images, ("a", "b", "c"))], Tally())
        assert len(sent) == paid
        assert later.answers.paid() == pytest.approx(0.5 * paid)
        later.close()


def test_drift_is_seen(tmp_path: Any) -> None:
    store, tally = str(tmp_path / "answers"), Tally()
    question = [Asked(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), ("a", "b", "c"))]
    for run, numbers in (("first", (1.0, 2.0, 3.0)), ("second", (1.0, 2.0, 4.0))):
        one = asker(fixed(scores(*numbers)), at("oip"), store=store, run=run, drift=1.0)
        (found,) = one.ask(question, tally)
        one.close()
    assert found.tolist() == [[1.0, 2.0, 3.0]]
    assert (tally.hits, tally.checked, tally.drifted, tally.requests) == (1, 1, 1, 2)


@pytest.mark.parametrize("status", [400, 404, 405, 422])
def test_a_server_of_another_dialect_is_asked_about_it(status: int) -> None:
    transport = httpx2.MockTransport(lambda _: streamed(httpx2.Response(status)))
    with pytest.raises(WireFailed, match="asked in the dialect hf, and may speak oip, rank, chat"):
        Client(Wiring(), "", transport, dialect="hf").post("http://server/hf", b"{}", "one")
    one = connect.connected(at("hf"), Wiring())
    one.close()
    assert one.client.dialect == "hf"


def test_a_limit_that_scoring_eats_is_refused_or_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    """Scoring an untuned prompt costs $1 on one data set and $3 on the other."""
    price = Price("2026-01-31", image=0.001)
    found = Bill(price, Part(5000, 200), Part(12000, 300), (Part(1000, 20), Part(3000, 60)))
    with pytest.raises(UserError, match=r"costs \$4\.0000 for 2 data sets, so nothing would be left"):
        leave_some_for_queries(found, 1.0, 0.0, "give more")
    for spend, paid, warned in ((1.5, 0.0, True), (1.0, 0.5, True), (5.0, 0.0, False), (5.0, 2.0, True)):
        leave_some_for_queries(found, spend, paid, "give more")
        assert ("costs $4.0000 for 2 data sets unless earlier runs paid" in capsys.readouterr().err) == warned
    leave_some_for_queries(Bill(price, Part(), Part(12000, 300)), 0.1, 0.0, "")  # nothing is tuned
