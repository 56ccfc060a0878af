"""What a method is: one class in one file of methods/."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from inspect import getattr_static
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from bench import exact
from bench.access import LEAST_ANSWER, WHITE_BOX, needed
from bench.blackbox import BlackBox
from bench.prompt import Prompt

HAND = "hand"  # as the words that a context starts from: see Method.opening


@dataclass(frozen=True)
class NoParams:
    """For methods with nothing to set."""


class Method(ABC):
    """A tuning algorithm.

    A subclass names its `title` (the papers' row), its `paper`, its `access` (see bench.access.ACCESS) and
    its `Params`, a frozen dataclass whose defaults are the paper's values. If a step depends on the whole
    budget (a decay that ends with it), its `schedule` is "budget": then a run of 500 queries is not the
    beginning of a run of 5,000, and the reports mark it where they read one from the other. Its
    `least_answer` is one of bench.answered.KINDS: "top", some probabilities, as whatever follows a loss needs
    them, or "label" where the predicted class alone tells candidates apart.

    It is built once per cell: `setup` draws what is fixed for the run, `start` the first state, and `tune`
    runs until the budget ends it.

    self.box: the black box. self.params: parameters in force. self.rng: the cell's own stream, on the CPU;
    self.seed: its seed, for generators of another kind. self.x0: what `start` gave.
    """

    title: ClassVar[str]
    paper: ClassVar[str] = ""
    access: ClassVar[tuple[str, ...]]
    Params: ClassVar[type] = NoParams
    schedule: ClassVar[Literal["free", "budget"]] = "free"
    least_answer: ClassVar[str] = LEAST_ANSWER

    def __init__(self, box: BlackBox, params: Any, seed: int) -> None:
        self.box, self.params, self.seed = box, params, seed
        self.rng = torch.Generator().manual_seed(seed)
        self.setup()
        start = self.start()
        self.x0 = None if start is None else exact.stored(start)

    def setup(self) -> None:  # noqa: B027  (nothing to set up is a fine setup)
        """Draw what stays fixed, e.g. projections. Called once, before anything else; spends nothing."""

    @property
    @abstractmethod
    def n_params(self) -> int:
        """Number of tuned parameters (delta), as the papers count it."""

    @abstractmethod
    def start(self) -> Tensor | None:
        """The untuned state: flat, as `prompt` takes it; None where nothing is tuned. Called once.

        A state is float64 and holds float32 numbers, which are what a record keeps (see bench/exact.py).
        """

    @abstractmethod
    def prompt(self, state: Tensor | None) -> Prompt:
        """The deployable prompt of a state. Carries the state, so that a record can rebuild it."""

    @abstractmethod
    def tune(self) -> None:
        """Spend the budget: ask `self.box` for logits, report prompts. May return early; may run for ever."""

    @classmethod
    def tunes(cls) -> bool:
        """False for a method with nothing to tune, whose file says `n_params = 0`: it asks no query."""
        return bool(getattr_static(cls, "n_params") != 0)

    @classmethod
    def needs(cls, params: Any) -> str:
        """The least that the box must answer with for these parameters: `least_answer`, as a rule.

        What reads features or gradients needs "logits".
        """
        return needed(cls.access, cls.least_answer)

    @property
    def white_box(self) -> bool:
        """True for reference rows that see gradients; these are never ranked."""
        return WHITE_BOX in self.access

    def opening(self, words: str) -> Tensor:
        """[m, d] token embeddings of `words`, a context to start from.

        HAND stands for the hand template's words ahead of the class name, or, where there are none, behind
        it. The curve then begins near the hand template's accuracy, and at it where nothing follows the name.
        """
        if words == HAND:
            ahead, _, behind = self.box.template.partition("{}")
            words = ahead.strip() or behind.strip(" .,")
        return self.box.embed_words(words)

    def normal(self, *shape: int, std: float = 1.0) -> Tensor:
        """Gaussian numbers of the method's own stream, float64, on the box's device."""
        return exact.stored(std * exact.normal(*shape, rng=self.rng)).to(self.box.device)
