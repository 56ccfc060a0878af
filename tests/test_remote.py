"""What is known of an endpoint before it is asked: declared, told, and refused."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from click.testing import CliRunner
from wired import PROBED, cell_of, meter, served, streamed

from bench.answered import Level, parse
from bench.coarse import coarse, filled, narrowed
from bench.commands.main import main
from bench.errors import UserError
from bench.pixels import from_bytes, to_bytes
from bench.remote import Declared, Endpoint, Price, Wiring, declared, endpoint_of
from bench.retry import Rule, Unusable, asked_wait
from bench.wire.client import KEY, Client, checked_url, key_for
from bench.wire.connect import told
from bench.wire.probe import Probe, refuse, seen

URL = "http://server/v2/models/clip"
SECRET = "a-secret-key"
HF = Endpoint("http://server/hf", "hf", "mini", 32, "probs")


def test_a_file_declares_an_endpoint(tmp_path: Path) -> None:
    file = tmp_path / "clip.toml"
    file.write_text(
        f'url = "{URL}/"\ndialect = "oip"\nimage_size = 224\nanswers = "probs:4"\n'
        '[price]\ndate = "2026-01-31"\nimage = 0.001\nrequest = 0.01\n'
    )
    found = endpoint_of(declared(str(file), None), {"image_size": 32, "backbone": "told"})
    assert (found.url, found.place, found.name, found.image_size) == (URL, f"oip+{URL}", "told", 224)
    assert found.level == parse("probs:4")
    assert found.price is not None
    assert found.price.of(10, 2) == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'url = "{URL}"', "dialect"),
        (f'url = "{URL}"\ndialect = "soap"', "soap"),
        (f'url = "{URL}"\ndialect = "hf"\nanswers = "all"', "--answers"),
        (f'url = "{URL}"\ndialect = "hf"\n[price]\nimage = 1.0', "date"),
        (f'url = "{URL}"\ndialect = "hf"\n[price]\ndate = "soon"', "2026-01-31"),
        (f'url = "{URL}"\ndialect = "hf"\n[price]\ndate = "2026-01-31"\nimage = -1.0', "0 or more"),
        (f'url = "{URL}"\ndialect = "hf"\nkey = "secret"', "unknown key"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "clip.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=words) as error:
        declared(str(file), None)
    assert "\n" not in str(error.value)


def test_what_is_not_told_has_to_be_declared() -> None:
    with pytest.raises(UserError, match="image_size"):
        endpoint_of(Declared(URL, "hf"), {"image_size": "large"})


@pytest.mark.parametrize(
    "lie",
    [
        {"image_size": -3}, {"image_size": 10**9}, {"image_size": True}, {"backbone": "a\nb"},
        {"pixel_mean": [1, 2]}, {"pixel_mean": ["x"] * 3}, {"logit_scale": float("nan")}, {"answers": "all"},
        {"resize_mode": "../.."}, {"weights": "x" * 10**6}, {"url": "http://elsewhere"}, {"price": {}},
    ],
)  # fmt: skip
def test_a_server_that_tells_nonsense_is_not_heard(lie: dict[str, Any]) -> None:
    plain = endpoint_of(Declared(URL, "oip", image_size=32), {})
    assert endpoint_of(Declared(URL, "oip", image_size=32), lie) == plain


def test_dialects_have_their_ceiling() -> None:
    assert Endpoint(URL, "hf", "m", 32, "logits").level == Level("probs")
    assert Endpoint(URL, "rank", "m", 32, "logits").level == Level("probs")
    assert Endpoint(URL, "rank", "m", 32, "logits", logit_scale=100.0).level == Level("logits")
    assert Endpoint(URL, "hf", "m", 32, "top:5").level == Level("top", 5)


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://u:p@x/y", "http://x/?key=1", "nothing://"])
def test_no_address_and_no_secret_in_one(url: str) -> None:
    with pytest.raises(UserError) as error:
        checked_url(url)
    assert "u:p" not in str(error.value)
    assert "key=1" not in str(error.value)


def test_a_server_without_metadata_tells_nothing() -> None:
    for status, content in (
        (404, b""),
        (405, b""),
        (200, b"<html>"),
        (200, b"[" * 10**5),
        (200, b'{"a": 1}'),
    ):
        response = streamed(httpx2.Response(status, content=content))
        client = Client(Wiring(), "", httpx2.MockTransport(lambda _, r=response: r))  # type: ignore[misc]
        assert told(client, Declared(URL, "oip")) == {}


def test_a_server_without_that_route_may_be_declared() -> None:
    client = Client(Wiring(), "", httpx2.MockTransport(lambda _: streamed(httpx2.Response(400))))
    assert told(client, Declared(URL, "oip", image_size=32)) == {}
    with pytest.raises(UserError, match="status 400"):
        told(client, Declared(URL, "oip"))


# What is granted


def test_levels_cover_what_they_can_be_cut_to() -> None:
    order = ["logits", "probs", "probs:6", "probs:2", "label"]
    for i, one in enumerate(order):
        assert [parse(one).covers(parse(other)) for other in order] == [j >= i for j in range(len(order))]
    assert parse("top:5").covers(parse("top:3"))
    assert not parse("top:3").covers(parse("top:5"))
    assert not parse("probs:2").covers(parse("top:3"))
    assert parse("probs").covers(parse("top:3"))


@pytest.mark.parametrize("text", ["probs", "probs:3", "top:2", "label"])
def test_what_is_cut_there_and_filled_in_here_is_what_is_cut_here(text: str) -> None:
    logits = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 4
    level = parse(text)
    said = torch.tensor(
        json.loads(json.dumps(narrowed(logits.softmax(-1), level).tolist())), dtype=torch.float64
    )
    assert torch.equal(narrowed(said, level).nan_to_num(-1), said.nan_to_num(-1))
    assert torch.equal(filled(said, level), coarse(logits, level))


def test_a_probe_sees_what_is_said() -> None:
    nan, probs = torch.nan, parse("probs")

    def of(*numbers: float) -> Level:
        return seen(torch.tensor(numbers, dtype=torch.float64), probs)

    assert of(0.61234567891, 0.3, 0.08765432109) == probs
    assert of(0.6123, 0.3, 0.0877) == parse("probs:4")
    assert of(0.61, 0.3, 0.09) == parse("probs:2")
    assert of(0.6, nan, 0.09) == parse("top:2")
    assert of(1.0, nan, nan) == parse("label")
    assert of(1.0, 0.0, 0.0) == probs
    with pytest.raises(UserError, match="give --answers probs:2"):
        refuse(Probe(parse("probs:2"), True, 1.0), parse("probs:4"), HF)


def test_bytes_are_read_as_an_image_set_reads_them() -> None:
    images = torch.rand(2, 3, 4, 4, dtype=torch.float64) * 1.2 - 0.1
    whole = to_bytes(images)
    assert torch.equal(from_bytes(whole, torch.float64), (whole.float() / 255).double())
    assert torch.equal(to_bytes(from_bytes(whole, torch.float64)), whole)


# Retries


def test_back_off_grows_and_obeys() -> None:
    import random

    slept: list[float] = []

    def send() -> str:
        if len(slept) < 4:
            raise Unusable("not yet", wait=3.0 if len(slept) == 2 else 0.0)
        return "here"

    found = Rule(first=1.0).tried(send, "server", random.Random(0), slept.append)
    assert (found.value, found.tries) == ("here", 5)
    assert found.waited == sum(slept)
    assert all(wait <= max(2.0**i, 3.0) for i, wait in enumerate(slept))
    assert slept[2] >= 3


@pytest.mark.parametrize(
    ("text", "wait"), [(None, 0), ("", 0), ("7", 7), ("-1", 0), ("nan", 0), ("soon", 0), ("1.5", 1.5)]
)
def test_a_wait_that_is_asked_for(text: str | None, wait: float) -> None:
    assert asked_wait(text) == wait


# The command


def test_the_plan_refuses_what_an_endpoint_does_not_take() -> None:
    for method, words in (("zip", "soft context"), ("bptvlm", "visual tokens"), ("coop", "gradients")):
        with pytest.raises(UserError, match=words) as error:
            cell_of(method, HF, answers=["probs"])
        assert "consent" in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="give --answers probs"):
        cell_of("head", HF)


def test_from_an_endpoint_to_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of docs/serve.md, with a key, a price and a limit; the key is nowhere on the disk."""
    monkeypatch.setenv("BENCH_KEY", SECRET)
    monkeypatch.chdir(tmp_path)
    flags = [
        "-m",
        "head",
        "-d",
        "mini-digits",
        "-b",
        "30",
        "--score",
        "val",
        "--answers",
        "probs:4",
        "--local",
    ]

    def bench(*more: str) -> Any:
        return CliRunner().invoke(main, ["run", *flags, *more])

    with served("--answers", "probs:4", "--key", "demo:5000", demo=SECRET) as address:
        file = tmp_path / "clip.toml"
        file.write_text(
            f'url = "{address}/rank"\ndialect = "rank"\n[price]\ndate = "2026-01-31"\nimage = 0.001\n'
        )
        plan = bench("--backbone", str(file), "--dry-run")
        unasked = meter(address, SECRET)["images"]
        refused = bench("--backbone", str(file))
        finer = bench("--backbone", f"{address}/rank", "--dialect", "rank", "--answers", "probs:6")
        ran = bench("--backbone", str(file), "--spend", "5")
        used = meter(address, SECRET)
    assert plan.exit_code == 0, plan.output
    assert "leave this machine" in plan.output
    assert "tuning: at most 960 images in 30 requests, $0.96" in plan.output
    assert unasked == 0
    assert refused.exit_code == 2
    assert "--spend" in refused.output
    assert finer.exit_code == 2
    assert "answers with probs:4" in finer.output
    assert ran.exit_code == 0, ran.output
    records = [json.loads(path.read_text()) for path in Path("runs").rglob("*.json")]
    assert {record["status"] for record in records} == {"ok"}
    costs = [record["run"]["wire"] for record in records]
    # the four images of the probe are no cell's
    assert sum(cost["images"] for cost in costs) == used["images"] - PROBED
    assert sum(cost["dollars"] for cost in costs) == pytest.approx((used["images"] - PROBED) / 1000)
    assert not any(SECRET.encode() in path.read_bytes() for path in Path("runs").rglob("*") if path.is_file())


def test_an_address_needs_its_dialect_and_a_network() -> None:
    for flags, words in (
        (["--backbone", "http://server/rank"], "needs --dialect"),
        (["--dialect", "hf"], "needs an address"),
        (["--backbone", "http://server/rank", "--dialect", "rank", "--offline"], "no network"),
        (["--backbone", "http://u:secret@server/rank", "--dialect", "rank"], "an address alone"),
    ):
        found = CliRunner().invoke(main, ["run", "-m", "head", *flags])
        assert found.exit_code == 2
        assert words in found.output
        assert "secret" not in found.output


def test_a_price_is_dollars() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        Price("2026-01-31", image=float("nan"))


@pytest.mark.parametrize(
    ("address", "goes"),
    [
        ("http://127.0.0.1:8765/rank", True),
        ("http://localhost/rank", True),
        ("http://[::1]:80/rank", True),
        ("http://10.1.2.3/rank", True),
        ("https://models.example.com/clip", True),
        ("http://models.example.com/clip", False),
        ("http://8.8.8.8/clip", False),
    ],
)
def test_a_key_crosses_no_public_network_in_clear(
    address: str, goes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "a-secret")
    if goes:
        assert key_for(address) == "a-secret"
    else:
        with pytest.raises(UserError, match="without encryption") as error:
            key_for(address)
        assert "a-secret" not in str(error.value)
    monkeypatch.delenv(KEY)
    assert key_for(address) == ""
