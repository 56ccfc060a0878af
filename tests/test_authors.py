"""Our methods repeat short runs of the authors' own code. tests/golden/authors/ names it and its commit.

The authors' code ran on a tiny model; the file holds the few numbers of this model. Our code gets the same
model, the same batches and the same random numbers. It must ask for the same candidates, find the same losses
and end at the same iterates, in float64. The tolerance is 1e-9. For BlackVIP it is 1e-7, because its code
clamps at limits with eight decimals.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from toy import ToyBackbone, ToyImages, ToyLab, ToyTask, toy_cell, trial_of

from bench import exact
from bench.blackbox import BudgetSpent, cross_entropy
from bench.loader import Sample
from bench.optim import CMAES
from bench.params import make_params
from bench.plugins import load_method
from bench.predictor import Answers, LocalPredictor
from bench.prompt import Prompt
from bench.trial import Trial

AUTHORS = Path(__file__).parent / "golden" / "authors"
SEED = 7  # of numpy's generator in CMA-ES, in their runs and in ours


@pytest.fixture(autouse=True)
def float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    # Our code without its rounding, because theirs does not round, and with the library's own root of C.
    for name in ("answer", "stored"):
        monkeypatch.setattr(exact, name, lambda numbers: numbers.double())
    monkeypatch.setattr(exact, "significant", lambda numbers, bits: numbers)
    monkeypatch.setattr(CMAES, "turned", False)
    yield
    torch.set_default_dtype(torch.float32)


class Recorded:
    """The numbers of one file. Lists of numbers become tensors where they have one shape."""

    def __init__(self, name: str) -> None:
        self.raw = json.loads((AUTHORS / f"{name}.json").read_text())

    def __getattr__(self, name: str) -> Tensor:
        return torch.tensor(self.raw[name])

    def has(self, name: str) -> bool:
        return name in self.raw


class Tiny:
    """The model on which the authors' code ran: each tower is one tanh and one matrix."""

    def __init__(self, run: Recorded, image_size: int = 1) -> None:
        self.run, self.image_size, self.logit_scale = run, image_size, run.raw["scale"]
        self.name, self.device, self.weights_hash = "tiny", torch.device("cpu"), "tiny"
        self.text_width = run.K.shape[1] if run.has("K") else 1
        self.vision_width = run.Q.shape[0] if run.has("Q") else None
        self.embed_dim = 1  # no method here reads features
        limits = (run.pixel_mean, run.pixel_std) if run.has("pixel_std") else (torch.zeros(3), torch.ones(3))
        self.pixel_mean, self.pixel_std = (values.view(3, 1, 1) for values in limits)
        self.token_std = self.patch_std = 0.02
        self.dtype = torch.float64
        self.patch_mean = 0.0

    def text_tower(self, names: tuple[str, ...]) -> "Tiny":
        return self

    def encode(self, contexts: Tensor) -> Tensor:
        """Contexts [K, m, d] -> [K, C, e]. The embeddings around the contexts sum to K [C, d]."""
        return F.normalize(torch.tanh(self.run.K + contexts.sum(1)[:, None]) @ self.run.P, dim=-1)

    def encode_texts(self, texts: list[str]) -> Tensor:
        return self.run.text

    def embed_words(self, words: str) -> Tensor:
        return self.run.words

    def encode_images(self, images: Tensor) -> Tensor:
        """Pixels go through one matrix; images that are already features stay as they are."""
        if not self.run.has("W"):
            return images
        return F.normalize(self.normalised(images).flatten(1) @ self.run.W, dim=-1)

    def normalised(self, images: Tensor) -> Tensor:
        return (images - self.pixel_mean) / self.pixel_std

    def trunk(self, images: Tensor) -> Tensor:
        return images

    def encode_trunk(self, trunk: Tensor, tokens: Tensor) -> Tensor:
        return F.normalize(torch.tanh(trunk + tokens.sum(1)[:, None]) @ self.run.Q, dim=-1)


class Means(ToyLab):
    """An encoder whose features are the means of the channels, twice, of images normalised for the model."""

    def __init__(self, model: Tiny) -> None:
        super().__init__()
        self.model = model

    def encoder(self, name: str) -> Any:
        means = ToyLab().encoder(name)
        means.encode_images = lambda images: self.model.normalised(images).mean((2, 3)).repeat(1, 2)[:, :4]
        return means


@dataclass
class Replay:
    """A run of our method on the authors' model and batches, and what it did."""

    name: str
    run: Recorded
    params: dict[str, Any]
    budget: int
    image_size: int = 1
    losses: list[float] = field(default_factory=list)  # one per candidate, in the order of the calls
    states: list[Tensor] = field(default_factory=list)  # that the method reported
    asked: list[Tensor] = field(default_factory=list)  # states of candidates, where the prompt has one
    passes: list[Tensor] = field(default_factory=list)  # answers of pass_loss

    def __post_init__(self) -> None:
        run, model = self.run, Tiny(self.run, self.image_size)
        images = ToyImages(run.labels, "tiny", run.features if run.has("features") else run.images)
        task = ToyTask(("a", "b", "c"), "{}", images, {})
        cell = toy_cell(method=self.name, budget=self.budget, batch_size=4)
        cls, lab = load_method(self.name), Means(model)
        self.trial = Trial(cell, task, Watched(model, lab, self), lab, cls.access)
        give = self.trial.loader.give
        self.batches = [give(images, torch.tensor(index)) for index in run.raw["batches"]]
        self.trial.loader.stream = lambda *args: cycle(self.batches)  # type: ignore[method-assign]
        self.method: Any = cls(self.trial.box, make_params(self.name, self.params), SEED)
        self.loss = getattr(self.method, "loss", cross_entropy)

    def play(self, start: Tensor | None = None) -> None:
        """Run the method from `start` until the budget or the batches are used up."""
        if start is not None:
            self.method.x0 = start
        pass_loss, report = self.trial.pass_loss, self.trial.report
        report(self.method.prompt(self.method.x0))

        def score(*args: Any) -> Tensor:
            self.passes.append(pass_loss(*args))
            return self.passes[-1]

        def keep(prompt: Any) -> None:
            self.states.append(prompt.state)
            report(prompt)

        self.trial.pass_loss, self.trial.report = score, keep  # type: ignore[method-assign]
        with suppress(BudgetSpent):
            self.method.tune()


class Watched(LocalPredictor):
    """A predictor that notes every candidate and its loss."""

    def __init__(self, model: Tiny, lab: Means, replay: Replay) -> None:
        super().__init__(model, lab)  # type: ignore[arg-type]
        self.replay = replay

    def prepare(self, prompts: Sequence[Prompt], classes: tuple[str, ...], template: str) -> Answers:
        answers = super().prepare(prompts, classes, template)

        def answer(sample: Sample) -> Tensor:
            logits = answers(sample)
            self.replay.losses += self.replay.loss(logits.detach(), sample.labels).tolist()
            self.replay.asked += [prompt.state for prompt in prompts if prompt.state is not None]
            return logits

        return answer


def near(found: Any, expected: Any, rtol: float = 1e-9) -> None:
    found = torch.stack(found) if isinstance(found, list) and isinstance(found[0], Tensor) else found
    torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(expected), rtol=rtol, atol=rtol)


def two_sided(losses: Tensor) -> Tensor:
    """[steps, 2 directions] in their order (plus, minus, plus, ...) -> all plus, then all minus."""
    return losses.view(len(losses), -1, 2).transpose(1, 2).flatten(1)


def feed(monkeypatch: pytest.MonkeyPatch, target: str, values: Any) -> None:
    """`target` returns these values, one per call. The run ends when it asks for one more."""
    left = list(values)

    def draw(*args: Any, **kwargs: Any) -> Any:
        if not left:
            raise BudgetSpent
        return left.pop(0)

    monkeypatch.setattr(target, draw)


def test_zip_takes_the_authors_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Recorded("zip")
    steps, directions, _ = run.z.shape
    m, d, q, r = 4, 6, 5, 2
    replay = Replay("zip", run, {"m": m, "intrinsic": m * q, "rank": r, "directions": directions}, 6 * 4)
    with monkeypatch.context() as draws:  # the numbers that their Fastfood drew, in our transform
        feed(draws, "torch.randint", [(signs + 1) // 2 for signs in run.signs])
        feed(draws, "torch.randperm", run.permutation)
        feed(draws, "torch.randn", run.gauss)
        replay.method.M = torch.stack([replay.method.fastfood(d) for _ in range(m)])
    replay.method.theta0 = run.theta0

    def ours(states: Tensor) -> Tensor:
        """From their order [m, r], s, [q, r], u to our order [q, r], s, [m, r], u."""
        tokens, s, inner, u = states.split([m * r, r, q * r, q], dim=-1)
        return torch.cat([inner, s, tokens, u], dim=-1)

    feed(monkeypatch, "bench.optim.segmented_uniform", ours(run.z))
    replay.play(ours(run.start))
    near(torch.tensor(replay.losses).view(steps, -1), two_sided(run.losses))
    near(replay.states, ours(run.iterates))
    near(replay.method.context(torch.stack(replay.states)), run.contexts)


def test_blackvip_takes_the_authors_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Recorded("blackvip")
    steps, directions, n = run.z.shape
    params = {"encoder": "tiny", "grid": 2, "cube": 4, "channels": (8,), "directions": directions}
    replay = Replay("blackvip", run, params, 3 * 4, image_size=8)
    assert replay.method.n_params == n
    feed(monkeypatch, "bench.optim.segmented_uniform", run.z)
    replay.play(torch.cat([run.start, torch.zeros(8), torch.ones(8)]))
    near(torch.tensor(replay.losses).view(steps, -1), two_sided(run.losses), 1e-7)
    near(replay.states, torch.cat([run.iterates, run.statistics], dim=1), 1e-7)
    loader = replay.trial.loader
    everything = loader.give(loader.train, torch.arange(len(run.labels)))
    near(replay.trial.deployed.pixels(everything)[0], run.sent, 1e-7)


def test_blackvips_decoder_starts_with_the_same_random_weights_as_the_authors() -> None:
    run = Recorded("blackvip_decoder")
    backbone, lab = ToyBackbone(224, 512, 768), ToyLab(encoder_width=768)
    trial = trial_of(backbone, toy_cell(), load_method("blackvip").access, lab)
    method: Any = load_method("blackvip")(trial.box, make_params("blackvip", {}), SEED)
    weights = 0.3 * torch.sin(torch.arange(9920.0))
    features = torch.cos(torch.arange(3 * 768.0)).view(3, 768)
    drawn, seen = method.decode(weights[None], features)
    picked = [i * 9973 % drawn.numel() for i in range(60)]
    near(drawn.flatten()[picked], run.training)
    untouched = torch.cat([torch.full((c,), float(i % 2)) for i, c in enumerate(method.stats)])
    near(0.9 * untouched + 0.1 * seen[0], run.statistics)
    near(method.decode(weights[None], features, run.statistics)[0].flatten()[picked], run.deployed)


def test_bar_takes_the_authors_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Recorded("bar")
    steps, directions, _ = run.u.shape
    replay = Replay("bar", run, {"inner": 4, "directions": directions}, 4 * 3, image_size=6)
    live = run.live.bool()
    feed(monkeypatch, "torch.randn", torch.cat([run.u[..., live], run.u[..., ~live]], dim=-1))
    replay.play(run.start[live])
    near(torch.tensor(replay.losses).view(steps, -1), run.losses)
    near(replay.states, run.iterates[:, live])
    first = replay.method.prompt(run.start[live]).pixels(replay.batches[0])
    near(first[0], run.sent)


def test_bptvlm_as_in_zips_repository_takes_its_steps() -> None:
    run = Recorded("bptvlm")
    params = {"text_tokens": 2, "visual_tokens": 2, "text_dim": 4, "visual_dim": 2, "population": 4}
    replay = Replay("bptvlm", run, {**params, "fitness": "port"}, budget=27)
    replay.method.A_L, replay.method.A_V = run.A_L, run.A_V
    replay.play()
    near(replay.losses, run.losses)
    asked = torch.stack(replay.asked[:24]).view(3, 4, 2, 6)  # two batches per candidate
    near(asked[:, :, 0], run.candidates)
    near(torch.tensor(replay.losses[:24]).view(3, 4, 2).mean(2), run.fitness)
    near(replay.trial.deployed.context, run.best_text)
    near(replay.trial.deployed.tokens, run.best_image)


def test_bptvlm_takes_its_own_authors_steps_too() -> None:
    run = Recorded("bptvlm_plain")
    params = {"text_tokens": 2, "visual_tokens": 2, "text_dim": 4, "visual_dim": 2, "population": 4}
    replay = Replay("bptvlm", run, params, budget=3 * 4 * 3)
    replay.method.A_L, replay.method.A_V = run.A_L, run.A_V
    replay.play()
    near(replay.passes, run.fitness)
    near(torch.stack(replay.asked).view(3, 3, 4, 6)[:, 0], run.candidates)
    best = [replay.method.prompt(state) for state in replay.states]
    near([prompt.context for prompt in best], run.best_text)
    near([prompt.tokens for prompt in best], run.best_image)


def test_craft_takes_the_authors_steps() -> None:
    run = Recorded("craft")
    params = {"intrinsic": 6, "population": 5, "sigma": 0.5, "evaluations": 15, "warm": 0.5}
    replay = Replay("craft", run, params, budget=3 * (5 * 3 + 3))
    replay.method.A = run.A
    stream = iter(replay.batches)
    replay.trial.loader.stream = lambda *args: stream
    replay.play(torch.cat([torch.zeros(6), run.network]))
    near(replay.passes, run.fitness)
    z, weights = torch.stack(replay.states).split([6, len(run.network)], dim=1)
    near((z @ run.A.T).view_as(run.shifts), run.shifts)
    near([replay.method.refine(run.probe, one) for one in weights], run.refined)
    candidates = torch.stack([state for state in replay.asked if len(state) == 6])
    near(
        torch.cat([candidates[18 * g : 18 * g + 5] for g in range(3)]).view_as(run.candidates), run.candidates
    )


def test_coop_takes_the_authors_steps() -> None:
    run = Recorded("coop")
    replay = Replay("coop", run, {"m": 4, "epochs": 50}, budget=6)
    replay.play(run.start.flatten())
    near(replay.losses, run.losses)
    near(replay.states, run.iterates.flatten(1))
    near([replay.method.rate(epoch) for epoch in (0, 0, 1, 1, 2, 2)], run.rates)


def test_cbbt_takes_the_authors_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three epochs of the authors' 150, with gradients that are clipped and others that are not."""
    run = Recorded("cbbt")
    steps, directions, _ = run.u.shape
    assert run.norms.min() < 5 < run.norms.max()
    replay = Replay("cbbt", run, {"q": directions}, budget=150 * 2 * (1 + directions))
    feed(monkeypatch, "torch.randn", run.u)
    replay.play()
    near(torch.tensor(replay.losses).view(steps, -1), run.losses)
    near(replay.states, run.iterates)
    near([replay.method.rate(k) for k in range(steps)], run.rates)


def test_cmaes_adapts_its_step_like_the_release_that_the_papers_used() -> None:
    """In 320 dimensions, because newer releases of the library have another rule there.

    The tolerance is 1e-6, because their constant for the mean length of a Gaussian vector has more digits.
    """
    run = Recorded("cma")
    es = CMAES(torch.zeros(320), SEED, sigma=1.0, population=15, bounds=(-5, 5))
    target = torch.cos(torch.arange(320.0))
    for _, *mean, lowest in run.generations.tolist():
        losses = (es.ask() - target).square().sum(1)
        near(losses.min(), lowest, 1e-6)
        es.tell(losses)
        near(es.x[:4], mean, 1e-6)


def test_every_file_names_its_source() -> None:
    for path in AUTHORS.glob("*.json"):
        raw = json.loads(path.read_text())
        assert raw["repository"].startswith("https://github.com/") and raw["commit"] and raw["what"]
