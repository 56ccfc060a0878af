"""A trial: the meter, the wall, the stream, the scorer and the trace."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest
import torch
from toy import D, E, S, toy_trial

from bench.blackbox import AccessDenied, BudgetSpent, cross_entropy
from bench.errors import UserError
from bench.prompt import Prompt
from bench.record import Outcome, Point
from bench.scorer import ahead
from bench.trace import checkpoints

CONTEXT = Prompt(context=torch.zeros(2, D))


def right(images: int) -> Outcome:
    """The outcome of 100 images, of which `images` are answered correctly."""
    return Outcome("", (images,), (100,), ())


@pytest.mark.parametrize("budget", [1, 7, 10, 4_999, 5_000])
@pytest.mark.parametrize("step", [3, 6, 10])
def test_a_run_never_spends_more_than_its_budget(budget: int, step: int) -> None:
    trial = toy_trial(budget=budget)
    trial.box.report(CONTEXT)
    with pytest.raises(BudgetSpent):
        for batch in trial.box.batches():
            trial.box.logits(batch, [CONTEXT] * step)
    trial.finish()
    assert trial.box.spent == budget // step * step
    assert trial.box.image_queries == trial.box.spent * 8
    assert trial.trace.points[0].queries == 0
    assert trial.trace.points[-1].queries == budget
    assert all(point.spent <= point.queries for point in trial.trace.points)


def test_a_refused_call_costs_nothing_and_never_reaches_the_model() -> None:
    trial = toy_trial(budget=5)
    trial.box.report(CONTEXT)
    batch = next(trial.box.batches())
    # A call of this predictor would raise another error than BudgetSpent.
    trial.predictor = None  # type: ignore[assignment]
    with pytest.raises(BudgetSpent):
        trial.box.logits(batch, [CONTEXT] * 6)
    assert (trial.box.spent, trial.box.image_queries) == (0, 0)


def test_candidates_get_the_same_logits_together_and_alone() -> None:
    trial = toy_trial(budget=100)
    trial.box.report(CONTEXT)
    batch = next(trial.box.batches())
    prompts = [Prompt(context=torch.randn(2, D)) for _ in range(3)]
    together = trial.box.logits(batch, prompts)
    assert together.shape == (3, 8, 4)
    for k, prompt in enumerate(prompts):
        torch.testing.assert_close(trial.box.logits(batch, [prompt])[0], together[k])
    assert trial.box.spent == 6


@pytest.mark.parametrize(
    ("access", "prompt"),
    [
        (("text context",), Prompt(pixels=lambda batch: batch.images)),
        (("pixels",), CONTEXT),
        (("template",), Prompt(tokens=torch.zeros(1, E))),
        (("text context",), Prompt(context=torch.zeros(2, D), head=lambda logits: logits)),
    ],
)
def test_a_prompt_beyond_the_declared_access_is_refused(access: tuple[str, ...], prompt: Prompt) -> None:
    trial = toy_trial(access)
    with pytest.raises(AccessDenied):
        trial.box.report(prompt)
    trial.box.report(Prompt())
    with pytest.raises(AccessDenied):
        trial.box.logits(next(trial.box.batches()), [prompt])
    assert trial.box.spent == 0


def test_only_white_box_access_gets_gradients() -> None:
    context = torch.zeros(2, D, requires_grad=True)
    for access, wanted in ((("text context",), False), (("text context", "white box"), True)):
        trial = toy_trial(access)
        trial.box.report(CONTEXT)
        assert trial.box.logits(next(trial.box.batches()), [Prompt(context=context)]).requires_grad is wanted


def test_all_methods_and_budgets_get_the_same_batches_and_each_seed_gets_others() -> None:
    def order(**changes: object) -> list[list[int]]:
        return [batch.index.tolist() for batch in islice(toy_trial(**changes).box.batches(), 12)]

    assert order() == order(method="blackvip", budget=7)
    assert order() != order(seed=2)
    epoch = [i for index in order()[:5] for i in index]
    assert sorted(epoch) == list(range(40))  # 40 images in 5 batches of 8: each image once per epoch


def test_a_short_last_batch_is_dropped_and_a_small_set_is_one_batch() -> None:
    assert [len(batch) for batch in islice(toy_trial(batch_size=24).box.batches(), 3)] == [24, 24, 24]
    assert [len(batch) for batch in islice(toy_trial(batch_size=64).box.batches(), 3)] == [40, 40, 40]


def test_crops_are_the_same_for_every_method_and_new_in_every_batch() -> None:
    trial = toy_trial(augment=True)
    one, two = trial.box, toy_trial(augment=True, method="bar").box
    for a, b in islice(zip(one.batches(), two.batches(), strict=True), 6):
        assert torch.equal(a.images, b.images)
    batches = list(islice(one.batches(), 6))
    seeds = [trial.loader.behind(batch).crop_seed for batch in batches]
    assert len(set(seeds)) == 6


def test_a_pass_covers_the_train_set_once_in_order() -> None:
    trial = toy_trial(batch_size=16)
    assert torch.cat([batch.index for batch in trial.box.train_pass()]).tolist() == list(range(40))
    trial.box.report(CONTEXT)
    losses = trial.box.pass_loss([CONTEXT, CONTEXT])
    assert trial.box.spent == 6
    assert trial.box.image_queries == 80
    everything = torch.cat([trial.box.logits(b, [CONTEXT])[0] for b in trial.box.train_pass()])
    expected = torch.nn.functional.cross_entropy(everything, trial.loader.train.labels)
    torch.testing.assert_close(losses, expected.repeat(2))


def test_batches_can_be_smaller_and_the_short_last_one_can_be_kept() -> None:
    box = toy_trial(batch_size=24).box
    assert [len(batch) for batch in islice(box.batches(16), 4)] == [16, 16, 16, 16]
    assert [len(batch) for batch in islice(box.batches(16, keep_last=True), 4)] == [16, 16, 8, 16]
    assert [len(batch) for batch in islice(box.batches(99, keep_last=True), 3)] == [24, 16, 24]
    epoch = torch.cat([batch.index for batch in islice(box.batches(16, keep_last=True), 3)])
    assert sorted(epoch.tolist()) == list(range(40))


def test_a_frozen_pass_has_every_image_once_with_the_same_crop_each_time() -> None:
    trial, again = toy_trial(augment=True), toy_trial(augment=True)
    one, two = trial.box.frozen_pass((0.5, 1.0)), again.box.frozen_pass((0.5, 1.0))
    assert torch.cat([batch.index for batch in one]).tolist() == list(range(40))
    assert all(torch.equal(a.images, b.images) for a, b in zip(one, two, strict=True))
    assert {trial.loader.behind(batch).crop_scale for batch in one} == {(0.5, 1.0)}
    trial = toy_trial(augment=False)
    plain = trial.box.frozen_pass()
    assert not all(torch.equal(a.images, b.images) for a, b in zip(one, plain, strict=True))
    assert {trial.loader.behind(batch).crop_seed for batch in plain} == {None}


def test_a_large_pass_is_computed_again_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = toy_trial(("visual tokens",), batch_size=16)
    prompt = Prompt(tokens=torch.ones(2, E))
    trial.box.report(prompt)
    losses = trial.box.pass_loss([prompt])
    assert all(trial.loader.behind(batch).held for batch in trial.box.train_pass())
    monkeypatch.setattr("bench.trial.PASS_BYTES", 10)
    torch.testing.assert_close(trial.box.pass_loss([prompt]), losses, rtol=0, atol=0)
    assert not any(trial.loader.behind(batch).held for batch in trial.box.train_pass())


def test_a_pass_that_does_not_fit_into_the_budget_costs_nothing() -> None:
    trial = toy_trial(batch_size=16, budget=5)
    trial.box.report(CONTEXT)
    with pytest.raises(BudgetSpent):
        trial.box.pass_loss([CONTEXT, CONTEXT])
    assert trial.box.spent == 0


def test_a_checkpoint_scores_the_last_prompt_that_its_budget_allows() -> None:
    """Prompts are reported after 6, 12, 18 ... queries: checkpoint 10 scores that of 6, 20 that of 18."""
    trial = toy_trial(budget=25)
    trial.box.report(CONTEXT)
    trial.scorer.score = lambda prompt: {"test": right(int(prompt.context[0, 0]))}  # type: ignore
    with pytest.raises(BudgetSpent):
        for batch in trial.box.batches():
            trial.box.logits(batch, [CONTEXT] * 6)
            trial.box.report(Prompt(context=torch.full((2, D), float(trial.box.spent))))
    trial.finish()
    assert [(p.queries, p.spent, p.accuracy["test"]) for p in trial.trace.points] == [
        (0, 0, 0.0), (10, 6, 6.0), (20, 18, 18.0), (25, 24, 24.0),
    ]  # fmt: skip


def test_with_a_budget_below_one_step_the_untuned_prompt_is_deployed() -> None:
    trial = toy_trial(budget=1)
    trial.box.report(CONTEXT)
    with pytest.raises(BudgetSpent):
        trial.box.logits(next(trial.box.batches()), [CONTEXT] * 2)
    trial.finish()
    assert [(p.queries, p.spent) for p in trial.trace.points] == [(0, 0), (1, 0)]


def test_an_unchanged_prompt_is_scored_once() -> None:
    trial = toy_trial(budget=1000)
    trial.box.report(CONTEXT)
    calls = []
    trial.scorer.score = lambda prompt: calls.append(prompt) or {"test": right(1)}  # type: ignore
    trial.finish()
    assert len(calls) == 1
    assert len(trial.trace.points) == len(checkpoints(1000))


def test_scored_images_carry_no_labels() -> None:
    seen = []
    trial = toy_trial(("pixels",), budget=10)
    trial.box.report(Prompt(pixels=lambda batch: seen.append(batch.labels) or batch.images))
    trial.finish()
    assert seen and all(labels.numel() == 0 for labels in seen)


def test_a_sent_prompt_that_diverged_is_an_error() -> None:
    trial = toy_trial()
    trial.box.report(CONTEXT)
    with pytest.raises(FloatingPointError, match="diverged"):
        trial.box.logits(next(trial.box.batches()), [Prompt(context=torch.full((2, D), float("nan")))])


def test_losses_that_are_read_together_give_the_same_trace() -> None:
    """As on a GPU, where reading each loss would wait for the device."""

    def trace(read_at: int) -> tuple[Point, ...]:
        trial = toy_trial(budget=100)
        trial._read_at = read_at
        trial.box.report(CONTEXT)
        with pytest.raises(BudgetSpent):
            for i, batch in enumerate(trial.box.batches()):
                trial.box.logits(batch, [Prompt(context=torch.full((2, D), i / 10))] * 3)
        trial.finish()
        return trial.trace.scored

    assert trace(64) == trace(1) and trace(1)[-1].train_loss is not None


def test_a_divergence_that_is_read_late_names_its_own_query() -> None:
    trial = toy_trial(budget=100)
    trial._read_at = 64
    trial.box.report(CONTEXT)
    batch = next(trial.box.batches())
    trial.box.logits(batch, [Prompt(context=torch.full((2, D), float("nan")))])
    trial.box.logits(batch, [CONTEXT] * 5)
    with pytest.raises(FloatingPointError, match="at query 1: the prompt diverged"):
        trial.finish()


def test_a_reported_prompt_that_diverged_is_an_error() -> None:
    trial = toy_trial(budget=20)
    trial.box.report(Prompt(context=torch.full((2, D), float("nan"))))
    with pytest.raises(FloatingPointError, match="the reported prompt's logits are not finite"):
        trial.finish()
    with pytest.raises(TypeError, match=r"report takes a Prompt, not Tensor"):
        trial.box.report(torch.zeros(3))


def test_checkpoints_are_the_1_2_5_series_and_the_budget() -> None:
    assert checkpoints(1) == [0, 1]
    assert checkpoints(10) == [0, 10]
    assert checkpoints(120) == [0, 10, 20, 50, 100, 120]
    assert checkpoints(5_000) == [0, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]


def test_cross_entropy_is_the_mean_of_each_candidate() -> None:
    logits, labels = torch.randn(3, 5, 4), torch.tensor([0, 1, 2, 3, 0])
    expected = torch.stack([torch.nn.functional.cross_entropy(one, labels) for one in logits])
    torch.testing.assert_close(cross_entropy(logits, labels), expected)


def test_pixels_are_encoded_in_bounded_parts_with_the_same_result() -> None:
    trial = toy_trial(("pixels",), budget=200)
    trial.box.report(Prompt())
    batch = next(trial.box.batches())
    prompts = [Prompt(pixels=lambda b, k=k: (b.images * (k / 50)).clamp(0, 1)) for k in range(50)]
    logits = trial.box.logits(batch, prompts)  # 400 images: more than the image tower takes at once
    assert logits.shape == (50, 8, 4)
    torch.testing.assert_close(trial.box.logits(batch, prompts[30:31])[0], logits[30])
    assert prompts[3].pixels(batch).shape == (8, 3, S, S)


def test_a_large_test_set_gets_the_same_scores_without_being_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def trace() -> list[object]:
        trial = toy_trial(("pixels",), budget=20)
        trial.box.report(Prompt(pixels=lambda batch: 1 - batch.images))
        trial.finish()
        return [*trial.trace.points, len(trial.scorer._samples)]

    kept = trace()
    monkeypatch.setattr("bench.scorer.KEPT", 10)
    assert trace() == [*kept[:-1], 0] and kept[-1] == 1


def visual_trace(gathered: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[list[object], int]:
    """The trace of a pixel method with a large test set, and how many test images it decoded."""
    trial = toy_trial(("pixels",), budget=100)
    trial._gathers = gathered
    images, decoded = trial.scorer.tests["test"].images, []

    def pixels(index: torch.Tensor, size: int | None = None) -> torch.Tensor:
        decoded.append(len(index))
        return type(images).pixels(images, index, size)

    object.__setattr__(images, "pixels", pixels)
    for batch in trial.box.batches():
        share = 1 - trial.box.spent / 100
        trial.box.report(Prompt(pixels=lambda batch, share=share: batch.images * share))
        if trial.box.remaining < 5:
            break
        trial.box.logits(batch, [Prompt(pixels=lambda batch: batch.images)] * 5)
    trial.finish()
    return [trial.trace.points, trial.outcomes], sum(decoded)


def test_prompts_of_several_checkpoints_are_scored_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.scorer.KEPT", 10)
    monkeypatch.setattr("bench.scorer.GLIMPSE", 7)
    one_by_one, decoded = visual_trace(False, monkeypatch)
    together, once = visual_trace(True, monkeypatch)
    assert together == one_by_one
    assert len({point.accuracy["test"] for point in together[0]}) > 1
    assert decoded == 5 * 60 and once == 60 + 7  # checkpoints 0, 10, 20, 50 and 100


def test_a_waiting_prompt_that_answers_otherwise_later_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.scorer.KEPT", 10)

    class Later:
        share = 1.0

    trial = toy_trial(("pixels",), budget=20)
    trial.box.report(Prompt(pixels=lambda batch: batch.images * Later.share))
    batch = next(trial.box.batches())
    trial.box.logits(batch, [Prompt(pixels=lambda batch: batch.images)] * 15)
    Later.share = 0.5
    trial.box.report(Prompt(pixels=lambda batch: batch.images))
    with pytest.raises(RuntimeError, match=r"checkpoint 0 answers otherwise.*local variable"):
        trial.finish()
    assert trial.trace.scored == ()


def test_text_prompts_and_small_sets_are_scored_at_once() -> None:
    trial = toy_trial(("pixels",), budget=20)
    assert not trial._gathers  # 60 images are kept
    assert not toy_trial().scorer.large


def test_the_next_images_load_while_the_last_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = toy_trial(("pixels",))
    monkeypatch.setattr("bench.loader.AT_ONCE", 8)
    images, read = trial.scorer.tests["test"].images, []

    def pixels(index: torch.Tensor, size: int | None = None) -> torch.Tensor:
        read.append((int(index[0]), size, threading.current_thread() is threading.main_thread()))
        return type(images).pixels(images, index, size)

    object.__setattr__(images, "pixels", pixels)
    for sample in ahead(trial.scorer.loader.unlabelled(images)):
        assert torch.equal(sample.load(4), type(images).pixels(images, sample.index, 4).double())
    # The first two are read on demand: nobody knows yet which size is needed.
    assert sorted(read) == [(8 * i, 4, i < 2) for i in range(8)]


def test_a_fault_in_the_loading_thread_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.loader.AT_ONCE", 8)
    trial = toy_trial(("pixels",))
    images = trial.scorer.tests["test"].images

    def pixels(index: torch.Tensor, size: int | None = None) -> torch.Tensor:
        if int(index[0]) == 32:
            raise UserError("image 32 is damaged")
        return type(images).pixels(images, index, size)

    object.__setattr__(images, "pixels", pixels)
    seen, before = [], set(threading.enumerate())
    with pytest.raises(UserError, match="image 32"):
        for sample in ahead(trial.scorer.loader.unlabelled(images)):
            seen.append(len(sample.images))
    assert seen == [8] * 4
    assert set(threading.enumerate()) <= before


# The door

BAD = {
    "a single prompt": (CONTEXT, TypeError, r"write \[prompt\]"),
    "no prompt": ([], ValueError, "at least one prompt"),
    "a tensor instead of a prompt": ([torch.zeros(2, D)], TypeError, "is of type Tensor"),
    "a context of another width": ([Prompt(context=torch.zeros(2, D + 1))], ValueError, r"\[n, 12\]"),
    "a context of integers": ([Prompt(context=torch.zeros(2, D).long())], TypeError, "floating-point"),
    "a list as context": ([Prompt(context=[0.0])], TypeError, "has to be a Tensor"),  # type: ignore[arg-type]
    "a template without braces": ([Prompt(template="a photo")], ValueError, "one {} for the class name"),
    "a template that reads an attribute": ([Prompt(template="{0.__class__}")], ValueError, "no other brace"),
    "a state that is not flat": ([Prompt(state=torch.zeros(2, 2))], ValueError, "has to be flat"),
    "pixels of another shape": (
        [Prompt(pixels=lambda b: b.images[:1])],
        ValueError,
        r"return \[8, 3, 16, 16\]",
    ),
    "pixels that are not a function": ([Prompt(pixels=3)], TypeError, "has to be a function"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", BAD)
def test_a_wrong_prompt_is_refused_with_a_message_of_one_line(what: str) -> None:
    trial = toy_trial(("text context", "template", "pixels"))
    trial.box.report(CONTEXT)
    prompts, error, says = BAD[what]
    with pytest.raises(error, match=says) as caught:
        trial.box.logits(next(trial.box.batches()), prompts)
    assert "\n" not in str(caught.value)


def test_a_list_is_read_once_and_a_subclass_of_prompt_is_refused() -> None:
    trial = toy_trial()
    trial.box.report(CONTEXT)
    trial.box.logits(next(trial.box.batches()), iter([CONTEXT, CONTEXT]))  # type: ignore[arg-type]
    assert trial.meter.spent == 2

    class Subclass(Prompt):
        access = frozenset()  # type: ignore[assignment]

    with pytest.raises(TypeError, match="Subclass"):
        trial.box.report(Subclass(template="{}"))


def test_a_reported_prompt_does_not_change_with_the_methods_tensors() -> None:
    trial = toy_trial(("text context", "pixels", "logits head"), budget=20)
    x, shift, bias = torch.ones(3), torch.zeros(3, S, S), [torch.zeros(4)]
    prompt = Prompt(pixels=lambda b: b.images + shift, head=lambda y: y + bias[0], state=x)
    trial.box.report(prompt)
    before = trial.scorer.score(trial.deployed)
    for tensor in (x, shift, bias[0]):
        tensor.copy_(torch.randn(tensor.shape) * 1e3)
    assert trial.scorer.score(trial.deployed) == before
    assert torch.equal(trial.deployed.state, torch.ones(3))


def test_a_method_gets_copies_of_the_images() -> None:
    trial = toy_trial(("pixels",), budget=20)
    batch = next(trial.box.batches())
    assert batch.images is batch.images and batch.resampled(8) is batch.resampled(8)
    kept = trial.loader.behind(batch).images.clone()
    batch.images.zero_()
    assert torch.equal(trial.loader.behind(batch).images, kept)

    def pixels(seen: object) -> torch.Tensor:
        return seen.images.mul_(0.5)  # type: ignore[attr-defined]

    trial.box.report(Prompt(pixels=pixels))
    assert trial.scorer.score(trial.deployed) == trial.scorer.score(trial.deployed)


def test_the_box_refuses_calls_while_a_prompt_is_scored_and_from_another_thread() -> None:
    trial = toy_trial(("pixels",), budget=20)
    batch, tested = next(trial.box.batches()), []

    def pixels(seen: object) -> torch.Tensor:
        tested.append(seen)
        trial.box.encode(seen, "any")  # type: ignore[arg-type]
        trial.box.logits(batch, [Prompt()])
        return seen.images  # type: ignore[attr-defined]

    trial.box.report(Prompt(pixels=pixels))
    with pytest.raises(AccessDenied, match="while a prompt is scored"):
        trial.finish()
    trial = toy_trial(("pixels",), budget=20)
    trial.box.report(Prompt())
    for ask in (lambda: trial.box.logits(tested[0], [Prompt()]), lambda: trial.box.encode(tested[0], "any")):
        with pytest.raises(AccessDenied, match="not one of"):
            ask()
    with ThreadPoolExecutor(1) as pool, pytest.raises(AccessDenied, match="only in the thread"):
        pool.submit(trial.box.train_pass).result()


def test_a_stream_has_no_public_attributes_and_checks_its_arguments() -> None:
    box = toy_trial().box
    assert not [name for name in dir(box.batches()) if not name.startswith("__")]
    for size in (0, -1, 1.5):
        with pytest.raises(ValueError, match="at least 1"):
            box.batches(size)  # type: ignore[arg-type]
    for scale in ((0.5,), (0.0, 1.0), (0.9, 0.1), (0.5, 2.0), 0.5, (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="crop_scale"):
            box.batches(crop_scale=scale)  # type: ignore[arg-type]


def test_autocast_does_not_change_the_answers_of_the_box() -> None:
    trial = toy_trial()
    trial.box.report(CONTEXT)
    batch = next(trial.box.batches())
    plain = trial.box.logits(batch, [CONTEXT])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(trial.box.logits(batch, [CONTEXT]), plain)
