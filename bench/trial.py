"""One run of a cell, as the harness sees it: meter, predictor, scorer and trace, and the wall before them."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NoReturn

import torch
from torch import Tensor

from bench import exact
from bench.access import ACCESS, FEATURES, WHITE_BOX
from bench.answered import parse
from bench.blackbox import AccessDenied, BlackBox, Loss, Spec, cross_entropy
from bench.cell import Cell
from bench.coarse import cut
from bench.door import Door, inside
from bench.loader import Loader
from bench.meter import Meter
from bench.outcome import accuracy
from bench.precision import MOVED
from bench.predictor import Answers, Predictor, image_features
from bench.prompt import Batch, Prompt, Scale
from bench.protocols import Features, Task
from bench.pulse import Pulse
from bench.record import Outcome
from bench.scorer import Scorer
from bench.trace import Trace

PASS_BYTES = 2 << 30  # bytes of images and their trunks that are kept between passes over the train set
# The access with which the images of a test set are encoded anew for every prompt.
MOVING = MOVED | {ACCESS["local"]}
UNREAD = 64  # calls to a GPU whose losses are read together, so that not every call waits for the GPU
GPU_ROUNDING = 1e-2  # of a logit: a GPU may add in another order

Watch = Callable[[Predictor], Predictor]


class Trial:
    """The objects behind a black box. The method gets only `box`, and nothing in the box leads to them.

    watch: wraps the predictor that the method's calls use, e.g. with a second counter. The scorer uses the
    predictor without it. rough: see Scorer. pulse: gets a sign of life for whatever the method asks or
    reports.
    """

    def __init__(
        self,
        cell: Cell,
        task: Task,
        predictor: Predictor,
        features: Features,
        access: Sequence[str],
        watch: Watch = lambda predictor: predictor,
        pulse: Pulse | None = None,
        rough: Predictor | None = None,
    ) -> None:
        self.pulse = pulse or Pulse()
        self.classes, self.template, self.access = task.classes, task.template, frozenset(access)
        self.meter = Meter(cell.budget)
        self.trace = Trace(cell.budget, few=bool(cell.endpoint))
        level = parse(cell.answers)
        self.predictor = watch(cut(predictor, level))
        self.features = features
        self.loader = Loader(task.train, cell, predictor.device, predictor.dtype)
        # The scorer has its own loader, so that a method cannot send the batches that are scored.
        own = Loader(task.train, cell, predictor.device, predictor.dtype)
        probable, beat = level.grants("probs"), self.pulse.beat
        rough = None if rough is None else cut(rough, level)
        self.scorer = Scorer(cut(predictor, level), own, task.tests, task.classes, probable, beat, rough)
        self.deployed: Prompt | None = None
        self.outcomes: dict[str, Outcome] = {}  # of the prompt that was scored last
        self._scored: Prompt | None = None
        self._waiting: list[Waiting] = []
        self._losses: list[tuple[Tensor, int, int]] = []  # mean loss, candidates, queries spent: not yet read
        self._read_at = 1 if predictor.device == "cpu" else UNREAD
        # Decoding a large test set takes as long as the model does. An endpoint decodes nothing here.
        gathers = self.scorer.large or rough is not None
        self._gathers = bool(MOVING & self.access) and gathers and not cell.endpoint
        self.spec = Spec(
            **vars(predictor.model),
            shots=cell.shots,
            train_size=len(task.train),
            batch_size=cell.batch_size,
            budget=cell.budget,
            answers=cell.answers,
        )
        self.door = Door(self.access, self.spec)
        self._gradients = WHITE_BOX in self.access
        self._thread = threading.get_ident()
        self.box = wall(self)

    def asked(self) -> "Trial":
        """This trial, for a call by the method.

        Raises AccessDenied while a prompt is scored, and in other threads.
        """
        if threading.get_ident() != self._thread:
            raise AccessDenied(
                "the box answers only in the thread in which the method was started: ask it there"
            )
        if self.scorer.busy:
            raise AccessDenied("while a prompt is scored, its functions may ask the box only for `encode`")
        return self

    # Queries

    def logits(self, batch: Batch, prompts: Sequence[Prompt]) -> Tensor:
        """See BlackBox.logits."""
        sent = self.door.queries(prompts)
        self.loader.behind(batch)
        self._charge(len(sent), batch)
        return self._ask(self._prepare(sent), batch, len(sent))

    def pass_loss(
        self, prompts: Sequence[Prompt], loss: Loss, batches: Sequence[Batch] | None = None
    ) -> Tensor:
        """See BlackBox.pass_loss. The text is encoded once for the whole pass."""
        sent = self.door.queries(prompts)
        whole, k = self.loader.train_pass if batches is None else tuple(batches), len(sent)
        self.meter.require(k * len(whole))
        answers = self._prepare(sent)
        total = torch.zeros(k, dtype=torch.float64, device=self.predictor.device)
        for batch in whole:
            self._charge(k, batch)
            total += len(batch) * loss(self._ask(answers, batch, k), batch.labels)
            self.loader.behind(batch).trim(PASS_BYTES // len(whole))
        return total / self.spec.train_size

    def _prepare(self, prompts: Sequence[Prompt]) -> Answers:
        with inside(self.predictor.device, self._gradients):
            return self.predictor.prepare(prompts, self.classes, self.template)

    def _charge(self, queries: int, batch: Batch) -> None:
        """Pay for the next call. The checkpoints before it are scored first."""
        self.meter.require(queries)
        while self.trace.due(self.meter.spent + queries):
            self._checkpoint()
        self.meter.charge(queries, len(self.loader.behind(batch)))
        self.pulse.beat(self.meter.spent)

    def _ask(self, answers: Answers, batch: Batch, candidates: int) -> Tensor:
        """The answer to a call that is paid for. Raises FloatingPointError if it is not finite.

        On a GPU that is found out some calls later.
        """
        sample = self.loader.behind(batch)
        with inside(self.predictor.device, self._gradients):
            logits = answers(sample)
            loss = cross_entropy(logits.detach(), sample.labels).mean()
        self._losses.append((loss, candidates, self.meter.spent))
        if len(self._losses) >= self._read_at:
            self._read_losses()
        return logits

    def _read_losses(self) -> None:
        """Note the losses of the last calls. Raises FloatingPointError for one that is not finite."""
        losses, self._losses = self._losses, []
        values = torch.stack([loss for loss, _, _ in losses]).tolist() if losses else []
        for value, (_, candidates, spent) in zip(values, losses, strict=True):
            if not isfinite(value):
                raise FloatingPointError(f"the logits are not finite at query {spent}: the prompt diverged")
            self.trace.note(value, candidates)

    def features_of(self, batch: Batch, prompt: Prompt) -> tuple[Tensor, Tensor]:
        """See BlackBox.features."""
        if FEATURES not in self.access:
            raise AccessDenied(f"the method asks for features: add {FEATURES!r} to its access")
        sent, sample = self.door.queries([prompt]), self.loader.behind(batch)
        self._charge(1, batch)
        with inside(self.predictor.device):
            image, text = self.predictor.encode(sent, self.classes, self.template)(sample)
            return exact.kept(image[0]).double(), exact.kept(text[0]).double()

    def encode(self, batch: Batch, encoder: str) -> Tensor:
        """See BlackBox.encode. While a prompt is scored, it takes only the batches that are scored."""
        loader = self.scorer.loader if self.scorer.busy else self.loader
        sample, model = loader.behind(batch), self.features.encoder(encoder)
        self.pulse.beat()
        with inside(self.predictor.device):
            return image_features(model, sample, encoder, self.features, self.predictor.device).clone()

    def embed_words(self, words: str) -> Tensor:
        """See BlackBox.embed_words."""
        with inside(self.predictor.device):
            return self.predictor.embed_words(words).clone()

    # The deployed prompt

    def report(self, prompt: Prompt) -> None:
        """See BlackBox.report."""
        self.deployed = self.door.deployed(prompt)
        self.pulse.beat()

    def finish(self) -> None:
        """Close the box, and score the deployed prompt at the checkpoints that are left, up to the budget."""
        self.meter.close()
        while self.trace.due():
            self._checkpoint()
        self._score_waiting()

    def _checkpoint(self) -> None:
        assert self.deployed is not None, "the harness reports the untuned prompt before the method runs"
        self._read_losses()
        place = self.trace.mark(self.meter)
        if self._gathers:
            self._gather(self.deployed, place)
            return
        if self._scored is not self.deployed:
            self._scored, self.outcomes = self.deployed, self.scorer.score(self.deployed)
        self._fill([place])

    def _gather(self, prompt: Prompt, place: int) -> None:
        """Let a prompt wait until all can be scored in one pass over the test images."""
        if not self._waiting or self._waiting[-1].prompt is not prompt:
            self._waiting.append(Waiting(prompt, self.scorer.glimpse(prompt), []))
        self._waiting[-1].places.append(place)

    def _score_waiting(self) -> None:
        """Score the prompts that wait. Raises RuntimeError if one answers otherwise than when it was marked.

        A prompt's functions may read what the method has changed since, such as an attribute of the method.
        Then its score would not be that of the prompt of its checkpoint.
        """
        if not self._waiting:
            return
        rounding = 0.0 if self.predictor.device == "cpu" else GPU_ROUNDING
        for one in self._waiting:
            if not torch.allclose(one.glimpse, self.scorer.glimpse(one.prompt), rtol=0, atol=rounding):
                raise RuntimeError(
                    f"the prompt of checkpoint {self.trace.points[one.places[0]].queries} answers otherwise "
                    "at the end of the run: its function reads something that has changed since, e.g. an "
                    "attribute of self. Assign that to a local variable before the function is defined"
                )
        scored = self.scorer.score_all([one.prompt for one in self._waiting])
        for one, outcomes in zip(self._waiting, scored, strict=True):
            self.outcomes = outcomes
            self._fill(one.places)
        self._waiting.clear()

    def _fill(self, places: Sequence[int]) -> None:
        for place in places:
            self.trace.fill(place, {name: accuracy(found) for name, found in self.outcomes.items()})


@dataclass(frozen=True, eq=False)
class Waiting:
    """A prompt that is not scored yet. glimpse: see Scorer. places: its points of the trace."""

    prompt: Prompt
    glimpse: Tensor
    places: list[int]


class _Sealed(type):
    """The type of the class Wall, whose methods cannot be replaced."""

    def __setattr__(cls, name: str, value: object) -> NoReturn:
        raise AccessDenied(f"the black box is sealed: {name} cannot be set")

    def __delattr__(cls, name: str) -> NoReturn:
        raise AccessDenied(f"the black box is sealed: {name} cannot be removed")


def wall(trial: Trial) -> BlackBox:
    """The box of a trial, with the public names only. It reaches the trial by closures and has no attributes.

    It follows COCO's problems: these count evaluations for their observers, and a solver sees the function.
    """

    class Wall(metaclass=_Sealed):
        __slots__ = ()

        classes = property(lambda self: trial.classes)
        template = property(lambda self: trial.template)
        spec = property(lambda self: trial.spec)
        device = property(lambda self: trial.predictor.device)
        budget = property(lambda self: trial.meter.budget)
        spent = property(lambda self: trial.meter.spent)
        image_queries = property(lambda self: trial.meter.image_queries)
        remaining = property(lambda self: trial.meter.remaining)

        def embed_words(self, words: str) -> Tensor:
            return trial.embed_words(words)

        def encoder_width(self, encoder: str) -> int:
            return trial.features.encoder(encoder).embed_dim

        def encode(self, batch: Batch, encoder: str) -> Tensor:
            return trial.encode(batch, encoder)

        def batches(
            self, size: int | None = None, keep_last: bool = False, crop_scale: Scale | None = None
        ) -> Iterator[Batch]:
            return _endless(trial, trial.asked().loader.stream(size, keep_last, crop_scale))

        def train_pass(self) -> list[Batch]:
            return list(trial.asked().loader.train_pass)

        def frozen_pass(self, crop_scale: Scale | None = None) -> list[Batch]:
            return trial.asked().loader.frozen_pass(crop_scale)

        def features(self, batch: Batch, prompt: Prompt | None = None) -> tuple[Tensor, Tensor]:
            return trial.features_of(batch, prompt or Prompt())

        def require(self, queries: int) -> None:
            trial.asked().meter.require(queries)

        def logits(self, batch: Batch, prompts: Sequence[Prompt]) -> Tensor:
            return trial.asked().logits(batch, prompts)

        def pass_loss(
            self,
            prompts: Sequence[Prompt],
            loss: Loss = cross_entropy,
            batches: Sequence[Batch] | None = None,
        ) -> Tensor:
            return trial.asked().pass_loss(prompts, loss, batches)

        def report(self, prompt: Prompt) -> None:
            trial.asked().report(prompt)

        def __setattr__(self, name: str, value: object) -> NoReturn:
            raise AccessDenied(f"the black box is read-only: {name} cannot be set")

        def __reduce_ex__(self, protocol: Any) -> NoReturn:
            raise AccessDenied("the black box cannot be copied or stored")

    return Wall()


def _endless(trial: Trial, stream: Iterator[Batch]) -> Iterator[Batch]:
    """A stream of batches. Unlike a generator, it has no attribute that leads to the loader."""

    class Stream(metaclass=_Sealed):
        __slots__ = ()

        def __iter__(self) -> Iterator[Batch]:
            return self

        def __next__(self) -> Batch:
            trial.asked()
            return next(stream)

    return Stream()
