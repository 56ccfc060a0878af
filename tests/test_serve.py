"""The server: what it answers, whom it bills, what it refuses, and that nothing breaks it."""

import asyncio
import base64
import io
import json
import random
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from toy import ToyBackbone

from bench.answered import parse
from bench.commands import serve as command
from bench.commands.main import main
from bench.data.images import View
from bench.serve import limits
from bench.serve.app import Manners, make_app
from bench.serve.batcher import Batcher
from bench.serve.bucket import Bucket
from bench.serve.keys import Account, Accounts, accounts_of
from bench.serve.memory import Memory
from bench.serve.model import Model
from bench.serve.refused import Refused
from bench.serve.run import listen

SECRET = "a-secret-key"
INFER = "/v2/models/clip/infer"
CHAT = "/v1/chat/completions"
Ask = Callable[[httpx2.AsyncClient], Awaitable[Any]]


def model(answers: str = "logits") -> Model:
    return Model(ToyBackbone(), parse(answers), View(16))


def served(ask: Ask, answers: str = "logits", accounts: Accounts | None = None, **manners: Any) -> Any:
    """What `ask` returns, given a client of the application."""
    app = make_app(
        model(answers), accounts or Accounts({}, {}, 1.0), Manners(**manners), features=answers == "logits"
    )

    async def run() -> Any:
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
            return await ask(client)

    return asyncio.run(run())


def picture(shade: int = 100, size: tuple[int, int] = (16, 16), kind: str = "PNG") -> str:
    file = io.BytesIO()
    Image.new("RGB", size, (shade, 10, 200)).save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


def infer(images: list[str], texts: list[str], **more: Any) -> dict[str, Any]:
    pairs = (("images", images), ("texts", texts))
    inputs = [{"name": n, "datatype": "BYTES", "shape": [len(v)], "data": v} for n, v in pairs]
    return {"inputs": inputs} | more


def hf(image: Any, labels: Any, **more: Any) -> dict[str, Any]:
    return {"inputs": image, "parameters": {"candidate_labels": labels} | more}


def chat(image: Any, texts: list[str], **more: Any) -> dict[str, Any]:
    words = "\n".join(["Which?", *(f"- {text}" for text in texts)])
    content = [{"type": "text", "text": words}, {"type": "image_url", "image_url": {"url": image}}]
    return {"model": "toy", "messages": [{"role": "user", "content": content}]} | more


def data_url(image: str) -> str:
    return f"data:image/png;base64,{image}"


# What is answered


def test_all_dialects_say_the_same() -> None:
    texts = ["red", "green", "blue"]

    async def ask(client: httpx2.AsyncClient) -> Any:
        rank = {"queries": [{"img_blob": picture()}], "candidates": [{"text": one} for one in texts]}
        question = hf(picture(), texts, hypothesis_template="{}")
        bodies = {INFER: infer([picture()], texts, id="7"), "/hf/models/clip": question, "/rank": rank}
        return [(await client.post(route, json=body)).json() for route, body in bodies.items()]

    oip, pairs, rank = served(ask)
    logits = torch.tensor(oip["outputs"][0]["data"], dtype=torch.float64)
    assert (oip["id"], oip["outputs"][0]["shape"]) == ("7", [1, 3])
    torch.testing.assert_close(torch.tensor(rank["probabilities"][0]).double(), logits.softmax(0))
    cosines = torch.tensor(rank["cosine_similarities"][0]).double()
    torch.testing.assert_close(10 * cosines, logits, atol=1e-4, rtol=0)
    assert [one["label"] for one in pairs] == [texts[i] for i in logits.argsort(descending=True)]
    assert sum(one["score"] for one in pairs) == pytest.approx(1)


@pytest.mark.parametrize("answers", ["logits", "top:2", "label"])
def test_a_chat_answers_with_the_best_text(answers: str) -> None:
    texts = ["red", "green", "blue"]

    async def ask(client: httpx2.AsyncClient) -> Any:
        pairs = await client.post("/hf/models/clip", json=hf(picture(), texts, hypothesis_template="{}"))
        said = await client.post(CHAT, json=chat(data_url(picture()), texts))
        return pairs.json(), said.json(), (await client.get("/v1/models")).json()

    pairs, said, models = served(ask, answers)
    assert said["choices"][0]["message"] == {"role": "assistant", "content": pairs[0]["label"]}
    usage = said["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert [one["id"] for one in models["data"]] == [said["model"]] == ["toy"]


@pytest.mark.parametrize(("answers", "count"), [("top:2", 2), ("label", 1), ("probs:2", 3)])
def test_cut_answers_say_no_more(answers: str, count: int) -> None:
    async def ask(client: httpx2.AsyncClient) -> Any:
        oip = await client.post(INFER, json=infer([picture()], ["a", "b", "c"]))
        return oip.json(), (await client.post("/hf/models/clip", json=hf(picture(), ["a", "b", "c"]))).json()

    oip, pairs = served(ask, answers)
    names = {one["name"]: one["data"] for one in oip["outputs"]}
    assert len(pairs) == count
    assert len(names.get("labels", names.get("scores"))) == count
    assert ("score" in pairs[0]) == ("scores" in names) == (answers != "label")
    if answers == "probs:2":
        assert all(round(one["score"], 2) == one["score"] for one in pairs)


def test_features_only_where_granted() -> None:
    body = {"data": [{"text": "a"}, {"img_blob": picture()}]}

    async def ask(client: httpx2.AsyncClient) -> Any:
        return await client.post("/encode", json=body)

    found = served(ask)
    assert [round(sum(x * x for x in row), 6) for row in found.json()] == [1, 1]
    assert served(ask, "probs").status_code == 404


def test_metadata_names_sizes_and_no_weights() -> None:
    async def ask(client: httpx2.AsyncClient) -> Any:
        routes = ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/clip", "/rank", "/meter")
        return [await client.get(route) for route in routes]

    found = served(ask, "probs:4")
    assert [one.status_code for one in found] == [200] * 6
    told = found[3].json()["parameters"]
    assert (told["answers"], told["image_size"], told["backbone"]) == ("probs:4", 16, "toy")


def test_requests_that_wait_together_are_one_pass() -> None:
    passes = []
    one = model()
    inner = one.images
    one.images = lambda pictures: (passes.append(len(pictures)), inner(pictures))[1]  # type: ignore[method-assign]

    async def run() -> Any:
        batcher = Batcher(one)
        pictures = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
        asked = (batcher.features(pictures + i, (f"text {i}",)) for i in range(6))
        return await asyncio.gather(*asked)

    found = asyncio.run(run())
    assert len(found) == sum(passes) == 6
    assert len(passes) < 6
    for i, (image, text) in enumerate(found):
        alone = inner(torch.full((1, 3, 16, 16), i, dtype=torch.uint8))
        torch.testing.assert_close(image, alone)
        torch.testing.assert_close(text, one.texts((f"text {i}",)))


# Keys, meters, manners


def test_each_key_has_its_meter() -> None:
    accounts = Accounts({"demo": SECRET, "other": "x"}, {"demo": 2, "other": 9}, 500.0)

    async def ask(client: httpx2.AsyncClient) -> Any:
        body = infer([picture(), picture(3)], ["a", "b"])
        mine, wrong = {"Authorization": f"Bearer {SECRET}"}, {"Authorization": "Bearer nobody"}
        sent = [await client.post(INFER, json=body, headers=one) for one in (mine, mine, mine, wrong, {})]
        meters = [await client.get("/meter", headers={"Authorization": f"Bearer {k}"}) for k in (SECRET, "x")]
        return sent, [one.json() for one in meters]

    sent, (demo, other) = served(ask, accounts=accounts)
    assert [one.status_code for one in sent] == [200, 200, 402, 401, 401]
    assert SECRET not in "".join(one.text for one in sent)
    assert (demo["queries"], demo["images"], demo["dollars"], demo["refused"]) == (2, 4, 2.0, 1)
    assert other["queries"] == 0


def test_the_same_request_is_paid_for_once() -> None:
    async def ask(client: httpx2.AsyncClient) -> Any:
        one, two = infer([picture()], ["a", "b"]), infer([picture(1)], ["a", "b"])
        named = {"Idempotency-Key": "k"}
        both = await asyncio.gather(*(client.post(INFER, json=one, headers=named) for _ in range(4)))
        other = await client.post(INFER, json=two, headers=named)
        bad = await client.post(INFER, json={}, headers={"Idempotency-Key": "bad"})
        long = await client.post(INFER, json=one, headers={"Idempotency-Key": "k" * 300})
        return both, other, bad, long, (await client.get("/meter")).json()

    both, other, bad, long, meter = served(ask)
    assert {one.text for one in both} == {both[0].text}
    assert [other.status_code, bad.status_code, long.status_code] == [422] * 3
    assert (meter["queries"], meter["images"], meter["replayed"]) == (1, 1, 3)


def test_a_failed_request_is_not_remembered_and_memory_ends() -> None:
    memory = Memory(most=10)

    async def run() -> list[Any]:
        async def fail() -> Any:
            raise Refused(402, "spent")

        with pytest.raises(Refused):
            await memory.once("a", "1", b"x", fail)
        from bench.serve.memory import Answer

        async def good() -> Answer:
            return Answer(b"12345678", 1)

        return [(await memory.once("a", key, b"x", good))[1] for key in ("1", "1", "2", "1")]

    assert asyncio.run(run()) == [False, True, False, False]


def test_a_bucket_fills_again() -> None:
    now = [0.0]
    bucket = Bucket(2.0, lambda: now[0])
    bucket.take()
    bucket.take()
    with pytest.raises(Refused) as error:
        bucket.take()
    assert error.value.status == 429
    assert float(error.value.headers["Retry-After"]) == pytest.approx(0.5)
    now[0] = 0.5
    bucket.take()


def test_faults_come_from_the_seed_and_are_not_billed() -> None:
    async def ask(client: httpx2.AsyncClient) -> Any:
        found = []
        for i in range(30):
            try:
                found.append((await client.post(INFER, json=infer([picture(i)], ["a", "b"]))).status_code)
            except (httpx2.HTTPError, AssertionError):
                found.append(0)
        return found, (await client.get("/meter")).json()

    (first, meter), (second, _) = (served(ask, faults=0.5, seed=4) for _ in range(2))
    assert first == second
    assert {429, 503} <= set(first)
    assert meter["queries"] == 30 - first.count(429) - first.count(503)


def test_an_account_never_passes_its_limit() -> None:
    account = Account("a", 1)
    account.charge(3, 1)
    with pytest.raises(Refused):
        account.charge(1, 1)
    account.give_back(3, 1)
    assert (account.queries, account.images) == (0, 0)


# What is refused


def bomb() -> str:
    """A PNG of 30,000 x 30,000 pixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    whole = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    return base64.b64encode(whole).decode()


REFUSED = [
    (hf(bomb(), ["a", "b"]), 413, "pixels"),
    (hf(picture(size=(4097, 1000)), ["a", "b"]), 413, "pixels"),
    (hf(picture(size=(4096, 16)), ["a", "b"]), 422, "long"),
    (hf("http://169.254.169.254/latest/meta-data", ["a", "b"]), 422, "not opened"),
    (hf("/etc/passwd", ["a", "b"]), 422, ""),
    (hf("file:///etc/passwd", ["a", "b"]), 422, "not opened"),
    (hf(base64.b64encode(b"GIF89a").decode(), ["a", "b"]), 422, "none of"),
    (hf(picture(kind="BMP"), ["a", "b"]), 422, "none of"),
    (hf(picture()[:40], ["a", "b"]), 422, ""),
    (hf(picture(), ["a"]), 422, "at least 2"),
    (hf(picture(), [str(i) for i in range(1001)]), 413, "1,000"),
    (hf(picture(), ["a" * 1001, "b"]), 413, "1,000"),
    (hf(picture(), ["a", "b"], hypothesis_template="{0.__class__}"), 422, "one {}"),
    (hf(picture(), ["a", "b"], hypothesis_template="none"), 422, "one {}"),
]


@pytest.mark.parametrize(("body", "status", "words"), REFUSED)
def test_what_is_refused(body: Any, status: int, words: str) -> None:
    async def ask(client: httpx2.AsyncClient) -> Any:
        found = await client.post("/hf/models/clip", json=body)
        return found, (await client.get("/meter")).json()

    found, meter = served(ask)
    assert found.status_code == status, found.text
    assert words in found.json()["error"]
    assert meter["queries"] == 0


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (chat("http://169.254.169.254/latest", ["a", "b"]), 422, "not opened"),
        (chat("file:///etc/passwd", ["a", "b"]), 422, "not opened"),
        (chat("data:,/etc/passwd", ["a", "b"]), 422, "not opened"),
        (chat(data_url(bomb()), ["a", "b"]), 413, "pixels"),
        (chat(data_url(picture()), ["a"]), 422, "at least 2"),
        (chat(data_url(picture()), ["a", "b"], model="gpt"), 404, "toy"),
        (chat(data_url(picture()), ["a", "b"], stream=True), 422, "streamed"),
        (chat(data_url(picture()), ["a", "b"], messages=[]), 422, "messages"),
    ],
)
def test_what_a_chat_refuses(body: Any, status: int, words: str) -> None:
    async def ask(client: httpx2.AsyncClient) -> Any:
        return await client.post(CHAT, json=body), (await client.get("/meter")).json()

    found, meter = served(ask)
    assert (found.status_code, meter["queries"]) == (status, 0), found.text
    assert words in found.json()["error"]


def test_an_address_of_an_image_is_not_opened() -> None:
    async def ask(client: httpx2.AsyncClient) -> Any:
        body = {"queries": [{"img_uri": "file:///etc/passwd"}], "candidates": [{"text": "a"}, {"text": "b"}]}
        return await client.post("/rank", json=body)

    found = served(ask)
    assert found.status_code == 422
    assert "not opened" in found.text


def test_a_long_body_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY", 1000)

    async def parts() -> Any:
        for _ in range(100):
            yield b"x" * 100

    async def ask(client: httpx2.AsyncClient) -> Any:
        whole = await client.post(INFER, content=b"x" * 2000)
        return whole.status_code, (await client.post(INFER, content=parts())).status_code

    assert served(ask) == (413, 413)


def malformed(seed: int) -> list[tuple[str, str, bytes]]:
    """Requests that are wrong: random bytes, and good ones with something changed. (method, route, body)."""
    rng = random.Random(seed)
    junk: list[Any] = [
        None,
        True,
        -1,
        1e308,
        "",
        "x",
        [],
        {},
        [[]],
        [None],
        {"a": 1},
        "\ud800",
        "\x00",
        10**30,
    ]
    rank = {"queries": [{"img_blob": picture()}], "candidates": [{"text": "a"}, {"text": "b"}]}
    good = {
        INFER: infer([picture()], ["a", "b"]),
        "/hf/models/clip": hf(picture(), ["a", "b"]),
        "/rank": rank,
        CHAT: chat(data_url(picture()), ["a", "b"]),
    }
    found = []
    for _ in range(240):
        route = rng.choice(list(good))
        data = json.loads(json.dumps(good[route]))
        place, depth = data, rng.randint(0, 5)
        for _ in range(depth):
            inner = [
                v
                for v in (place.values() if isinstance(place, dict) else place)
                if isinstance(v, dict | list) and v
            ]
            place = rng.choice(inner) if inner else place
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        place[key] = rng.choice(junk)
        body = json.dumps(data).encode()
        if rng.random() < 0.3:
            body = rng.choice(
                [rng.randbytes(50), body[: len(body) // 2], b"[" * 10**5, b"NaN", b"", b'{"a":' * 9999]
            )
        found.append((rng.choice(["POST"] * 9 + ["PUT", "DELETE"]), route, body))
    return found


def test_nothing_breaks_it() -> None:
    requests = malformed(5)

    async def ask(client: httpx2.AsyncClient) -> Any:
        sent = [await client.request(method, route, content=body) for method, route, body in requests]
        return sent, await client.post(INFER, json=infer([picture()], ["a", "b"]))

    sent, last = served(ask)
    assert len(sent) > 100
    refused = [one for one in sent if one.status_code != 200]
    assert len(refused) > 100
    for one in refused:
        assert 400 <= one.status_code < 500, one.text
        assert set(one.json()) == {"error"}
        assert "Traceback" not in one.text
        assert "\n" not in one.text
    assert last.status_code == 200


# The command


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_KEY_DEMO", SECRET)
    account = accounts_of(["demo:5"], 1.0).of(f"Bearer {SECRET}")
    assert (account.name, account.limit) == ("demo", 5)
    assert SECRET not in repr(account)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--key", "demo"], "NAME:QUERIES"),
        (["--key", "nobody:5"], "BENCH_KEY_NOBODY"),
        (["--rate", "fast"], "--rate"),
        (["--rate", "0"], "--rate"),
        (["--latency", "40"], "--latency"),
        (["--answers", "all"], "--answers"),
        (["--features", "--answers", "probs"], "logits only"),
    ],
)
def test_wrong_flags_are_one_line(flags: list[str], words: str) -> None:
    found = CliRunner().invoke(main, ["serve", *flags])
    assert found.exit_code == 2
    assert words in found.output
    assert found.output.count("\n") == 1


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    found = CliRunner().invoke(main, ["serve"])
    assert (found.exit_code, found.output.count("\n")) == (2, 1)
    assert "blackbox-prompt-bench[serve]" in found.output


def test_an_answer_does_not_wait_for_an_acknowledgement() -> None:
    """Otherwise each small answer takes about 40 ms more."""
    with listen("127.0.0.1", 0) as place, socket.create_connection(place.getsockname()):
        accepted, _ = place.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = CliRunner().invoke(main, ["serve", "--port", str(taken.getsockname()[1])])
    assert found.exit_code == 2
    assert "--port" in found.output
