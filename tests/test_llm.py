"""The language model as optimiser: answers, fallbacks, a run against a server, its replay and its check."""

import json
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from cells import SCRIPT, mini_cells
from click.testing import CliRunner, Result
from toy import toy_trial

from bench.blackbox import BudgetSpent
from bench.chat import ChatSettings, Message, Request, Scripted, read_transcript
from bench.commands.main import main
from bench.commands.method import TEMPLATE
from bench.errors import UserError
from bench.lab import Lab, Settings
from bench.params import make_params
from bench.plan import make_cells
from bench.plugins import load_method
from bench.record import dump, lasting, read
from bench.runner import run_cell
from bench.store import Store
from bench.suite import load_suite
from bench.templates import templates as listed
from bench.trial import Trial

FILE = sys.modules[load_method("llm").__module__]
GOLDEN = Path(__file__).parent / "golden" / "llm"
SECRET = "sk-very-secret-0123456789"


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("- a photo of a {}.", "a photo of a {} ."),
        ("Here it is:\n\n- a {} photo\n", "a {} photo"),
        ('  - "a {}, seen from above."  ', "a {} , seen from above"),
        ("<think>\n- a {}.\n</think>\n- one {}.", "one {}"),
        ("- a {}.\n</think>- wrong\n- one {}.", None),
        ("I think of\n- a {}.\n</think>\n- one {}.", "one {}"),
        ("<think>- a {}.", None),
        ("<think>x</think><think>y</think>- one {}.", "one {}"),
        ("- a photo.", None),
        ("a photo of a {}.", None),
        ("- {} and {}.", None),
        ("- {} {x}.", None),
        ("- {0}.", None),
        ("- a {}.\n- one {}.", None),
        ("- a\x00 {}.", None),
        ("- " + "a " * 200 + "{}.", None),
        ("", None),
    ],
)
def test_one_line_of_an_answer_is_a_template(text: str, template: str | None) -> None:
    words = FILE.template_in(text)
    assert words == (None if template is None else tuple(template.removesuffix(" .").split()))


class Says:
    """A chat that gives these answers in turn, the last one for ever, and keeps what it was asked."""

    def __init__(self, *answers: str, calls: int = 10**6) -> None:
        self.answers, self.calls = answers, calls
        self.asked: list[Sequence[Mapping[str, str]]] = []
        self.seeds: list[int] = []
        self.notes: list[bool] = []

    def complete(
        self, messages: Sequence[Mapping[str, str]], temperature: float, seed: int, max_tokens: int
    ) -> str:
        if len(self.asked) >= self.calls:
            raise BudgetSpent("no more calls")
        self.asked.append(messages)
        self.seeds.append(seed)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]

    def note(self, used: bool) -> None:
        self.notes.append(used)


def tuned(chat: Says, budget: int = 60, **params: Any) -> tuple[Any, Trial]:
    """In the toy world, where a pass is 5 queries; the start pool is the hand template alone."""
    trial = toy_trial(("template",), method="llm", budget=budget)
    method = load_method("llm")(trial.box, make_params("llm", {"start": 1, **params}), 5, chat)
    trial.report(method.prompt(method.x0))
    with suppress(BudgetSpent):
        method.tune()
    return method, trial


def templates(method: Any) -> set[str]:
    return {one.template for one in method.pool}


def test_answers_are_scored_and_the_best_on_the_train_set_is_deployed() -> None:
    chat = Says("- one {}.", "<think>- no {}.</think>\n- two {}.", "- three {}.")
    method, trial = tuned(chat, rounds=3)
    assert templates(method) == {"a {}.", "one {}.", "two {}.", "three {}."}
    assert trial.meter.spent == 20 and chat.notes == [True] * 3
    best = min(method.pool, key=lambda one: (one.errors, one.loss))
    assert (trial.deployed.template or "a {}.") == best.template == method.pool[0].template


def test_what_cannot_be_used_is_asked_for_again() -> None:
    """Without {}, seen before, too long, empty: four tries for one template, each with a seed of its own."""
    chat = Says("- nothing.", "- a {}.", "- " + "w " * 15 + "{}.", "", "- one {}.")
    method, _ = tuned(chat, rounds=1)
    assert templates(method) == {"a {}.", "one {}."}
    assert len(chat.asked) == 5 and len(set(chat.seeds)) == 5 and chat.notes == [True]
    assert len({str(messages) for messages in chat.asked}) == 1


def test_after_so_many_tries_an_edit_takes_the_place_of_an_answer() -> None:
    chat = Says("I cannot help with that.")
    method, trial = tuned(chat, rounds=2, tries=3)
    assert len(method.pool) == 3 and trial.meter.spent == 15
    assert len(chat.asked) == 6 and chat.notes == [False, False]


def test_the_end_of_the_calls_is_the_end_of_the_run() -> None:
    method, trial = tuned(Says("- one {}.", "- two {}.", calls=2))
    assert templates(method) == {"a {}.", "one {}.", "two {}."} and trial.meter.spent == 15


def test_the_request_shows_the_best_and_the_worst_without_scores_or_classes() -> None:
    chat = Says(*(f"- {word} {{}}." for word in ["b", "c", "d", "e", "f", "g", "h", "i"]))
    method, trial = tuned(chat, rounds=8)
    (message,) = chat.asked[-1]
    shown = re.findall("(?m)^- (.+)$", message["content"])
    # the pool as it was before the last answer
    method.pool = [one for one in method.pool if one.template != "i {}."]
    pool = [one.template for one in method.pool]
    assert shown == [*pool[:3], *pool[-3:]]
    assert message["role"] == "user" and "fewer than 15 words" in message["content"]
    assert not any(name in message["content"] for name in trial.classes)
    assert "(none yet)" in chat.asked[0][0]["content"]


def test_the_start_pool_is_the_hand_template_and_some_of_the_list() -> None:
    method, trial = tuned(Says("- one {}.", calls=0), budget=300, start=20)
    assert len(method.pool) == 20 and trial.meter.spent == 100
    assert templates(method) - {"a {}."} < set(listed("clip"))
    whole, _ = tuned(Says("", calls=0), budget=1000, start=1000)
    assert templates(whole) == {"a {}.", *(one.removesuffix(".") + "." for one in listed("clip"))}


def test_equal_errors_are_told_apart_by_the_loss() -> None:
    method, _ = tuned(Says("", calls=0), budget=400, start=80)
    keys = [(one.errors, one.loss) for one in method.pool]
    assert keys == sorted(keys) and len({one.errors for one in method.pool}) < len(keys)


def test_another_method_has_no_language_model() -> None:
    trial = toy_trial()
    with pytest.raises(AttributeError, match="chat"):
        load_method("zip")(trial.box, make_params("zip", {"intrinsic": 40, "m": 4}), 5).chat  # noqa: B018


def test_all_methods_are_those_that_ask_nobody() -> None:
    suite = load_suite("mini")
    names = {cell.method for cell in make_cells(suite, ["all"])}
    assert "edits" in names and "llm" not in names
    assert {cell.method for cell in make_cells(suite, ["all", "llm"])} == names | {"llm"}


@pytest.mark.parametrize("params", [{"tries": 0}, {"rounds": -1}, {"temperature": 3.0}, {"fitness": "f1"}])
def test_bad_values_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        make_params("llm", params)


def test_a_method_without_the_parameter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TEMPLATE.format(name="mute", title="Mute").replace('("text context",)', '("language model",)')
    (tmp_path / "mute.py").write_text(text)
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    with pytest.raises(UserError, match="has a parameter model"):
        load_method("mute")


# A replayed cell. Its transcript is the script's: no language model has taken part.


def test_a_replayed_cell_is_the_one_that_was_written_down(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    what: dict[str, Any] = {"datasets": ["mini-digits"], "budgets": [60]}
    (cell,) = mini_cells("llm", overrides=["llm.model=scripted", "llm.start=4", "llm.tries=3"], **what)
    transcript = GOLDEN / "scripted.chat.jsonl"
    if request.config.getoption("--renew"):
        record = run_cell(cell, SCRIPT)
        transcript.write_text(record.transcript)
        (GOLDEN / "record.json").write_text(dump(record))
    replay = Settings(chat=ChatSettings(replay=str(transcript)))
    record = run_cell(cell, replay, Lab(replay))
    kept = read(GOLDEN / "record.json")
    assert record.chat == kept.chat and record.chat is not None
    assert record.chat.models == ("scripted",) and record.chat.calls == len(read_transcript(transcript)) > 5
    assert (record.queries, record.trace, record.prompt) == (kept.queries, kept.trace, kept.prompt)


# A run against a server on the loopback, which answers as the script does


class Handler(BaseHTTPRequestHandler):
    headers_seen: ClassVar[list[str]]
    busy = 1  # answers of 429 before the first good one

    def do_GET(self) -> None:
        self.reply(200, {"data": [{"id": "small"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).headers_seen.append(self.headers.get("Authorization", ""))
        if type(self).busy:
            type(self).busy -= 1
            return self.reply(429, {"error": {"message": "busy"}}, {"Retry-After": "0.01"})
        asked = Request(
            body["model"], tuple(Message(**one) for one in body["messages"]), body["temperature"],
            body["seed"], body["max_tokens"],
        )  # fmt: skip
        answer = Scripted().ask(0, asked).answer
        assert answer is not None
        choice = {"message": {"role": "assistant", "content": answer.text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        self.reply(
            200, {"choices": [choice], "model": "small-v1", "system_fingerprint": "fp", "usage": usage}
        )

    def reply(self, status: int, data: Any, headers: Mapping[str, str] = {}) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, type[Handler]]]:
    class Fresh(Handler):
        headers_seen: ClassVar[list[str]] = []

    with ThreadingHTTPServer(("127.0.0.1", 0), Fresh) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/v1", Fresh
        httpd.shutdown()


def bench(*arguments: str) -> Result:
    torch.manual_seed(0)
    return CliRunner().invoke(main, arguments)


CELL = (
    "run", "--methods", "llm", "--datasets", "mini-digits", "--budget", "60", "--local",
    "--set", "llm.start=4", "--set", "llm.model=small",
)  # fmt: skip
PRICES = '[[prices]]\nmodel = "small"\nprompt = 1.0\ncompletion = 2.0\ndate = "2026-01-31"\n'


@pytest.fixture(scope="module")
def ran(server: tuple[str, type[Handler]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("ran")
    prices = folder / "prices.toml"
    prices.write_text(PRICES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_LLM_KEY", SECRET)
        options = ["--llm-url", server[0], "--llm-prices", str(prices), "--llm-cost", "1"]
        return folder / "runs", bench(*CELL, *options, "--results", str(folder / "runs"))


def record_of(folder: Path) -> tuple[Path, Any]:
    (path,) = folder.glob("mini/few-shot/mini-digits/llm*/*.json")
    return path, read(path)


def test_a_run_leaves_a_record_and_its_transcript(ran: tuple[Path, Result]) -> None:
    folder, result = ran
    assert result.exit_code == 0, result.output
    path, record = record_of(folder)
    calls = read_transcript(path.with_name(record.chat.file))
    assert record.queries == 60 and record.access == ("template", "language model")
    assert record.chat.calls == len(calls) and record.chat.models == ("small-v1",)
    assert calls[0].tries == 2 and record.chat.prompt_tokens == 100 * len(calls)
    assert record.chat.dollars == pytest.approx(len(calls) * 120e-6) and record.chat.prices == ("2026-01-31",)
    assert list(Store(folder).records())  # a transcript is taken for no record


def test_the_key_went_to_the_server_and_nowhere_else(
    ran: tuple[Path, Result], server: tuple[str, type[Handler]]
) -> None:
    folder, result = ran
    assert set(server[1].headers_seen) == {f"Bearer {SECRET}"}
    files = [path for path in folder.parent.rglob("*") if path.is_file()]
    assert len(files) >= 4 and all(SECRET.encode() not in path.read_bytes() for path in files)
    assert SECRET not in result.output


def test_a_replay_gives_the_same_record_and_sends_nothing(
    ran: tuple[Path, Result], server: tuple[str, type[Handler]], tmp_path: Path
) -> None:
    folder, _ = ran
    before = len(server[1].headers_seen)
    result = bench(*CELL, "--llm-replay", str(folder), "--results", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "nothing is sent" in result.output and len(server[1].headers_seen) == before
    (path, live), (other, again) = record_of(folder), record_of(tmp_path)
    assert lasting(live) == lasting(again)
    assert path.with_name(live.chat.file).read_bytes() == other.with_name(again.chat.file).read_bytes()


def test_another_run_does_not_fit_the_transcript(ran: tuple[Path, Result], tmp_path: Path) -> None:
    path, record = record_of(ran[0])
    (cell,) = mini_cells(
        "llm", datasets=["mini-digits"], budgets=[60], overrides=["llm.model=small", "llm.start=5"]
    )
    settings = Settings(chat=ChatSettings(replay=str(path.with_name(record.chat.file))))
    failed = run_cell(cell, settings, Lab(settings))
    assert not failed.ok and "\n" not in (failed.error or "")
    assert failed.reason.startswith("call 0 differs from the transcript")
    assert "messages[0].content at character" in failed.reason and failed.queries == 25


def test_verification_replays_the_transcript(ran: tuple[Path, Result], tmp_path: Path) -> None:
    path, record = record_of(ran[0])
    transcript = path.with_name(record.chat.file)
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    (tmp_path / transcript.name).write_bytes(transcript.read_bytes())
    sound = bench("results", "verify", str(tmp_path))
    assert "fit for the leaderboard" in sound.output, sound.output

    text = path.read_text()
    copy.write_text(text.replace('"used": ', '"used": 1'))
    changed = bench("results", "verify", str(tmp_path))
    assert "its replay gives chat.used " in changed.output

    copy.write_text(text)
    (tmp_path / transcript.name).write_bytes(transcript.read_bytes().replace(b"photo", b"phot0"))
    assert "is not the one with which it was made" in bench("results", "verify", str(tmp_path)).output
    (tmp_path / transcript.name).unlink()
    assert "is missing: keep it beside the record" in bench("results", "verify", str(tmp_path)).output


def test_a_dry_run_says_who_will_read_the_class_names_and_asks_nobody(tmp_path: Path) -> None:
    result = bench(*CELL, "--llm-url", "https://api.example.org/v1", "--dry-run", "--results", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "class names and templates of the data sets go to api.example.org" in result.output
    assert "at most 200 calls" in result.output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "give --llm-url URL, or --llm-replay FOLDER"),
        (("--llm-url", "http://127.0.0.1:9/v1"), "no answer from 127.0.0.1:9"),
        (("--llm-url", "http://a/v1", "--offline"), "--offline never touches the network"),
        (("--llm-url", "http://a/v1", "--llm-cost", "1"), "--llm-cost needs the price of 'small'"),
        (("--llm-replay", "nowhere"), "--llm-replay nowhere: no such folder"),
        (("--llm-replay", "."), "no transcript"),
    ],
)
def test_what_is_missing_is_one_line_before_any_query(
    options: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.endpoint.FIRST_WAIT", 0.0)
    result = bench(*CELL, *options, "--results", str(tmp_path / "runs"))
    assert result.exit_code == 2, result.output
    assert says in result.output and not list((tmp_path / "runs").rglob("*.json"))


def test_a_model_that_the_server_does_not_have(
    server: tuple[str, type[Handler]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_LLM_URL", server[0])
    result = bench(*CELL[:-1], "llm.model=smal", "--results", str(tmp_path))
    assert result.exit_code == 2 and "serves no model 'smal'. Did you mean 'small'?" in result.output
