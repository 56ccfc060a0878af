"""The scorer: the test accuracies of prompts. It costs no query, and no method can reach it."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import pairwise

import torch
from torch import Tensor

from bench.deploy import deployed
from bench.door import inside
from bench.loader import KEPT, Loader, Sample
from bench.outcome import Judged, joined, judge, outcome
from bench.predictor import Predictor
from bench.prompt import Prompt
from bench.protocols import TestSet
from bench.record import Outcome

GLIMPSE = 32  # images on which a prompt is looked at before it is scored


class Scorer:
    """Scores prompts on a task's test sets.

    rough: answers in shorter arithmetic, for the prompts of earlier checkpoints; None: these are scored like
    the last one. flipped: the share of the last prompt's predictions that `rough` changes, in %.
    classes: those on which a method tunes, which its head fits. probable: whether answers are probabilities.
    beat: called after every part of a test set, as a sign of life. busy: whether a prompt is being scored.
    While it is, functions of the method run.
    """

    def __init__(
        self,
        predictor: Predictor,
        loader: Loader,
        tests: Mapping[str, TestSet],
        classes: tuple[str, ...],
        probable: bool = True,
        beat: Callable[[], None] = lambda: None,
        rough: Predictor | None = None,
    ) -> None:
        self.predictor, self.loader, self.tests, self.classes = predictor, loader, tests, classes
        self.probable, self.beat, self.rough = probable, beat, rough
        self.flipped: float | None = None
        self._samples: dict[str, list[Sample]] = {}
        self._first: Sample | None = None
        self.busy = False

    @property
    def n_test(self) -> dict[str, int]:
        """Number of images in each test set."""
        return {name: len(test.images) for name, test in self.tests.items()}

    @property
    def large(self) -> bool:
        """Whether the images of a test set are decoded anew in every pass."""
        return any(len(test.images) > KEPT for test in self.tests.values())

    def score(self, prompt: Prompt) -> dict[str, Outcome]:
        """The outcome of a prompt on each test set. Raises FloatingPointError for a prompt that diverged."""
        return self.score_all([prompt])[0]

    def score_all(self, prompts: Sequence[Prompt]) -> list[dict[str, Outcome]]:
        """The same for several prompts, in one pass over the images: each image is decoded once.

        With `rough`, it answers for all prompts but the last. It also answers for the last one, to count what
        it changes.
        """
        *earlier, last = prompts
        asked = [(self.rough or self.predictor, prompt) for prompt in earlier] + [(self.predictor, last)]
        if self.rough is not None:
            asked.append((self.rough, last))
        with self._scoring():
            found = {name: self._judged(name, test, asked) for name, test in self.tests.items()}
        if self.rough is not None:
            changed = torch.cat([full.said != rough.said for *_, full, rough in found.values()])
            self.flipped = round(100 * float(changed.double().mean()), 4)
        return [
            {name: self._outcome(test, found[name][i]) for name, test in self.tests.items()}
            for i in range(len(prompts))
        ]

    def glimpse(self, prompt: Prompt) -> Tensor:
        """[b, C] what a prompt answers on the first images of the first test set.

        Raises FloatingPointError for a prompt that diverged.
        """
        with self._scoring():
            test = next(iter(self.tests.values()))
            first = torch.arange(min(GLIMPSE, len(test.images)))
            self._first = self._first or self.loader.plain(test.images, first)
            _batch = self.loader.give_out(self._first)
            answers = self._answer(self.predictor, test, prompt)(self._first).cpu()
            judge(answers, test.images.labels[first])
            return answers

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        self.busy = True
        try:
            with inside(self.predictor.device):
                yield
        finally:
            self.busy = False

    def _answer(self, predictor: Predictor, test: TestSet, prompt: Prompt) -> Callable[[Sample], Tensor]:
        return deployed(prompt, predictor, test.classes, test.template, self.classes)

    def _outcome(self, test: TestSet, found: Judged) -> Outcome:
        return outcome(found, test.images.labels, len(test.classes), self.probable)

    def _judged(self, name: str, test: TestSet, asked: Sequence[tuple[Predictor, Prompt]]) -> list[Judged]:
        """The answers of each prompt on all images of a test set, judged."""
        answers, labels = [self._answer(by, test, prompt) for by, prompt in asked], test.images.labels
        judged: list[list[Judged]] = [[] for _ in asked]
        with closing(self._of(name, test)) as samples:
            for sample in samples:
                for answer, found in zip(answers, judged, strict=True):
                    # A new batch each time, so that no change of an earlier batch remains. The name keeps it
                    # alive.
                    _batch = self.loader.give_out(sample)
                    found.append(judge(answer(sample).cpu(), labels[sample.index]))
                    self.beat()
        return [joined(parts) for parts in judged]

    def _of(self, name: str, test: TestSet) -> Generator[Sample, None, None]:
        """The samples of a test set. Those of a small set are kept, with their features."""
        if len(test.images) > KEPT:
            samples = self.loader.unlabelled(test.images)
            # On a processor nothing is gained: decoding and the model share its cores.
            yield from samples if self.predictor.device == "cpu" else ahead(samples)
            return
        if name not in self._samples:
            self._samples[name] = list(self.loader.unlabelled(test.images))
        yield from self._samples[name]


def ahead(samples: Iterable[Sample]) -> Iterator[Sample]:
    """The samples. While one is in use, a thread loads the next one, in the sizes of the one before."""
    sizes: tuple[int | None, ...] = ()
    with ThreadPoolExecutor(1) as thread:
        loading: list[Future[Tensor]] = []
        for sample, following in pairwise((*samples, None)):
            assert sample is not None
            _ = [one.result() for one in loading]  # raises what reading raised
            loading = [thread.submit(following.load, size) for size in sizes] if following else []
            yield sample
            sizes = sample.sizes
            sample.trim(0)
