"""The scorer: test accuracies of a prompt, off the meter and out of every method's reach."""

from collections.abc import Iterable, Mapping

import torch

from bench.deploy import deployed
from bench.loader import KEPT, Loader
from bench.outcome import outcome
from bench.predictor import Predictor
from bench.prompt import Batch, Prompt
from bench.protocols import TestSet
from bench.record import Outcome


class Scorer:
    """Scores prompts on a task's test sets.

    classes: those that a method tunes on, and its head fits. probable: whether answers are probabilities.
    """

    def __init__(
        self,
        predictor: Predictor,
        loader: Loader,
        tests: Mapping[str, TestSet],
        classes: tuple[str, ...],
        probable: bool = True,
    ) -> None:
        self.predictor, self.loader, self.tests, self.classes = predictor, loader, tests, classes
        self.probable = probable
        self._batches: dict[str, list[Batch]] = {}

    @property
    def n_test(self) -> dict[str, int]:
        """Number of images in each test set."""
        return {name: len(test.images) for name, test in self.tests.items()}

    def score(self, prompt: Prompt) -> dict[str, Outcome]:
        """What it answers on each test set. Raises FloatingPointError for a prompt that diverged."""
        return {name: self._outcome(name, test, prompt) for name, test in self.tests.items()}

    @torch.no_grad()
    def _outcome(self, name: str, test: TestSet, prompt: Prompt) -> Outcome:
        answer = deployed(prompt, self.predictor, test.classes, test.template, self.classes)
        batches = self._of(name, test)
        answers = torch.cat([answer(self.loader.behind(batch)).cpu() for batch in batches])
        if not answers.isfinite().all():
            raise FloatingPointError("the reported prompt's logits are not finite: it diverged")
        return outcome(answers, test.images.labels, self.probable)

    def _of(self, name: str, test: TestSet) -> Iterable[Batch]:
        """The batches of a test set; a small one's are kept, with what is derived from them."""
        fresh = self.loader.unlabelled(test.images)
        if len(test.images) > KEPT:
            return fresh
        return self._batches.setdefault(name, list(fresh))
