"""A dialect: how a question is written, and how its answer."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from bench.serve.model import Model


@dataclass(frozen=True)
class Question:
    """What a request asks. images: in base64, not read yet. texts: C, whole. names: what they are called."""

    images: list[str]
    texts: tuple[str, ...]
    names: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)  # that the answer repeats


class Dialect(Protocol):
    """One shape of requests and answers."""

    def read(self, data: dict[str, Any]) -> Question:
        """The question in a JSON object. Raises Refused."""
        ...

    def write(self, question: Question, images: Tensor, texts: Tensor, model: Model) -> Any:
        """The answer as JSON, from features of unit norm [B, e] and [C, e]."""
        ...


def numbers(said: Tensor) -> list[Any]:
    """A tensor as JSON holds it: float64 with all digits, None for what is not said."""
    return [_none(one) for one in said.tolist()]


def _none(value: Any) -> Any:
    if isinstance(value, list):
        return [_none(one) for one in value]
    return None if value != value else value
