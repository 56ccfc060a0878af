"""The scorer: test accuracies of a prompt, off the meter and out of every method's reach."""

from collections.abc import Iterable, Mapping

from bench.door import inside
from bench.loader import KEPT, Loader, Sample
from bench.predictor import Predictor
from bench.prompt import Prompt
from bench.protocols import TestSet


class Scorer:
    """Scores prompts on a task's test sets. classes: those that a method tunes on, and its head fits.

    busy: a prompt is being scored; its functions, which are the method's, run meanwhile.
    """

    def __init__(
        self, predictor: Predictor, loader: Loader, tests: Mapping[str, TestSet], classes: tuple[str, ...]
    ) -> None:
        self.predictor, self.loader, self.tests, self.classes = predictor, loader, tests, classes
        self._samples: dict[str, list[Sample]] = {}
        self.busy = False

    @property
    def n_test(self) -> dict[str, int]:
        """Number of images in each test set."""
        return {name: len(test.images) for name, test in self.tests.items()}

    def score(self, prompt: Prompt) -> dict[str, float]:
        """% correct on each test set. Raises FloatingPointError for a prompt that diverged."""
        self.busy = True
        try:
            with inside(self.predictor.device):
                return {name: self._accuracy(name, test, prompt) for name, test in self.tests.items()}
        finally:
            self.busy = False

    def _accuracy(self, name: str, test: TestSet, prompt: Prompt) -> float:
        """The text is encoded once; a logits head only fits its own classes."""
        answers = self.predictor.prepare([prompt], test.classes, test.template)
        correct = 0
        for sample in self._of(name, test):
            _batch = self.loader.give_out(sample)  # a new one each time: what was done to the last is gone
            logits = answers(sample)[0]
            if prompt.head is not None and test.classes == self.classes:
                logits = prompt.head(logits)
            if not logits.isfinite().all():
                raise FloatingPointError("the reported prompt's logits are not finite: it diverged")
            labels = test.images.labels[sample.index].to(logits.device)
            correct += int((logits.argmax(1) == labels).sum())
        return round(100 * correct / len(test.images), 4)

    def _of(self, name: str, test: TestSet) -> Iterable[Sample]:
        """What stands behind a test set's batches; a small set's is kept, with what is derived from it."""
        if len(test.images) > KEPT:
            return self.loader.unlabelled(test.images)
        if name not in self._samples:
            self._samples[name] = list(self.loader.unlabelled(test.images))
        return self._samples[name]
