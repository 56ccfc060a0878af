"""Prompts of several parts, adapters and local models: what is sent, what it costs, how they are scored."""

import pytest
import torch
from toy import D, ToyBackbone, ToyLab, ToyTest, toy_cell, toy_task, trial_of

from bench.blackbox import AccessDenied
from bench.outcome import accuracy, bits, joined, judge, outcome
from bench.prompt import Batch, Prompt
from bench.record import Outcome
from bench.trial import Trial

EVERYTHING = ("text context", "template", "pixels", "logits head", "features", "own model")
WORDS = ("a {}.", "the {}.", "{} here.")


def trial(access: tuple[str, ...] = EVERYTHING, **changes: object) -> Trial:
    one = trial_of(ToyBackbone(), toy_cell(**changes), access, ToyLab())
    one.report(Prompt())
    return one


def stack(**more: object) -> Prompt:
    parts = tuple(Prompt(template=words) for words in WORDS)
    return Prompt(parts=parts, head=lambda logits: logits.mean(0), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Prompt(parts=(Prompt(), Prompt())),
        lambda: Prompt(parts=(Prompt(),), head=lambda x: x[0], template="a {}."),
        lambda: Prompt(parts=(stack(),), head=lambda x: x[0]),
        lambda: Prompt(parts=(Prompt(head=lambda x: x),), head=lambda x: x[0]),
        lambda: Prompt(head=lambda x: x, adapter=lambda image, text: image @ text.T),
    ],
)
def test_prompts_that_make_no_sense(wrong: object) -> None:
    with pytest.raises(ValueError, match="prompt"):
        wrong()  # type: ignore[operator]


def test_parts_add_up_in_access_and_in_cost() -> None:
    assert stack().access == {"template", "logits head"}
    assert len(stack().sent) == 3
    assert len(Prompt().sent) == 1
    assert Prompt(local=lambda batch: batch.images).sent == ()
    with pytest.raises(AccessDenied, match="logits head"):
        trial(("template",)).box.report(stack())


def test_a_stack_is_scored_by_its_head_over_all_parts() -> None:
    one = trial(budget=20)
    batch = one.loader.train_pass[0]
    answers = one.box.logits(batch, stack().parts)
    assert one.box.spent == 3
    scored = one.scorer.score(stack())["test"]
    test = one.scorer.tests["test"].images
    whole = one.loader.give(test, torch.arange(len(test)))
    expected = one.box.logits(whole, stack().parts).mean(0)
    assert answers.shape[0] == 3
    assert accuracy(scored) == round(100 * (expected.argmax(1) == test.labels).double().mean().item(), 4)


def test_a_stack_is_no_single_query() -> None:
    one = trial(budget=20)
    batch = one.loader.train_pass[0]
    for prompt in (stack(), Prompt(local=lambda batch: batch.images)):
        with pytest.raises(ValueError, match="prompt with"):
            one.box.logits(batch, [prompt])


def test_text_is_encoded_once_for_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, calls = ToyBackbone(), []
    encode = backbone.encode_texts
    monkeypatch.setattr(backbone, "encode_texts", lambda texts: calls.append(texts) or encode(texts))
    one = trial_of(backbone, toy_cell(), EVERYTHING, ToyLab(), toy_task(test=2000))
    one.scorer.score(stack())
    assert len(calls) == 3


def test_new_classes_get_the_prompt_without_its_head_unless_it_serves_them() -> None:
    one = trial(budget=20)
    new = ToyTest(("w", "x", "y", "z"), "the {}.", one.scorer.tests["test"].images)
    one.scorer.tests = {"new": new}

    def scored(prompt: Prompt) -> str:
        return one.scorer.score(prompt)["new"].correct

    backwards = Prompt(template=WORDS[0], head=lambda logits: -logits)
    assert scored(backwards) == scored(Prompt(template=WORDS[0]))
    assert scored(Prompt(template=WORDS[0], head=lambda logits: -logits, any_classes=True)) != scored(
        backwards
    )
    flipped = Prompt(parts=stack().parts, head=lambda logits: -logits.mean(0))
    assert scored(flipped) == scored(stack().parts[0])
    assert scored(stack(any_classes=True)) == scored(
        Prompt(parts=stack().parts, head=lambda x: x.sum(0), any_classes=True)
    )


def test_features_cost_a_query_and_give_the_logits() -> None:
    one = trial(budget=20)
    batch = one.loader.train_pass[0]
    image, text = one.box.features(batch, Prompt(template="a {}."))
    logits = one.box.logits(batch, [Prompt(template="a {}.")])[0]
    assert one.box.spent == 2
    torch.testing.assert_close(
        one.box.spec.logit_scale * image @ text.T, logits.double(), atol=1e-3, rtol=1e-4
    )
    with pytest.raises(AccessDenied, match="features"):
        trial(("template",)).box.features(batch)


def test_an_adapter_is_scored_on_features() -> None:
    one = trial(budget=20)

    def adapter(image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return one.box.spec.logit_scale * image @ text.T

    plain, adapted = Prompt(context=torch.ones(2, D)), Prompt(context=torch.ones(2, D), adapter=adapter)
    assert one.scorer.score(adapted)["test"].correct == one.scorer.score(plain)["test"].correct
    assert adapted.access == {"text context", "features"}


def test_a_local_model_answers_without_a_query() -> None:
    def local(batch: Batch) -> torch.Tensor:
        return batch.images.flatten(1)[:, :4].double()

    one = trial(budget=10)
    one.report(Prompt(local=local))
    one.finish()
    assert one.box.spent == 0
    assert one.deployed is not None and one.deployed.sent == ()


def judged(answers: torch.Tensor, labels: list[int]) -> Outcome:
    """The outcome of answers [N, C], judged in two parts."""
    right = torch.tensor(labels)
    parts = [judge(answers[part], right[part]) for part in (slice(0, 3), slice(3, None))]
    return outcome(joined(parts), right, answers.shape[1], probable=True)


def test_an_outcome_says_what_happened_image_by_image() -> None:
    answers = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0], [5.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
    found = judged(answers, [0, 1, 2, 2])
    assert bits(found).tolist() == [True, True, False, False]
    assert (found.right, found.images) == ((1, 1, 0), (1, 1, 2))
    assert [(c.label, c.answered, c.images) for c in found.confusions] == [(2, 0, 1), (2, 1, 1)]
    assert accuracy(found) == 50.0
    log_probs = answers.double().log_softmax(1)
    picked = log_probs[[0, 1, 2, 3], [0, 1, 2, 2]]
    assert found.log_loss == pytest.approx(-picked.mean().item(), abs=1e-6)
    assert found.calibration_error is not None and 0 < found.calibration_error <= 100


def test_calibration_of_a_perfect_and_of_a_boastful_answer() -> None:
    sure = torch.tensor([[50.0, 0.0]] * 4)
    right = judged(sure, [0, 0, 0, 0])
    half = judged(sure, [0, 0, 1, 1])
    assert right.calibration_error == pytest.approx(0, abs=1e-6)
    assert half.calibration_error == pytest.approx(50, abs=1e-6)
