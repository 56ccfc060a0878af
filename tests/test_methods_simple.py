"""The simple rows: heads, read-outs and ensembles of templates; contexts that start from words."""

from importlib import import_module

import numpy as np
import pytest
import torch
from cells import mini_cells
from toy import ToyBackbone, ToyLab, toy_cell, toy_task, trial_of

from bench.errors import UserError
from bench.lab import Lab, Settings
from bench.plugins import load_method
from bench.prompt import Prompt
from bench.runner import rebuild, run_cell
from bench.templates import LISTS, templates
from bench.trial import Trial

load_method("head")  # from here on the files beside it can be imported, too
linear = import_module("bench.methods._linear")
Data, Factor, Full, LowRank = linear.Data, linear.Factor, linear.Full, linear.LowRank
objective, solve, strength = linear.objective, linear.solve, linear.strength


def method(name: str, budget: int = 100, classes: int = 4, **params: object):  # type: ignore[no-untyped-def]
    cls = load_method(name)
    cell = toy_cell(method=name, budget=budget)
    trial = trial_of(ToyBackbone(), cell, cls.access, ToyLab(), toy_task(classes))
    made = cls(trial.box, cls.Params(**params), cell.seed_for("method"))
    trial.report(made.prompt(made.x0))
    return made, trial


def answers(trial: Trial, prompt: Prompt) -> torch.Tensor:
    """[N, C] of the train set, as the prompt is deployed; off the meter."""
    from bench.deploy import deployed

    at_work = deployed(prompt, trial.predictor, trial.classes, trial.template, trial.classes)
    return torch.cat([at_work(trial.loader.behind(batch)) for batch in trial.loader.train_pass])


def problem(C: int = 3, F: int = 5, N: int = 24, seed: int = 0) -> Data:  # type: ignore[valid-type]
    rng = np.random.default_rng(seed)
    X, labels = rng.normal(size=(N, F)), np.arange(N) % C
    X[:, :C] += 2 * np.eye(C)[labels]
    return Data(rng.normal(size=(N, C)), X, labels)


@pytest.mark.parametrize("g", [Factor(), Full(3, 3), LowRank(3, 3, 2)])
def test_slopes_are_the_derivatives(g) -> None:
    data = problem(F=3)
    w = np.random.default_rng(1).normal(size=g.size + 3) * 0.3
    loss, slope = objective(w, g, data, 0.01)
    for i in range(len(w)):
        step = np.zeros_like(w)
        step[i] = 1e-6
        rise = objective(w + step, g, data, 0.01)[0] - objective(w - step, g, data, 0.01)[0]
        assert rise / 2e-6 == pytest.approx(slope[i], abs=1e-6)
    assert loss > 0


@pytest.mark.parametrize("g", [Factor(), Full(3, 3), LowRank(3, 3, 2)])
def test_every_map_starts_at_nothing(g) -> None:
    assert np.allclose(g(problem(F=3).X, g.start()), 0)


def test_the_fit_is_at_the_minimum() -> None:
    data, g = problem(), Full(5, 3)
    rough = solve(g, data, 0.01, linear.ROUGH)
    w = linear.polished(rough, g, data, 0.01)
    assert (
        np.abs(objective(w, g, data, 0.01)[1]).max()
        < 1e-14
        < np.abs(objective(rough, g, data, 0.01)[1]).max()
    )


def test_strength_falls_as_the_images_say_more() -> None:
    noise = Data(np.zeros((24, 3)), np.random.default_rng(2).normal(size=(24, 5)), np.arange(24) % 3)
    order = np.random.default_rng(3).permutation(24)
    assert strength(Full(5, 3), problem(), order) < strength(Full(5, 3), noise, order)
    assert strength(Full(5, 3), problem(N=3), order[:3] % 3) == 1.0


@pytest.mark.parametrize("kind", ["bias", "linear", "mlp"])
def test_a_head_starts_as_the_identity_and_learns_from_one_pass(kind: str) -> None:
    made, trial = method("head", kind=kind)
    before, labels = answers(trial, made.prompt(made.x0)), trial.loader.train.labels
    assert torch.equal(before, answers(trial, Prompt()))
    made.tune()
    assert trial.box.spent == len(trial.loader.train_pass)
    after = answers(trial, trial.deployed)
    loss = torch.nn.functional.cross_entropy
    assert loss(after, labels) < loss(before, labels)
    assert len(made.x0) == made.n_params
    assert len(trial.deployed.sent) == 1


@pytest.mark.parametrize("kind", ["bias", "linear", "mlp"])
def test_a_head_does_not_see_what_all_classes_have_in_common(kind: str) -> None:
    made, _ = method("head", kind=kind)
    state = torch.randn(made.n_params, dtype=torch.float64)
    logits = torch.randn(6, 4, dtype=torch.float64)
    moved = made.refine(logits + 7, state) - made.refine(logits, state)
    torch.testing.assert_close(moved, torch.full_like(moved, 7))


def test_a_head_of_low_rank_for_many_classes() -> None:
    made, trial = method("head", most=3, rank=2)
    assert made.n_params == 2 * (4 + 4) + 4
    made.tune()
    assert not torch.equal(answers(trial, trial.deployed), answers(trial, Prompt()))


def test_a_head_is_refused_whole_when_its_pass_does_not_fit() -> None:
    from bench.blackbox import BudgetSpent

    made, trial = method("head", budget=2)
    with pytest.raises(BudgetSpent):
        made.tune()
    assert trial.box.spent == 0


def test_views_are_paid_for() -> None:
    made, trial = method("head", views=3)
    made.tune()
    assert trial.box.spent == 3 * len(trial.loader.train_pass)


def test_a_readout_starts_at_the_hand_template_and_costs_k() -> None:
    made, trial = method("readout", k=3)
    torch.testing.assert_close(answers(trial, made.prompt(made.x0)), answers(trial, Prompt()))
    made.tune()
    assert trial.box.spent == 3 * len(trial.loader.train_pass)
    assert len(trial.deployed.sent) == 3
    labels, loss = trial.loader.train.labels, torch.nn.functional.cross_entropy
    assert loss(answers(trial, trial.deployed), labels) < loss(answers(trial, Prompt()), labels)


def test_an_ensemble_averages_its_templates() -> None:
    made, trial = method("ensemble", count=4)
    prompt = made.prompt(None)
    alone = [answers(trial, part) for part in prompt.parts]
    torch.testing.assert_close(answers(trial, prompt), torch.stack(alone).mean(0))
    assert (trial.box.spent, len(prompt.sent), prompt.any_classes) == (0, 4, True)


def test_lists_of_templates() -> None:
    assert (len(templates("clip")), len(templates("clip-simple"))) == (80, 7)
    assert set(templates("clip-simple")) <= set(templates("clip"))
    for name in LISTS:
        listed = templates(name)
        assert len(set(listed)) == len(listed)
        assert all(one.count("{}") == 1 for one in listed)
    with pytest.raises(UserError, match="no list of templates 'clap'"):
        templates("clap")


@pytest.mark.parametrize(
    ("name", "params", "fault"),
    [
        ("head", {"kind": "tree"}, "kind is 'tree'"),
        ("head", {"views": 0}, "at least 1"),
        ("readout", {"k": 0}, "k must be 1 to 81"),
        ("readout", {"k": 82}, "k must be 1 to 81"),
        ("ensemble", {"count": 0}, "count must be at least 1"),
    ],
)
def test_parameters_that_cannot_be(name: str, params: dict[str, object], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        load_method(name).Params(**params)


@pytest.mark.parametrize(("name", "least", "queries"), [("head", 66.0, 5), ("readout", 66.0, 25)])
def test_one_pass_on_digits(name: str, least: float, queries: int) -> None:
    """72.2 and 73.4 % were measured for seed 1; the hand template has 53.9."""
    (cell,) = mini_cells(name, datasets=("mini-digits",), budgets=(100,))
    lab = Lab(Settings())
    record = run_cell(cell, Settings(), lab)
    assert record.ok, record.error
    assert record.queries == queries
    assert record.accuracy["test"] > least
    assert record.deploy_queries == queries // 5
    prompt, _, trial = rebuild(record, lab)
    assert trial.scorer.score(prompt) == record.outcomes


@pytest.mark.parametrize(
    ("name", "param"), [("zip", "init"), ("spsa", "init"), ("coop", "init"), ("bbt", "words")]
)
def test_a_context_may_start_from_the_hand_templates_words(name: str, param: str) -> None:
    """mini-digits' template ends with the class name, so that the first accuracy is the hand template's."""
    cells = mini_cells(
        name, "manual", datasets=("mini-digits",), budgets=(1,), overrides=[f"{name}.{param}=hand"]
    )
    tuned, manual = (run_cell(one, Settings(), Lab(Settings())) for one in cells)
    assert tuned.ok, tuned.error
    assert tuned.trace[0].accuracy["test"] == pytest.approx(manual.accuracy["test"], abs=1.5)
