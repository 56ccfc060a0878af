"""Edit search over the words of the template: no language model, no gradients, and labels alone are enough.

After GrIPS: Prasad, Hase, Zhou, Bansal. GrIPS: Gradient-free, Edit-based Instruction Search for Prompting
Large Language Models. EACL 2023, https://aclanthology.org/2023.eacl-main.277. GrIPS edits the phrases of an
instruction; here the words around the class name are edited, and new words come from a list.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor

from bench.blackbox import cross_entropy
from bench.method import Method
from bench.prompt import Prompt
from bench.templates import words

CLASS = "{}"  # where the class name stands
MARKS = (",", ";", ":", "!", "?")  # they stand close to the word before them
ATTEMPTS = 1000  # edits in a row that only give templates seen before: nothing new is left

Choice = TypeVar("Choice")
Words = tuple[str, ...]  # of a template, CLASS among them once; without the full stop


@dataclass(frozen=True)
class Params:
    """Ours: GrIPS has other edits and scores them on other tasks."""

    words: str = "clip"  # the list that new words come from: see bench/templates.py
    fitness: str = "accuracy"  # on the train set, for which labels are enough; or loss
    parents: int = 5  # the best of the pool, which are edited
    children: int = 4  # templates a step
    max_words: int = 14  # of a template, beside the class name

    def __post_init__(self) -> None:
        if self.fitness not in ("accuracy", "loss"):
            raise ValueError(f"fitness is {self.fitness!r}, but must be accuracy or loss")
        words(self.words)
        if min(self.parents, self.children, self.max_words) < 1:
            raise ValueError("parents, children and max_words must be at least 1")


@dataclass(frozen=True)
class Scored:
    """A template on the train set."""

    template: str
    errors: int  # images that it gets wrong
    loss: float  # mean cross-entropy


class Edits(Method):
    title = "Edit search (no LLM)"
    paper = "after GrIPS (Prasad et al., EACL 2023)"
    access: tuple[str, ...] = ("template",)
    least_answer = "label"
    Params = Params

    @classmethod
    def needs(cls, params: Params) -> str:
        """The loss needs probabilities."""
        return "top" if params.fitness == "loss" else cls.least_answer

    @classmethod
    def follows(cls, params: Params) -> Literal["loss", "error"]:
        return "loss" if params.fitness == "loss" else "error"

    def setup(self) -> None:
        self.words = words(self.params.words)
        self.pool: list[Scored] = []  # the best first
        self.seen: set[Words] = set()

    @property
    def n_params(self) -> int:
        """Words that can be chosen; no number is tuned."""
        return int(self.params.max_words)

    def start(self) -> Tensor | None:
        return None

    def prompt(self, state: Tensor | None) -> Prompt:
        """Each test set's own hand template; a record keeps the words of every other template."""
        return Prompt()

    def tune(self) -> None:
        self.score_the_hand_template()
        while True:
            parents = self.parents
            for _ in range(self.params.children):
                if not self.score_edit(parents):
                    return

    # The pool

    def score_the_hand_template(self) -> None:
        self.seen.add(split(self.box.template))
        self.add(self.box.template)

    @property
    def parents(self) -> list[Words]:
        """The best templates by now."""
        return [split(one.template) for one in self.pool[: self.params.parents]]

    def score_edit(self, parents: Sequence[Words]) -> bool:
        """Edit a parent and score the child. False if nothing new can be proposed."""
        child = self.child(parents)
        if child is not None:
            self.score(child)
        return child is not None

    def score(self, child: Words) -> None:
        """One pass over the train set; what is best by now is what would be deployed."""
        self.add(join(child))
        best = self.pool[0].template
        self.box.report(Prompt() if best == self.box.template else Prompt(template=best))

    def add(self, template: str) -> None:
        errors = 0

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            nonlocal errors
            errors += int((logits.argmax(-1) != labels).sum())
            return cross_entropy(logits, labels)

        mean = self.box.pass_loss([Prompt(template=template)], loss).item()
        # so many digits that equal answers have equal losses, in whatever order they were added up
        self.pool.append(Scored(template, errors, round(mean, 9)))
        # a stable sort: of equals, the one seen first stands first
        self.pool.sort(key=self.order)

    def order(self, one: Scored) -> tuple[float, ...]:
        """What the pool is sorted by. With accuracy as fitness nothing but predicted labels counts."""
        return (one.errors,) if self.params.fitness == "accuracy" else (one.loss,)

    # Edits

    def child(self, parents: Sequence[Words]) -> Words | None:
        """A template that was not seen before, one edit away from a parent; None if none is found."""
        for _ in range(ATTEMPTS):
            child = self.edit(parents)
            if self.is_new(child):
                self.seen.add(child)
                return child
        return None

    def is_new(self, child: Words) -> bool:
        """Whether these words are a template that fits and was not proposed before."""
        return len(child) - 1 <= self.params.max_words and child not in self.seen

    def edit(self, parents: Sequence[Words]) -> Words:
        """Insert, replace, delete or swap a word of one parent, or cross two at the class name."""
        one = self.pick(parents)
        kind = self.below(5)
        if kind == 0:
            place = self.below(len(one) + 1)
            return (*one[:place], self.pick(self.words), *one[place:])
        if kind == 1:
            middle = one.index(CLASS)
            other = self.pick(parents)
            return one[:middle] + other[other.index(CLASS) :]
        if len(one) == 1:
            return one
        place = self.other_than_the_class(one)
        if kind == 2:
            return one[:place] + one[place + 1 :]
        if kind == 3:
            return (*one[:place], self.pick(self.words), *one[place + 1 :])
        swapped, second = list(one), self.below(len(one))
        swapped[place], swapped[second] = swapped[second], swapped[place]
        return tuple(swapped)

    def other_than_the_class(self, one: Words) -> int:
        """The place of a word that is not the class name."""
        place = self.below(len(one) - 1)
        return place + (place >= one.index(CLASS))

    def pick(self, choices: Sequence[Choice]) -> Choice:
        return choices[self.below(len(choices))]

    def below(self, n: int) -> int:
        """A random whole number from 0 to n - 1."""
        return int(torch.randint(n, (1,), generator=self.rng))


def split(template: str) -> Words:
    """'a photo of a {}, a type of pet.' -> its words, marks among them, without the full stop."""
    spaced = template.strip().removesuffix(".").replace(CLASS, f" {CLASS} ")
    for mark in MARKS:
        spaced = spaced.replace(mark, f" {mark} ")
    return tuple(spaced.split())


def join(words: Words) -> str:
    """The template of these words, with a full stop, as CLIP's own templates are written."""
    text = " ".join(words)
    for mark in MARKS:
        text = text.replace(f" {mark}", mark)
    return f"{text}."
