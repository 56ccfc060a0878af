"""The same input is computed once, and a text that is sent again is not encoded again."""

import pytest
import torch
from toy import D, ToyTower, toy_trial

from bench.prompt import Prompt
from bench.remembered import Remembered


def table(limit: int = 1 << 20) -> tuple[Remembered, list[torch.Tensor]]:
    return Remembered(limit), []


def ask(memory: Remembered, made: list[torch.Tensor], given: torch.Tensor, kind: str = "a") -> torch.Tensor:
    def make() -> torch.Tensor:
        made.append(given)
        return given.double() * 2

    return memory.get(kind, given, make)


def test_equal_values_are_computed_once_and_changed_ones_again() -> None:
    memory, made = table()
    x = torch.randn(3, 4)
    first = ask(memory, made, x)
    assert ask(memory, made, x.clone()) is first and len(made) == 1
    x[0, 0] += 1e-6  # in place: the bytes count, not the tensor
    assert torch.equal(ask(memory, made, x), x.double() * 2) and len(made) == 2
    assert ask(memory, made, x, "b") is not ask(memory, made, x)
    ask(memory, made, x.view(4, 3))
    ask(memory, made, x.T)
    ask(memory, made, x.double())
    assert len(made) == 6


def test_signed_zeros_are_two_inputs_and_nan_is_one() -> None:
    memory, made = table()
    for value in (0.0, -0.0, float("nan"), float("nan")):
        ask(memory, made, torch.tensor([value]))
    assert len(made) == 3


def test_what_was_used_longest_ago_is_dropped() -> None:
    memory, made = table(limit=2 * 8)  # two results of one float64
    a, b, c = (torch.tensor([float(i)]) for i in range(3))
    for one in (a, b, a, c, a, b):
        ask(memory, made, one)
    assert [int(one) for one in made] == [0, 1, 2, 1]
    assert memory.held <= memory.limit
    ask(memory, made, torch.randn(100))  # too large: neither kept, nor does it drop others
    ask(memory, made, a)
    assert len(made) == 5


def test_a_gradient_is_never_remembered() -> None:
    memory, made = table()
    x = torch.ones(2, requires_grad=True)
    for _ in range(2):
        ask(memory, made, x).sum().backward()
    assert len(made) == 2 and torch.equal(x.grad, torch.full((2,), 4.0))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of contexts of each call of the text tower."""
    calls: list[int] = []
    whole = ToyTower.encode

    def encode(self: ToyTower, contexts: torch.Tensor) -> torch.Tensor:
        calls.append(len(contexts))
        return whole(self, contexts)

    monkeypatch.setattr(ToyTower, "encode", encode)
    return calls


def test_a_text_is_encoded_once_for_all_batches_and_for_its_score(encoded: list[int]) -> None:
    trial = toy_trial(budget=200)
    context = torch.randn(2, D)
    population = [Prompt(context=torch.randn(2, D)) for _ in range(5)]
    trial.box.report(Prompt(context=context))
    for batch in trial.box.train_pass():
        trial.box.logits(batch, population)
        trial.box.logits(batch, [Prompt(context=context.clone())])
    trial.box.pass_loss(population)
    trial.finish()
    assert encoded == [1, 5]  # the untuned prompt is scored first; then it is sent
    trial = toy_trial(budget=200)
    trial.box.report(Prompt(context=context))
    for batch in trial.box.train_pass():
        context += 1
        trial.box.logits(batch, [Prompt(context=context)])
    assert len(encoded) == 2 + 6


def test_the_parts_of_a_prompt_are_encoded_once_each(encoded: list[int]) -> None:
    trial = toy_trial(("text context", "logits head"), budget=100)
    parts = tuple(Prompt(context=torch.randn(2, D)) for _ in range(3))
    for sharpness in (1.0, 2.0):
        trial.box.report(Prompt(parts=parts, head=lambda logits, s=sharpness: s * logits.mean(0)))
        trial.box.logits(next(trial.box.batches()), [Prompt(context=torch.zeros(1, D))] * 15)
    trial.finish()
    assert sorted(encoded) == [1, 1, 1, 15]


def test_the_memory_belongs_to_one_run() -> None:
    one, other = toy_trial(), toy_trial()
    assert one.predictor._texts is not other.predictor._texts  # type: ignore[attr-defined]
