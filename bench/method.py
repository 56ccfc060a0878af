"""The base class of a method. A method is one class in one file of methods/."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from inspect import getattr_static
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from bench import exact
from bench.access import LEAST_ANSWER, WHITE_BOX, needed
from bench.blackbox import BlackBox
from bench.chat import Chat
from bench.prompt import Prompt

HAND = "hand"  # stands for the words of the hand template: see Method.opening


@dataclass(frozen=True)
class NoParams:
    """The Params of a method without parameters."""


class Method(ABC):
    """A tuning algorithm.

    A subclass sets these class attributes:

    - title: the row in the papers' tables; paper: the source;
    - access: what its prompts use (see bench.access.ACCESS);
    - Params: a frozen dataclass whose defaults are the paper's values. A count cannot be below 1, and a
      number whose default is not negative cannot be negative. A field can name another limit:
      metadata={"least": 0};
    - schedule: "budget" if a step depends on the whole budget (e.g. a decay that ends with it), else "free".
      With "budget", a run of 500 queries is not the beginning of a run of 5,000, and the reports mark results
      that they read from a longer run;
    - difference_bits: the significant bits of the image tower's arithmetic without which the differences
      between its candidates are lost in rounding. 24 is float32, 11 is float16. It is read for methods that
      send pixels or visual tokens, with `--precision fp16-pixels`;
    - least_answer: the least kind of answer that it can work with, one of bench.answered.KINDS. It is "top"
      (some probabilities) for a method that follows a loss, and "label" for a method that can compare
      candidates by the predicted class alone.

    A method is built once per cell. `setup` draws what is fixed for the run, `start` gives the first state,
    and `tune` runs until the budget ends it.

    self.box: the black box. self.params: the parameters in force. self.rng: the cell's own random stream, on
    the CPU. self.seed: the seed of this stream, for generators of another kind. self.x0: the first state.
    self.chat: the language model, for a method with the access "language model"; params.model names it.
    """

    title: ClassVar[str]
    paper: ClassVar[str] = ""
    access: ClassVar[tuple[str, ...]]
    Params: ClassVar[type] = NoParams
    schedule: ClassVar[Literal["free", "budget"]] = "free"
    least_answer: ClassVar[str] = LEAST_ANSWER
    difference_bits: ClassVar[int] = 24

    chat: Chat

    def __init__(self, box: BlackBox, params: Any, seed: int, chat: Chat | None = None) -> None:
        self.box, self.params, self.seed = box, params, seed
        if chat is not None:
            self.chat = chat
        self.rng = torch.Generator().manual_seed(seed)
        self.setup()
        start = self.start()
        self.x0 = None if start is None else exact.stored(start)

    def setup(self) -> None:  # noqa: B027  (nothing to set up is a fine setup)
        """Draw what stays fixed, e.g. projections. Called once, before anything else. Costs no query."""

    @property
    @abstractmethod
    def n_params(self) -> int:
        """The number of tuned parameters (delta), counted as in the papers."""

    @abstractmethod
    def start(self) -> Tensor | None:
        """The untuned state, flat, for `prompt`; None if nothing is tuned. It is called once.

        A state is float64 but holds float32 numbers, because a record stores these (see bench/exact.py).
        """

    @abstractmethod
    def prompt(self, state: Tensor | None) -> Prompt:
        """The prompt of a state. It carries the state, so that a record can rebuild the prompt."""

    @abstractmethod
    def tune(self) -> None:
        """Spend the budget: ask `self.box` for logits, and report prompts.

        It may return before the budget is spent. It may also be an endless loop: BudgetSpent ends it.
        """

    @classmethod
    def tunes(cls) -> bool:
        """False for a method with nothing to tune, whose class sets `n_params = 0`. It asks no query."""
        return bool(getattr_static(cls, "n_params") != 0)

    @classmethod
    def needs(cls, params: Any) -> str:
        """The least kind of answer that the method needs with these parameters, by default `least_answer`.

        A method that reads features or gradients needs "logits".
        """
        return needed(cls.access, cls.least_answer)

    @classmethod
    def follows(cls, params: Any) -> Literal["loss", "error"]:
        """What its steps make smaller on the train set; `bench check` looks there whether it learns."""
        return "loss"

    @property
    def white_box(self) -> bool:
        """Whether the method sees gradients. Its row is a reference, which is never ranked."""
        return WHITE_BOX in self.access

    def opening(self, words: str) -> Tensor:
        """[m, d] token embeddings of `words`, as the start of a context.

        HAND stands for the words of the hand template before the class name or, if there are none, for the
        words after it. The untuned accuracy is then close to the hand template's. It is equal if the template
        has no words after the class name.
        """
        if words == HAND:
            ahead, _, behind = self.box.template.partition("{}")
            words = ahead.strip() or behind.strip(" .,")
        return self.box.embed_words(words)

    def normal(self, *shape: int, std: float = 1.0) -> Tensor:
        """Gaussian numbers from the method's own stream, float64, on the box's device."""
        return exact.stored(std * exact.normal(*shape, rng=self.rng)).to(self.box.device)
