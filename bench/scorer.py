"""The scorer: the test accuracies of a prompt. It costs no query, and no method can reach it."""

from collections.abc import Callable, Iterable, Mapping

import torch

from bench.deploy import deployed
from bench.door import inside
from bench.loader import KEPT, Loader, Sample
from bench.outcome import outcome
from bench.predictor import Predictor
from bench.prompt import Prompt
from bench.protocols import TestSet
from bench.record import Outcome


class Scorer:
    """Scores prompts on a task's test sets.

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
    ) -> None:
        self.predictor, self.loader, self.tests, self.classes = predictor, loader, tests, classes
        self.probable, self.beat = probable, beat
        self._samples: dict[str, list[Sample]] = {}
        self.busy = False

    @property
    def n_test(self) -> dict[str, int]:
        """Number of images in each test set."""
        return {name: len(test.images) for name, test in self.tests.items()}

    def score(self, prompt: Prompt) -> dict[str, Outcome]:
        """The outcome of a prompt on each test set. Raises FloatingPointError for a prompt that diverged."""
        self.busy = True
        try:
            with inside(self.predictor.device):
                return {name: self._outcome(name, test, prompt) for name, test in self.tests.items()}
        finally:
            self.busy = False

    def _outcome(self, name: str, test: TestSet, prompt: Prompt) -> Outcome:
        answer = deployed(prompt, self.predictor, test.classes, test.template, self.classes)
        answers = []
        for sample in self._of(name, test):
            # A new batch each time, so that no change of an earlier batch remains. The name keeps it alive.
            _batch = self.loader.give_out(sample)
            answers.append(answer(sample).cpu())
            self.beat()
        whole = torch.cat(answers)
        if not whole.isfinite().all():
            raise FloatingPointError("the reported prompt's logits are not finite: it diverged")
        return outcome(whole, test.images.labels, self.probable)

    def _of(self, name: str, test: TestSet) -> Iterable[Sample]:
        """The samples of a test set. Those of a small set are kept, with their features."""
        if len(test.images) > KEPT:
            return self.loader.unlabelled(test.images)
        if name not in self._samples:
            self._samples[name] = list(self.loader.unlabelled(test.images))
        return self._samples[name]
