"""The scorer: test accuracies of a prompt, off the meter and out of every method's reach."""

from collections.abc import Iterable, Mapping

import torch

from bench.loader import KEPT, Loader
from bench.predictor import Predictor
from bench.prompt import Batch, Prompt
from bench.protocols import TestSet


class Scorer:
    """Scores prompts on a task's test sets. classes: those that a method tunes on, and its head fits."""

    def __init__(
        self, predictor: Predictor, loader: Loader, tests: Mapping[str, TestSet], classes: tuple[str, ...]
    ) -> None:
        self.predictor, self.loader, self.tests, self.classes = predictor, loader, tests, classes
        self._batches: dict[str, list[Batch]] = {}

    @property
    def n_test(self) -> dict[str, int]:
        """Number of images in each test set."""
        return {name: len(test.images) for name, test in self.tests.items()}

    def score(self, prompt: Prompt) -> dict[str, float]:
        """% correct on each test set. Raises FloatingPointError for a prompt that diverged."""
        return {name: self._accuracy(name, test, prompt) for name, test in self.tests.items()}

    @torch.no_grad()
    def _accuracy(self, name: str, test: TestSet, prompt: Prompt) -> float:
        """The text is encoded once; a logits head only fits its own classes."""
        answers = self.predictor.prepare([prompt], test.classes, test.template)
        correct = 0
        for batch in self._of(name, test):
            sample = self.loader.behind(batch)
            logits = answers(sample)[0]
            if prompt.head is not None and test.classes == self.classes:
                logits = prompt.head(logits)
            if not logits.isfinite().all():
                raise FloatingPointError("the reported prompt's logits are not finite: it diverged")
            labels = test.images.labels[sample.index].to(logits.device)
            correct += int((logits.argmax(1) == labels).sum())
        return round(100 * correct / len(test.images), 4)

    def _of(self, name: str, test: TestSet) -> Iterable[Batch]:
        """The batches of a test set; a small one's are kept, with what is derived from them."""
        fresh = self.loader.unlabelled(test.images)
        if len(test.images) > KEPT:
            return fresh
        return self._batches.setdefault(name, list(fresh))
