"""The arithmetic of each method: the papers' parameter counts, starts, projections, decoders, estimates."""

import re
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from cells import conversation
from torch import Tensor, nn
from toy import D, S, ToyBackbone, ToyLab, toy_cell, toy_trial, trial_of

from bench import exact
from bench.blackbox import Batch, BlackBox, BudgetSpent, cross_entropy
from bench.errors import UserError
from bench.loader import Sample
from bench.method import Method
from bench.outcome import accuracy
from bench.params import make_params, parse_value
from bench.plugins import METHODS as FOUND
from bench.plugins import load_method, method_hash
from bench.runner import pack, unpack
from bench.trial import Trial

# Parameter values under which every method runs in the toy world: 16 pixels, text width 12.
SMALL: dict[str, dict[str, Any]] = {
    "blackvip": {"encoder": "toy", "grid": 4, "cube": 4, "channels": (8,)},
    "bar": {"inner": 12},
    "vp": {"border": 2},
    "llm": {"start": 5},
    "bptvlm": {"text_dim": 20, "visual_dim": 20},
    "bbt": {"intrinsic": 16, "population": 6},
    "craft": {"intrinsic": 16, "population": 6, "hidden": 8},
    **{name: {"q": 5} for name in ("cbbt", "cbbt_adapter")},
    "lcs": {"shared": 4, "own": 2, "population": 6},
    **{name: {"intrinsic": 40, "rank": 2, "m": 4} for name in ("zip", "openes", "cmaes", "random_search")},
}
METHODS = sorted(FOUND.files())
TUNED = [name for name in METHODS if load_method(name).tunes()]
BY_BUDGET = {"cbbt", "cbbt_adapter"}  # their cosine ends with the budget
ONE_PASS = {"head", "readout", "probe", "tip_adapter"}  # they end after one pass over the train set


def build(name: str, box: BlackBox, **params: Any) -> Method:
    return load_method(name)(box, make_params(name, params), seed=11, chat=conversation().chat)


def small(name: str, **changes: Any) -> tuple[Method, Trial]:
    trial = toy_trial(load_method(name).access, **{"method": name, "budget": 300, **changes})
    return build(name, trial.box, **SMALL.get(name, {})), trial


def run(name: str, **changes: Any) -> tuple[Method, Trial]:
    method, trial = small(name, **changes)
    trial.report(method.prompt(method.x0))
    with suppress(BudgetSpent):
        method.tune()
    trial.finish()
    return method, trial


@pytest.mark.parametrize(
    ("name", "count"), [("manual", 0), ("zip", 417), ("blackvip", 9_920), ("bar", 37_620), ("bptvlm", 4_000)]
)
def test_parameters_at_the_papers_shapes(name: str, count: int) -> None:
    """ViT-B/16: 224 pixels, text width 512, vision width 768, ViT-MAE-base's 768 features."""
    backbone, lab = ToyBackbone(224, 512, 768), ToyLab(encoder_width=768)
    trial = trial_of(backbone, toy_cell(method=name), load_method(name).access, lab)
    method = build(name, trial.box)
    assert method.n_params == count
    state = method.start()
    assert state is None or state.numel() >= count


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("budget", [1, 7, 300])
def test_every_method_keeps_its_budget_and_leaves_a_trace(name: str, budget: int) -> None:
    _, trial = run(name, budget=budget)
    spent, points = trial.meter.spent, trial.trace.points
    assert spent <= budget
    assert (points[0].queries, points[-1].queries) == (0, budget)
    if budget == 300 and name in TUNED and name not in ONE_PASS:
        assert spent > 0.5 * budget


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_the_same_result_twice(name: str) -> None:
    torch.manual_seed(0)
    _, one = run(name)
    torch.manual_seed(1)  # no number may come from the global generator
    _, two = run(name)
    assert one.trace.points == two.trace.points
    assert pack(one.deployed) == pack(two.deployed)


@pytest.mark.parametrize("name", METHODS)
def test_a_prompt_is_rebuilt_from_what_a_record_keeps(name: str) -> None:
    _, trial = run(name)
    again, fresh = small(name)
    prompt = unpack(pack(trial.deployed), again)
    found = {name: accuracy(outcome) for name, outcome in fresh.scorer.score(prompt).items()}
    assert found == trial.trace.points[-1].accuracy


@pytest.mark.parametrize("name", TUNED)
def test_the_prompt_moves(name: str) -> None:
    method, trial = run(name, budget=1000)
    assert pack(trial.deployed) != pack(method.prompt(method.x0))


@pytest.mark.parametrize("name", [name for name in METHODS if name not in BY_BUDGET])
def test_a_long_run_begins_like_a_short_one(name: str) -> None:
    """The budget only stops a method. The reports rely on this where a class says so."""
    (_, short), (_, long) = run(name, budget=100), run(name, budget=300)
    points, more = short.trace.points, long.trace.points
    assert points[:-1] == more[: len(points) - 1]
    assert points[-1].accuracy == next(p for p in more if p.queries == 100).accuracy


def test_the_methods_whose_steps_depend_on_the_budget_say_so() -> None:
    assert {name for name in METHODS if load_method(name).schedule == "budget"} == BY_BUDGET


# ZIP


def zip_method(**params: Any) -> Any:
    return build("zip", toy_trial().box, **({"intrinsic": 40, "m": 4, "rank": 2} | params))


def test_zip_starts_at_theta0_and_its_first_gradient_is_not_zero() -> None:
    method = zip_method()
    torch.testing.assert_close(method.prompt(method.x0).context, method.theta0)
    moved = method.x0.clone()
    moved[method.q * 2 + 2 : -method.q] = 1.0  # V
    assert not torch.allclose(method.prompt(moved).context, method.theta0)


def test_zips_context_follows_the_papers_formula_for_each_token() -> None:
    method = zip_method()
    state = torch.randn(method.n_params).double()
    U, s, V, u = state.split(method.sizes)
    U, V = U.view(method.q, 2), V.view(4, 2)
    for i, vector in enumerate(method.prompt(state).context):
        w = U @ torch.diag(s) @ V[i] + u
        torch.testing.assert_close(vector, method.theta0[i] + method.M[i] @ w)


def test_fastfood_equals_its_steps_one_after_the_other() -> None:
    """H G P H B of a unit vector, padded to L, is a column of the matrix; its norm is one on average."""
    method = zip_method()
    method.q, d = 40, 100
    state = method.rng.get_state()
    M = method.fastfood(d)
    method.rng.set_state(state)
    L = 128
    signs = 2.0 * torch.randint(2, (L,), generator=method.rng) - 1
    order = torch.randperm(L, generator=method.rng)
    G = exact.normal(L, rng=method.rng)
    H = torch.tensor([[(-1.0) ** bin(i & j).count("1") for j in range(L)] for i in range(L)]).double()
    for j in range(40):
        e = torch.zeros(L).double()
        e[j] = 1
        column = (H @ (G * (H @ (signs * e))[order]))[:d] / ((L * G.square().sum()) ** 0.5 * (d / L) ** 0.5)
        torch.testing.assert_close(M[:, j], column, atol=1e-5, rtol=1e-4)
    assert M.norm(dim=0).mean().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("params", "count"),
    [
        ({}, 10 * 2 + 2 + 4 * 2 + 10),
        ({"share": False}, 10 * 2 + 2 + 4 * 2),
        ({"rank": 0}, 40 + 10),
        ({"init": "a photo of a"}, 10 * 2 + 2 + 4 * 2 + 10),
        ({"projection": "gaussian", "clip": "none"}, 40),
    ],
)
def test_zip_variants(params: dict[str, Any], count: int) -> None:
    method = zip_method(**params)
    assert method.n_params == count
    assert method.prompt(method.x0).context.shape == (4, D)


# BlackVIP


def plain_decoder(method: Any) -> nn.Module:
    """The authors' decoder, layer by layer."""
    p, layers, width, inner = method.params, [], method.params.cube, method.params.channels[0]
    for out in p.channels:
        layers += [
            nn.ConvTranspose2d(width, inner, 2, 2, groups=width),
            nn.ConvTranspose2d(inner, out, 1, bias=False),
        ]
        layers += [nn.BatchNorm2d(out), nn.GELU()]
        width = inner = out
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, 3, 2, 2, bias=False))


def test_blackvips_decoder_equals_the_plain_one_for_every_candidate() -> None:
    box = toy_trial(("pixels",), method="blackvip").box
    method = build("blackvip", box, encoder="toy", grid=2, cube=4, channels=(8, 6))
    states = method.x0[: method.n_params] + 0.1 * torch.randn(3, method.n_params)
    features = torch.randn(5, 4).double()
    drawn, seen = method.decode(states, features)
    assert drawn.shape == (3, 5, 3, S, S)
    for k, state in enumerate(states):
        decoder = plain_decoder(method).double().train()
        trigger, weights = state.split([method.layout[0][1][0], decoder_size(decoder)])
        nn.utils.vector_to_parameters(weights, decoder.parameters())
        for layer in decoder:
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0
        cube = torch.cat([features, trigger.expand(5, -1)], dim=1).view(5, 4, 2, 2)
        torch.testing.assert_close(drawn[k], decoder(cube), atol=1e-5, rtol=1e-4)
        stats = [
            t
            for layer in decoder
            if isinstance(layer, nn.BatchNorm2d)
            for t in (layer.running_mean, layer.running_var)
        ]
        torch.testing.assert_close(seen[k], torch.cat(stats), atol=1e-5, rtol=1e-4)
        deployed, _ = method.decode(state[None], features, seen[k])
        torch.testing.assert_close(deployed[0], decoder.eval()(cube), atol=1e-5, rtol=1e-4)


def decoder_size(decoder: nn.Module) -> int:
    return sum(p.numel() for p in decoder.parameters())


def test_blackvip_sends_images_in_range() -> None:
    method, trial = small("blackvip")
    batch = next(trial.box.batches())
    sent = method.prompt(method.x0 + 3).pixels(batch)
    assert sent.shape == batch.images.shape
    assert sent.min() >= 0 and sent.max() <= 1
    assert not torch.allclose(sent, batch.images)


# BAR, VP


def test_bar_puts_the_image_into_the_window_and_a_sigmoid_on_the_frame() -> None:
    method, trial = small("bar")
    batch = next(trial.box.batches())
    sent = method.prompt(torch.full_like(method.x0, 2.0)).pixels(batch)
    assert torch.all(sent[:, :, 0] == torch.tensor(2.0).double().sigmoid())
    inside = sent[:, :, 2:14, 2:14]
    assert (inside.mean((2, 3)) - batch.images.mean((2, 3))).abs().max() < 0.1
    assert method.n_params == 3 * (16**2 - 12**2)


def test_bars_step_decays_over_the_epochs_and_does_not_depend_on_the_budget() -> None:
    """40 images in batches of 8: 5 steps per epoch; the step reaches its last length after 0.9 * 5 * 1000."""
    short, long = (small("bar", budget=budget)[0] for budget in (60, 5000))
    assert [short.step(k) for k in range(1, 9)] == [long.step(k) for k in range(1, 9)]
    assert long.step(1) == pytest.approx(0.1 + 9.9 * (1 - 1 / 4500) ** 0.9)
    assert long.step(4500) == long.step(9999) == 0.1


def test_bars_focal_loss_by_hand() -> None:
    method, _ = small("bar")
    logits = torch.tensor([[[2.0, 0.0]]])
    p = torch.tensor(2.0).exp() / (torch.tensor(2.0).exp() + 1)
    torch.testing.assert_close(method.loss(logits, torch.tensor([0])), -((1 - p) ** 2 * p.log())[None])


def test_vp_does_not_change_the_middle() -> None:
    method, trial = small("vp")
    batch = next(trial.box.batches())
    sent = method.prompt(method.x0).pixels(batch)
    assert torch.equal(sent[:, :, 2:-2, 2:-2], batch.images[:, :, 2:-2, 2:-2])
    assert not torch.equal(sent[:, :, :2], batch.images[:, :, :2])


def test_vps_border_is_added_and_clamped_only_on_request() -> None:
    batch = next(toy_trial(("pixels",)).box.batches())
    plain, clamped = (
        build("vp", toy_trial(("pixels",)).box, border=2, clamp=clamp) for clamp in (False, True)
    )
    sums, sent = (method.prompt(plain.x0).pixels(batch) for method in (plain, clamped))
    assert sums.min() < 0 and sums.max() > 1
    assert torch.equal(sent, sums.clamp(0, 1))
    corner = plain.x0.view(3, -1)[:, 0]  # the first entry of each channel is its top left pixel
    torch.testing.assert_close(sums[:, :, 0, 0], batch.images[:, :, 0, 0] + 0.5 * corner)


# BPT-VLM, BBT, CraFT, CoOp


def test_population_methods_pay_for_every_pass() -> None:
    """40 images in batches of 8: 5 queries per candidate."""
    _, trial = run("bptvlm", budget=15 * 5 + 3)
    assert trial.meter.spent == 15 * 5
    _, trial = run("bbt", budget=6 * 5 * 2)
    assert trial.meter.spent == 6 * 5 * 2


def test_bptvlms_port_pays_only_for_whole_batches_and_deploys_by_the_mean_so_far() -> None:
    """40 images in batches of 16: 2 queries per candidate; a whole pass takes 3."""
    access, budget = load_method("bptvlm").access, 15 * 2 * 3
    trial = toy_trial(access, method="bptvlm", budget=budget, batch_size=16, augment=True)
    method: Any = build("bptvlm", trial.box, **SMALL["bptvlm"], fitness="port")
    losses: list[float] = []
    reports: list[float] = []
    logits, report = trial.logits, trial.report

    def ask(batch: Batch, prompts: Any) -> Tensor:
        answer = logits(batch, prompts)
        losses.append(cross_entropy(answer, batch.labels).item())
        return answer

    def keep(prompt: Any) -> None:
        report(prompt)
        reports.append(len(losses))

    trial.logits, trial.report = ask, keep  # type: ignore[method-assign]
    trial.report(method.prompt(method.x0))
    with suppress(BudgetSpent):
        method.tune()
    assert (trial.meter.spent, trial.meter.image_queries) == (90, 90 * 16)
    lowest, expected = float("inf"), [0]
    for n, loss in enumerate(losses):
        mean = loss if n % 2 == 0 else (losses[n - 1] + loss) / 2
        if mean < lowest:
            lowest = mean
            expected.append(n + 1)
    assert reports == expected


def test_crafts_refinement_pays_for_its_batches_and_starts_as_pytorch_does() -> None:
    """6 candidates on 5 batches, then one epoch: 5 batches of 8, or 3 batches of 16, the last one with 8."""
    for batch_size, queries, images in ((8, 6 * 5 + 5, 7 * 40), (16, 6 * 3 + 3, 7 * 40)):
        _, trial = run("craft", budget=queries, batch_size=batch_size)
        assert (trial.meter.spent, trial.meter.image_queries) == (queries, images)
    fresh: Any = small("craft")[0]
    weights, C, h = fresh.x0[fresh.params.intrinsic :], 4, fresh.params.hidden
    for part, inputs in zip(weights.split([h * C + h, C * h + C]), (C, h), strict=True):
        assert 0.9 * inputs**-0.5 < part.abs().max() <= inputs**-0.5
    net = nn.Sequential(nn.Linear(C, h), nn.ReLU(), nn.Linear(h, C)).double()
    nn.utils.vector_to_parameters(weights, net.parameters())
    logits = torch.randn(2, 3, C).double()
    torch.testing.assert_close(fresh.prompt(fresh.x0).head(logits), logits + net(logits))


def test_crafts_refinement_alone_keeps_the_words_and_pays_for_epochs_only() -> None:
    """An epoch is 5 batches of 8. No candidate is scored, and the context stays that of the start."""
    trial = toy_trial(load_method("craft").access, method="craft", budget=17)
    method = build("craft", trial.box, **SMALL["craft"], refinement_only=True)
    trial.report(method.prompt(method.x0))
    with suppress(BudgetSpent):
        method.tune()
    trial.finish()
    assert trial.meter.spent == 15 and trial.deployed is not None
    start, last = method.x0, trial.deployed.state
    n = method.params.intrinsic
    assert torch.equal(last[:n], start[:n]) and not torch.equal(last[n:], start[n:])


def test_crafts_fitness_pulls_the_logits_towards_the_refined_ones() -> None:
    """KL(refined || logits), which kl_div(log_softmax(logits), softmax(refined)) computes."""
    method: Any = small("craft")[0]
    method.weights = method.x0[method.params.intrinsic :]
    logits, labels = torch.randn(1, 5, 4).double(), torch.arange(5) % 4
    refined = method.refine(logits, method.weights)
    kl = nn.functional.kl_div(logits[0].log_softmax(1), refined[0].softmax(1), reduction="batchmean")
    expected = nn.functional.cross_entropy(logits[0], labels) + method.params.consistency * kl
    torch.testing.assert_close(method.fitness(logits, labels), expected[None])


@pytest.mark.parametrize(("shots", "candidates"), [(1, 500), (2, 1000), (4, 1000), (8, 2000), (16, 2000)])
def test_crafts_kl_term_lasts_for_a_quarter_of_the_authors_candidates(shots: int, candidates: int) -> None:
    method: Any = small("craft", shots=shots)[0]
    assert method.warm_candidates == candidates
    assert build("craft", toy_trial().box, **SMALL["craft"], evaluations=40, warm=1.0).warm_candidates == 40


def test_craft_scores_candidates_on_fixed_crops_and_trains_on_new_ones() -> None:
    method, trial = small("craft", augment=True, budget=2 * (6 * 5 + 5))
    sent: list[Sample] = []
    charge = trial._charge

    def pay(queries: int, batch: Batch) -> None:
        charge(queries, batch)
        sent.append(trial.loader.behind(batch))

    trial._charge = pay  # type: ignore[method-assign]
    trial.report(method.prompt(method.x0))
    with suppress(BudgetSpent):
        method.tune()
    scored, trained = sent[:5] + sent[10:15], sent[5:10] + sent[15:]
    assert [batch.crop_seed for batch in scored[:5]] == [batch.crop_seed for batch in scored[5:]]
    assert len({batch.crop_seed for batch in (*scored[:5], *trained)}) == 15
    assert {batch.crop_scale for batch in sent} == {(0.5, 1.0)}


def test_bbts_projection_may_start_like_pytorch_and_its_z_may_be_unbounded() -> None:
    method: Any = build("bbt", toy_trial().box, intrinsic=16, population=6, std=0.0, bound=0.0, sigma=50.0)
    assert 0.9 / 4 < method.A.abs().max() <= 1 / 4
    assert method.cma().ask().abs().max() > 5


def test_what_bbt_deploys() -> None:
    for deploy in ("mean", "best", "sample"):
        method: Any = build("bbt", toy_trial().box, intrinsic=16, population=6, deploy=deploy)
        es, again = method.cma(), method.cma()
        for one in (es, again):
            one.tell(one.ask().square().sum(1))
        chosen = method.chosen(es)
        drawn = again.ask().mean(0)  # the next draw from the distribution
        expected = {"mean": again.x, "best": again.best, "sample": drawn}[deploy]
        torch.testing.assert_close(chosen, expected)


def test_bptvlm_projections_have_the_papers_moments() -> None:
    backbone, lab = ToyBackbone(16, 512, 768), ToyLab()
    backbone.token_std, backbone.patch_mean, backbone.patch_std = 0.01, 0.002, 0.05
    access = load_method("bptvlm").access
    method: Any = build("bptvlm", trial_of(backbone, toy_cell(), access, lab).box)
    assert method.A_L.std().item() == pytest.approx(0.01 / 2000**0.5, rel=0.01)
    assert method.A_V.std().item() == pytest.approx(0.05 * (3072 / 2000) ** 0.5, rel=0.01)
    assert method.A_V.mean().item() == pytest.approx(0.002 * 3072 / 2000, rel=0.1)


def test_coop_follows_the_true_gradient() -> None:
    """In the toy world CoOp's train loss falls at every checkpoint, apart from noise of single batches."""
    _, trial = run("coop", budget=300)
    losses = [point.train_loss for point in trial.trace.points if point.train_loss is not None]
    assert losses[-1] < losses[0]
    assert load_method("coop").white_box


@pytest.mark.parametrize(("shots", "epochs"), [(1, 50), (2, 100), (4, 100), (8, 200), (16, 200)])
def test_coops_epochs_depend_on_the_shots_and_its_rate_on_the_epochs(shots: int, epochs: int) -> None:
    method, _ = small("coop", shots=shots)
    assert method.epochs == epochs
    rates = [method.rate(epoch) for epoch in range(epochs)]
    assert rates[:2] == [1e-5, 0.002] and rates[1:] == sorted(rates[1:], reverse=True)
    assert 0 < rates[-1] < 1e-5


def test_coop_sends_batches_of_32_and_ends_after_its_epochs() -> None:
    """40 images: one batch of 32 per epoch."""
    trial = toy_trial(load_method("coop").access, method="coop", budget=300, batch_size=36)
    method = build("coop", trial.box, epochs=7)
    trial.report(method.prompt(method.x0))
    method.tune()
    assert (trial.meter.spent, trial.meter.image_queries) == (7, 7 * 32)


# Loading


def test_an_unknown_method_gives_an_error_with_the_closest_known_name() -> None:
    with pytest.raises(UserError, match=r"no method 'zipp'.*Did you mean 'zip'"):
        load_method("zipp")


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("rank", "3", 3),
        ("a", "1e-2", 0.01),
        ("share", "false", False),
        ("clip", "none", "none"),
        ("clip", "2", "2"),
    ],
)
def test_values_take_the_type_of_the_default(name: str, value: str, wanted: object) -> None:
    got = parse_value("zip", name, value)
    assert got == wanted and type(got) is type(wanted)


def test_a_tuple_is_written_with_an_x_between_its_numbers() -> None:
    assert parse_value("blackvip", "channels", "32x16") == (32, 16)


@pytest.mark.parametrize(
    ("name", "value"), [("rank", "two"), ("rank", "1.5"), ("share", "maybe"), ("ranks", "1")]
)
def test_a_wrong_value_is_an_error_that_names_the_parameter(name: str, value: str) -> None:
    with pytest.raises(UserError, match=rf"zip.*{name}"):
        parse_value("zip", name, value)


def test_a_users_folder_adds_methods(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = FOUND.file("manual").read_text()
    (tmp_path / "mine.py").write_text(text.replace("Manual Prompt", "Mine"))
    (tmp_path / "broken.py").write_text("import nothing_of_the_kind")
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    assert load_method("mine").title == "Mine"
    assert "zip" in FOUND.files()
    with pytest.raises(UserError, match=r"broken\.py cannot be imported"):
        load_method("broken")
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path / "gone"))
    with pytest.raises(UserError, match="no such folder"):
        FOUND.files()


@pytest.mark.parametrize(
    "line", ["from bench.methods.base import Base", "from .base import Base", "import bench.methods.base"]
)
def test_a_method_is_stale_when_what_it_builds_on_changes(
    line: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base.py").write_text("A = 1")
    (tmp_path / "child.py").write_text(line)
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    before = method_hash("child")
    (tmp_path / "base.py").write_text("A = 2")
    assert method_hash("child") != before


REST = "    n_params = 1\n    start = prompt = tune = None\n"
BAD_FILES = {
    "class X(Method):\n    title = 'X'\n": "class X lacks access, n_params, prompt, start, tune",
    "class X(Method):\n    title, access = 'X', ('txt context',)\n"
    + REST: "no access 'txt context'. Did you mean",
    "class X(Method):\n    title, access = 'X', 'pixels'\n" + REST: "access has to be a tuple",
    "class X(Method):\n    title, access = 'X', ('pixels',)\n"
    + REST
    + "    class Params:\n        a = 1\n": ("Params has to be a frozen dataclass"),
    "a = 1\n": "has to define one Method class",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_malformed_method_file_is_reported_before_any_run(
    text: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("from bench.method import Method\n" + text)
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    with pytest.raises(UserError, match=rf"mine\.py.*{re.escape(BAD_FILES[text])}"):
        load_method("mine")


def test_two_methods_with_one_name_are_refused(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zip.py").write_text("")
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    with pytest.raises(UserError, match=r"several methods are called 'zip': .*zip\.py and .*zip\.py"):
        load_method("zip")


def test_short_runs_see_the_first_batches_of_long_ones() -> None:
    def first(box: BlackBox) -> list[Tensor]:
        return [batch.index for batch in islice(box.batches(), 3)]

    cells = [replace(toy_cell(), budget=b) for b in (10, 5000)]
    boxes = [trial_of(ToyBackbone(), cell, ("text context",), ToyLab()).box for cell in cells]
    assert all(torch.equal(a, b) for a, b in zip(*map(first, boxes), strict=True))
