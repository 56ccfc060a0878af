"""Language models as black-box optimisers: a chat model writes templates, the train set scores them.

Liu, Yu, Lin, Pathak, Ramanan. Language Models as Black-Box Optimizers for Vision-Language Models. CVPR 2024,
https://arxiv.org/abs/2309.05950. Values: the authors' classification script, commit 6612c84 of
github.com/shihongl1998/LLM-as-a-blackbox-optimizer. What differs:

- The start pool: by default theirs are 80 templates made of captions of LAION-COCO, a list that is not
  published; CLIP's own 80 are an option of theirs, and the choice here. The hand template is among them.
- The words of the request are ours.
- Theirs stops after 10 rounds, this one with the budget (`rounds`). A template that was seen before is asked
  for again; theirs loses a round. When no answer can be used, theirs crashes after 15 tries, and this one
  goes on with an edit, which the record counts.
- Theirs also scores every template on the test set. Here the best on the train set is deployed; of equals,
  the one with the lower train loss.
- No restarts: the released script has none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import torch
from bench.methods.edits import CLASS, Edits, Scored, Words, split

from bench.templates import templates

REQUEST = """\
You help a program that sorts images into classes. It compares each image with one short sentence for each \
class. The sentence comes from a template, in which {{}} is replaced by the name of the class.

These templates work well:
{good}

These templates work badly:
{bad}

Write one new template that shares what the first list has and the second list lacks. It holds {{}} exactly \
once and has fewer than {words} words. Answer with this one line, which begins with "- ", and nothing else."""
LONGEST = 300  # characters of a template


@dataclass(frozen=True)
class Params(Edits.Params):
    """The authors' values; the two models of their script are retired, so none is named here."""

    model: str = ""  # as the endpoint calls it
    temperature: float = 1.0
    rounds: int = 0  # templates asked for; 0: until the budget ends. Theirs: 10
    good: int = 3  # best templates shown
    bad: int = 3  # worst templates shown
    start: int = 80  # templates of the start pool, at most
    templates: str = "clip"  # the list that they are drawn from: see bench/templates.py
    tries: int = 15  # answers to one request, until it is given up
    max_tokens: int = 1024  # of an answer; a model that thinks first needs more. Theirs: no limit

    def __post_init__(self) -> None:
        super().__post_init__()
        templates(self.templates)
        if min(self.good, self.bad, self.start, self.tries, self.max_tokens) < 1 or self.rounds < 0:
            raise ValueError("good, bad, start, tries and max_tokens must be at least 1, rounds at least 0")
        if not 0 <= self.temperature <= 2:
            raise ValueError(f"temperature is {self.temperature}, but must lie between 0 and 2")


class LanguageModel(Edits):
    title = "LLM as optimiser"
    paper = "Liu et al., CVPR 2024"
    access = ("template", "language model")
    Params = Params

    def tune(self) -> None:
        self.score_the_hand_template()
        for words in self.drawn():
            self.score(words)
        for _ in range(self.params.rounds) if self.params.rounds else count():
            words = self.asked()
            self.chat.note(words is not None)
            if words is not None:
                self.score(words)
            elif not self.score_edit(self.parents):
                return

    def drawn(self) -> Iterator[Words]:
        """Templates of the list, in a random order, until the start pool is full."""
        listed = [split(one) for one in templates(self.params.templates)]
        for i in torch.randperm(len(listed), generator=self.rng).tolist():
            if len(self.pool) < self.params.start and self.is_new(listed[i]):
                self.seen.add(listed[i])
                yield listed[i]

    def order(self, one: Scored) -> tuple[float, ...]:
        """Equal accuracies are frequent with few images: then the loss decides, where there is one."""
        return (*super().order(one), one.loss)

    def asked(self) -> Words | None:
        """A new template of the language model; None if no answer can be used."""
        messages = [{"role": "user", "content": self.request()}]
        p = self.params
        for _ in range(p.tries):
            text = self.chat.complete(messages, p.temperature, self.below(2**31), p.max_tokens)
            words = template_in(text)
            if words is not None and self.is_new(words):
                self.seen.add(words)
                return words
        return None

    def request(self) -> str:
        """The best and the worst templates by now, without their scores."""
        p = self.params
        good, rest = self.pool[: p.good], self.pool[p.good :]
        return REQUEST.format(good=listed(good), bad=listed(rest[-p.bad :]), words=p.max_words + 1)


def listed(templates: Sequence[Scored]) -> str:
    return "\n".join(f"- {one.template}" for one in templates) or "(none yet)"


def template_in(text: str) -> Words | None:
    """The words of the template in an answer; None unless it gives exactly one that can be used.

    What a model thinks aloud, between <think> and </think>, is no part of its answer.
    """
    while "<think>" in text:
        before, _, thought = text.partition("<think>")
        text = before + thought.partition("</think>")[2]
    # some servers send the end of a thought alone
    text = text.rpartition("</think>")[2]
    lines = [line.strip() for line in text.split("\n")]
    found = [line[2:].strip().strip("\"'`") for line in lines if line.startswith("- ")]
    if len(found) != 1 or len(found[0]) > LONGEST or not found[0].isprintable():
        return None
    template = found[0]
    alone = template.count(CLASS) == template.count("{") == template.count("}") == 1
    return split(template) if alone else None
