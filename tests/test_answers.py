"""Coarse answers: what each level leaves of the logits, who can work with it, and that all see the same."""

import pytest
import torch
from cells import mini_cells
from click.testing import CliRunner
from toy import ToyBackbone, ToyLab, toy_cell, trial_of

from bench.access import APIS, CONSENT, WHITE_BOX, answered, runs_on, sent
from bench.answered import KINDS, Level, parse
from bench.coarse import REST, SURE, coarse
from bench.commands.main import main
from bench.errors import UserError
from bench.lab import Lab, Settings
from bench.plugins import METHODS, load_method
from bench.prompt import Prompt
from bench.runner import run_cell

LOGITS = torch.tensor([[3.0, 1.0, 2.0, -4.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("logits", Level("logits")),
        ("probs", Level("probs")),
        ("probs:4", Level("probs", 4)),
        ("top:3", Level("top", 3)),
        ("label", Level("label")),
    ],
)
def test_a_level_is_written_as_it_is_read(text: str, level: Level) -> None:
    assert parse(text) == level
    assert str(level) == text


@pytest.mark.parametrize(
    "text",
    ["", "logit", "logits:2", "label:1", "top", "top:0", "top:-1", "top:x", "probs:0", "probs:13", "probs:²",
     "top:99999999", "probs:1.5", "probs:", "Probs:2"],
)  # fmt: skip
def test_no_level_is_one_line(text: str) -> None:
    with pytest.raises(UserError, match="--answers") as error:
        parse(text)
    assert "\n" not in str(error.value)


def test_levels_grant_what_is_coarser() -> None:
    for i, kind in enumerate(KINDS):
        assert [Level(kind, 2).grants(other) for other in KINDS] == [j <= i for j in range(len(KINDS))]


@pytest.mark.parametrize("level", ["probs", "probs:12"])
def test_probabilities_keep_differences_of_logits(level: str) -> None:
    answer = coarse(LOGITS, parse(level))
    torch.testing.assert_close(answer.exp().sum(-1), torch.ones(2).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(answer - answer[:, :1], LOGITS - LOGITS[:, :1], atol=1e-3, rtol=0)


def test_decimals_are_rounded_and_zero_has_a_floor() -> None:
    answer = coarse(LOGITS, parse("probs:2")).exp()
    expected = torch.tensor([[0.66, 0.09, 0.24, 0.005], [0.25] * 4], dtype=torch.float64)
    torch.testing.assert_close(answer, expected, atol=1e-5, rtol=0)


def test_the_best_are_named_and_the_rest_is_shared() -> None:
    probs = LOGITS.softmax(-1)
    answer = coarse(LOGITS, parse("top:2")).exp()
    rest = (1 - probs[0, 0] - probs[0, 2]) / 2
    wanted = torch.stack([probs[0, 0], rest, probs[0, 2], rest])
    torch.testing.assert_close(answer[0], wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(coarse(LOGITS, parse("top:9")).exp()[0], probs[0], atol=1e-5, rtol=0)
    sure = coarse(torch.tensor([[100.0, 0.0, 0.0]]).double(), parse("top:1"))
    torch.testing.assert_close(sure.exp(), torch.tensor([[1.0, REST, REST]]).double(), atol=1e-5, rtol=0)


def test_a_label_says_the_class_alone_and_equal_ones_go_by_their_order() -> None:
    answer = coarse(LOGITS, parse("label"))
    assert answer.argmax(-1).tolist() == [0, 0]
    torch.testing.assert_close(
        answer[0].exp(), torch.tensor([SURE] + [(1 - SURE) / 3] * 3).double(), atol=1e-5, rtol=0
    )
    assert torch.equal(answer[0], answer[1])


def test_method_head_and_scorer_see_the_same_answer() -> None:
    """A head that counts distinct numbers sees labels alone, and so does what the method asks for."""
    seen = []

    def head(logits: torch.Tensor) -> torch.Tensor:
        seen.append(logits.unique().numel())
        return logits

    cell = toy_cell(answers="label", budget=10)
    trial = trial_of(ToyBackbone(), cell, ("template", "logits head"), ToyLab())
    trial.report(Prompt(head=head))
    asked = trial.box.logits(next(trial.box.batches()), [Prompt()])
    trial.finish()
    assert asked.unique().numel() == 2
    assert set(seen) == {2}
    assert trial.box.spec.answers == "label"
    assert all(found.log_loss is None for found in trial.outcomes.values())


@pytest.mark.parametrize("method", METHODS.files())
def test_every_method_says_what_it_reads(method: str) -> None:
    cls = load_method(method)
    needs = cls.needs(cls.Params())
    assert needs in KINDS
    assert sent(cls.access)
    assert runs_on(cls.access, needs)
    assert answered(cls.access, needs)


def test_which_apis_grant_what() -> None:
    assert runs_on(("template",), "label") == tuple(api.name for api in APIS if "words" in api.takes)
    assert runs_on(("text context",), "top") == (CONSENT,)
    assert runs_on(("pixels",), "logits") == ("rank service", "encode service")
    assert runs_on(("features",), "logits") == ("encode service",)
    assert runs_on(("template", WHITE_BOX), "logits") == (CONSENT,)
    assert (sent(("pixels", "template")), sent(("logits head",))) == ("words, pixels", "class names")


def test_a_method_that_reads_more_than_is_answered_is_refused_in_the_plan() -> None:
    with pytest.raises(UserError, match="zip reads top, but --answers label does not grant that"):
        mini_cells("zip", answers=("label",))
    assert mini_cells("cmaes", answers=("label",))
    with pytest.raises(UserError, match="coop reads gradients"):
        mini_cells("coop", answers=("probs",))


@pytest.mark.parametrize("answers", ["probs:2", "top:3", "label"])
def test_a_run_with_coarse_answers(answers: str) -> None:
    (cell,) = (
        one for one in mini_cells("cmaes", datasets=("mini-digits",), budgets=(40,), answers=(answers,))
    )
    record = run_cell(cell, Settings(), Lab(Settings()))
    assert record.ok, record.error
    assert record.cell.answers == answers
    assert answers.replace(":", "") in record.cell.path.name


def test_all_methods_are_those_that_can_work_with_the_answers() -> None:
    """The others are named, and none that asks a language model is among them."""
    asked = ["run", "--methods", "all", "--answers", "label", "--datasets", "mini-digits", "--dry-run"]
    planned = CliRunner().invoke(main, asked)
    assert planned.exit_code == 0, planned.output
    assert "left out: zip reads top, but --answers label does not grant that" in planned.stderr
    rows = [line.partition(",")[0] for line in planned.stdout.splitlines() if "answers label" in line]
    assert {"cmaes", "edits", "head", "manual"} <= set(rows)
    assert not {"zip", "coop", "probe", "llm"} & set(rows)
