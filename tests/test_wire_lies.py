"""A server that lies, storms or never ends: one line and a failed cell, and never a hang."""

import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
import torch
from wired import cell_of, streamed

from bench.lab import Lab, Settings
from bench.remote import Endpoint, Price, Wiring
from bench.run import run_cell
from bench.wire import connect
from bench.wire.asker import Asked, Asker, Tally
from bench.wire.client import MOST, Client
from bench.wire.failed import WireFailed
from bench.wire.store import Answers

SECRET = "s3cret-key"
Handler = Callable[[httpx2.Request], httpx2.Response]


def at(dialect: str, **more: Any) -> Endpoint:
    answers = "logits" if dialect == "oip" else "probs"
    url = {"oip": "http://server/v2/models/clip", "hf": "http://server/hf", "rank": "http://server/rank"}
    given = {"url": url[dialect], "dialect": dialect, "name": "mini", "image_size": 32, "answers": answers}
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
]


@pytest.mark.parametrize(("dialect", "data", "words"), LIES)
def test_a_lie_is_one_line(dialect: str, data: Any, words: str) -> None:
    with pytest.raises(WireFailed, match=words) as error:
        asked(at(dialect), fixed(data))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"x" * (MOST + 1), endless()], ids=["huge", "endless"])
def test_a_body_without_end_is_left(content: Any) -> None:
    with pytest.raises(WireFailed, match="longer than"):
        asked(at("oip"), lambda request: httpx2.Response(200, content=content))


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


def test_dollars_are_refused_before_the_call() -> None:
    sent = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json=scores(1.0, 2.0, 3.0))

    endpoint = at("oip", price=Price("2026-01-31", image=0.4, request=0.1))
    one = asker(handler, endpoint, spend=1.2)
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


def test_drift_is_seen(tmp_path: Any) -> None:
    store, tally = str(tmp_path / "answers"), Tally()
    question = [Asked(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), ("a", "b", "c"))]
    for run, numbers in (("first", (1.0, 2.0, 3.0)), ("second", (1.0, 2.0, 4.0))):
        one = asker(fixed(scores(*numbers)), at("oip"), store=store, run=run, drift=1.0)
        (found,) = one.ask(question, tally)
        one.close()
    assert found.tolist() == [[1.0, 2.0, 3.0]]
    assert (tally.hits, tally.checked, tally.drifted, tally.requests) == (1, 1, 1, 2)
