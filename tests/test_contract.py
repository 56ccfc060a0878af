"""The contract: every shipped method keeps it, and methods that cheat are detected."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.commands.main import main
from bench.commands.method import TEMPLATE
from bench.contract import ACCESS, LEARNS, RUNS, check
from bench.errors import UserError
from bench.plugins import METHODS
from bench.testing import MethodContract

QUICK = ("manual", "zip")

CHEATS = {
    "reads the model's weights": (
        "logits = self.box.logits(batch, prompts)  # [K, B, C]: K queries",
        "logits = self.box.logits(batch, prompts); self.box._trial.predictor",
        "access: public names only",
    ),
    "imports the model": (
        "from bench.optim import SPSA, SPSASettings",
        "from bench.optim import SPSA, SPSASettings\nfrom bench.models import load_backbone",
        "access: public names only",
    ),
    "imports the model at run time": (
        "logits = self.box.logits(batch, prompts)  # [K, B, C]: K queries",
        "logits = self.box.logits(batch, prompts); __import__('bench.models')",
        "access: public names only",
    ),
    "reads the test set's labels": (
        "optimiser = SPSA(self.x0, self.rng, self.params)",
        "optimiser = SPSA(self.x0, self.rng, self.params); self.box.__dict__['_task'].tests",
        "access: public names only",
    ),
    "looks at its own test accuracy": (
        "self.box.report(self.prompt(optimiser.x))  # what you would deploy now",
        "self.box.report(self.prompt(optimiser.x)); self.box.score(self.prompt(optimiser.x))",
        "access: public names only",
    ),
    "sets the meter back": (
        "self.box.report(self.prompt(optimiser.x))  # what you would deploy now",
        "self.box.report(self.prompt(optimiser.x)); self.box.spent = 0",
        "budget kept",
    ),
    "sends a head without declaring it": (
        "return Prompt(context=state.view(self.params.m, -1), state=state)",
        "return Prompt(context=state.view(self.params.m, -1), state=state, head=lambda x: x)",
        "budget kept",
    ),
    "draws from the global generator": (
        "return self.normal(self.n_params, std=0.02)",
        "import torch; return 0.02 * torch.randn(self.n_params)",
        "budget kept",
    ),
    "loads files by a function with another name": (
        "from bench.optim import SPSA, SPSASettings",
        "from bench.optim import SPSA, SPSASettings\nimport torch as t\nread = t.load",
        "access: public names only",
    ),
    "imports a helper that loads files": (
        "from bench.optim import SPSA, SPSASettings",
        "from bench.optim import SPSA, SPSASettings\nfrom bench.methods._helper import read",
        "access: public names only",
    ),
    "looks at the other images in its head": (
        "        return Prompt(context=state.view(self.params.m, -1), state=state)",
        "        return Prompt(context=state.view(self.params.m, -1), state=state,\n"
        "            head=lambda y: y - y.mean(0))",
        "images one by one",
    ),
    "stores too little to be rebuilt": (
        "state=state)",
        "state=state[:4].repeat(state.numel() // 4))",
        "prompt rebuilt from its record",
    ),
    "never reports": (
        "            self.box.report(self.prompt(optimiser.x))  # what you would deploy now\n",
        "",
        "reports a prompt",
    ),
    "lets the loss fall and the accuracy, too": (
        "        return Prompt(context=state.view(self.params.m, -1), state=state)",
        "        tuned = bool((state != self.x0).any())\n"
        "        return Prompt(context=state.view(self.params.m, -1), state=state,\n"
        "            head=lambda y: 0.01 * y.roll(1, 1) if tuned else 10 * y)",
        "learns more than noise",
    ),
    "does not learn": (
        "optimiser.tell(cross_entropy(logits, batch.labels))",
        "optimiser.tell(-cross_entropy(logits, batch.labels))",
        "learns more than noise",
    ),
}


def cheat_file(folder: Path, before: str, after: str) -> None:
    text = TEMPLATE.format(name="cheat", title="Cheat")
    assert before in text, "the template of a new method has changed: adapt this cheat"
    text = text.replace(before, after)
    if "head=lambda y" in after:
        text = text.replace('("text context",)', '("text context", "logits head")')
    (folder / "cheat.py").write_text(text)
    (folder / "_helper.py").write_text("import numpy as N\nread = N.load\n")


def broken(name: str, budget: int = 300) -> dict[str, str]:
    return {v.point: v.detail for v in check(name, budget=budget) if not v.kept}


class TestManual(MethodContract):
    method = "manual"
    budget = 300


class TestZip(MethodContract):
    method = "zip"
    budget = 300


def test_the_pytest_class_fails_at_the_points_that_a_method_breaks(pytester: pytest.Pytester) -> None:
    cheat_file(pytester.mkdir("methods"), *CHEATS["looks at the other images in its head"][:2])
    pytester.makepyfile(
        "from bench.testing import MethodContract\n"
        "class TestCheat(MethodContract):\n    method, budget = 'cheat', 100\n"
    )
    failed = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-rf")
    failed.stdout.fnmatch_lines(["FAILED *test_the_contract[[]images one by one]*"])
    assert failed.parseoutcomes()["passed"] >= 4


def test_blackvip_keeps_the_contract_except_learning_which_needs_more_queries() -> None:
    assert set(broken("blackvip", budget=40)) <= {LEARNS}


def test_edits_are_measured_by_the_errors_that_they_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors fall in an edit search; in one that keeps the worst template they rise, and that is noticed."""
    assert broken("edits") == {}
    text = (
        "from bench.methods.edits import Edits\n\n\nclass Worst(Edits):\n"
        "    def order(self, one):\n        return (-one.errors,)\n"
    )
    (tmp_path / "worst.py").write_text(text)
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    assert set(broken("worst")) == {LEARNS} and "the train error rises by " in broken("worst")[LEARNS]


def test_an_early_end_is_a_note_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = "            self.box.report(self.prompt(optimiser.x))  # what you would deploy now\n"
    cheat_file(tmp_path, report, f"{report}            return\n")
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    done = CliRunner().invoke(main, ["check", "cheat", "--budget", "100"], catch_exceptions=False)
    assert (
        "10 of 100 queries" in done.output and "note    runs: it spent only 10 of 100 queries" in done.output
    )
    assert "reports a prompt: the deployed prompt is a tuned one" in done.output


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("self.box.logit(batch, prompts)", "AttributeError: self.box has no attribute 'logit'"),
        ("self.box.logits(batch)", "TypeError: self.box.logits() missing 1 required positional argument"),
    ],
)
def test_a_message_calls_the_box_by_its_public_name(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheat_file(tmp_path, "self.box.logits(batch, prompts)", line)
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    found = broken("cheat", budget=100)
    assert said in found[RUNS] and "Wall" not in "".join(found.values())
    access = found.get(ACCESS, "Did you mean 'logits'?")
    assert "Did you mean 'logits'?" in access


def test_a_missing_method_is_missed_in_the_users_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    with pytest.raises(UserError, match=f"no file 'onees.py' is in {re.escape(str(tmp_path))} or "):
        list(check("onees"))
    with pytest.raises(UserError, match="give its name alone, 'mine', and not a path"):
        list(check("methods/mine.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(METHODS.files()) - set(QUICK)))
def test_every_method_keeps_the_contract(name: str) -> None:
    assert broken(name, budget=2000) == {}


@pytest.mark.parametrize("what", CHEATS)
def test_a_cheat_is_detected(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after, point = CHEATS[what]
    cheat_file(tmp_path, before, after)
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    assert next(v.point for v in check("cheat", budget=300) if not v.kept) == point


def test_images_that_are_scored_carry_no_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt that changes pixels gets the test images, and must not get their labels."""
    text = TEMPLATE.format(name="cheat", title="Cheat").replace(
        '("text context",)', '("text context", "pixels")'
    )
    leak = "pixels=lambda b: b.images + 0 * b.source.labels[b.index].view(-1, 1, 1, 1), state=state"
    (tmp_path / "cheat.py").write_text(text.replace("state=state", leak))
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    assert "no attribute 'source'" in broken("cheat")["budget kept"]


def test_a_new_method_keeps_the_contract_before_any_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    made = CliRunner().invoke(main, ["new-method", "fresh"])
    assert made.exit_code == 0, made.output
    assert len((tmp_path / "fresh.py").read_text().splitlines()) < 60
    checked = CliRunner().invoke(main, ["check", "fresh"])
    assert checked.exit_code == 0, checked.output
    assert "fresh keeps the contract" in checked.output


@pytest.mark.parametrize(
    ("name", "says"), [("Zip", "cannot be"), ("zip", "already"), ("1st", "cannot be"), ("all", "--methods")]
)
def test_a_bad_name_is_refused(name: str, says: str) -> None:
    result = CliRunner().invoke(main, ["new-method", name])
    assert result.exit_code == 2
    assert says in result.output
