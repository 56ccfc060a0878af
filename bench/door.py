"""The door: what a method hands in is taken apart here, checked, and built anew from the harness's own parts.

Nothing that a method holds comes through. Tensors are copies, so a step in place changes no answer and no
score; lists are read once; the access that a prompt needs is worked out from the parts that are used, not
from what the method's object says.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from types import CellType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from bench.blackbox import AccessDenied, ModelSpec
from bench.prompt import WHITE_BOX, Batch, Prompt

TENSORS = (Tensor, nn.Parameter)  # exactly: a subclass can bring operations of its own


@contextmanager
def inside(device: str, gradients: bool = False) -> Iterator[None]:
    """A block that computes for the harness, whatever the caller switched: no autocast, gradients as said."""
    kind = torch.device(device).type
    with torch.autocast(kind, enabled=False), torch.set_grad_enabled(gradients):
        yield


@dataclass(frozen=True)
class Door:
    """What a method with this access may hand in, for a model of these sizes."""

    access: frozenset[str]
    spec: ModelSpec

    def queries(self, given: Iterable[Prompt]) -> tuple[Prompt, ...]:
        """The prompts of a call.

        Raises TypeError and ValueError for what is no list of prompts, AccessDenied for what is not declared,
        FloatingPointError for a state that is not finite.
        """
        if isinstance(given, Prompt):
            raise TypeError("a call takes a list of prompts, not one prompt: write [prompt]")
        prompts = tuple(self._prompt(one, live=WHITE_BOX in self.access) for one in tuple(given))
        if not prompts:
            raise ValueError("a call takes at least one prompt, and the list is empty")
        return prompts

    def deployed(self, given: Prompt) -> Prompt:
        """A reported prompt: what its functions hold is copied, too (see `still`).

        Raises what `queries` raises.
        """
        if type(given) is not Prompt:
            raise TypeError(
                f"report takes a Prompt, not {type(given).__name__}: write report(self.prompt(x))"
            )
        fixed = replace(given, pixels=still(given.pixels), head=still(given.head))
        return self._prompt(fixed, live=False)

    def _prompt(self, given: Prompt, live: bool) -> Prompt:
        """A prompt of own parts. live: gradients flow back into the method's tensors."""
        if type(given) is not Prompt:
            raise TypeError(f"a call takes a list of prompts; one of them is of type {type(given).__name__}")
        pixels, head = _function("pixels", given.pixels), _function("head", given.head)
        prompt = Prompt(
            context=_table("context", given.context, self.spec.text_width, live),
            template=_words(given.template),
            pixels=pixels and partial(_sent, pixels, self.spec.image_size),
            tokens=_table("tokens", given.tokens, self.spec.vision_width, live),
            head=head and partial(_refined, head),
            state=_state(given.state),
        )
        if not prompt.access <= self.access:
            extra, declared = sorted(prompt.access - self.access), sorted(self.access)
            raise AccessDenied(
                f"the prompt uses {', '.join(extra)}; the method declares {', '.join(declared)}"
            )
        return prompt


# The parts


def _numbers(name: str, value: object) -> Tensor:
    """A plain tensor of floating-point numbers. Raises TypeError."""
    if not isinstance(value, Tensor) or type(value) not in TENSORS:
        raise TypeError(f"{name} has to be a Tensor, not {type(value).__name__}")
    if not value.is_floating_point():
        raise TypeError(f"{name} has to be a Tensor of floating-point numbers, not of {value.dtype}")
    return value


def _table(name: str, value: object, width: int | None, live: bool) -> Tensor | None:
    """A copy of vectors [n, width], n >= 1. width None: the model says itself what it takes (none)."""
    if value is None:
        return None
    vectors = _numbers(f"a prompt's {name}", value)
    if vectors.dim() != 2 or len(vectors) < 1 or width not in (None, vectors.shape[1]):
        raise ValueError(f"a prompt's {name} must be [n, {width}] with n >= 1, not {list(vectors.shape)}")
    return vectors.clone() if live else vectors.detach().clone()


def _words(value: object) -> str | None:
    """A template. Raises TypeError or ValueError."""
    if value is None:
        return None
    if type(value) is not str:
        raise TypeError(f"a prompt's template has to be text, not {type(value).__name__}")
    if value.count("{}") != 1 or value.count("{") != 1 or value.count("}") != 1:
        raise ValueError(
            f"a prompt's template needs one {{}} for the class name, and no other brace: {value!r}"
        )
    return value


def _state(value: object) -> Tensor | None:
    """A copy of flat numbers that a record can keep."""
    if value is None:
        return None
    state = _numbers("a prompt's state", value).detach()
    if state.dim() != 1:
        raise ValueError(f"a prompt's state has to be flat, not {list(state.shape)}")
    if not state.float().isfinite().all():
        raise FloatingPointError("the prompt's state is not finite: it diverged")
    return state.clone()


def _function(name: str, value: object) -> Callable[..., Tensor] | None:
    if value is not None and not callable(value):
        raise TypeError(f"a prompt's {name} has to be a function, not {type(value).__name__}")
    return value


# What the functions of a prompt return


def _sent(pixels: Callable[[Batch], Tensor], side: int, batch: Batch) -> Tensor:
    """[B, 3, S, S]: the images that a prompt sends for a batch.

    Not limited to [0, 1]: the authors of VP send values outside of it (methods/vp.py).
    """
    images, wanted = _numbers("what a prompt's pixels return", pixels(batch)), (len(batch), 3, side, side)
    if images.shape != wanted:
        raise ValueError(f"a prompt's pixels have to return {list(wanted)}, not {list(images.shape)}")
    if not images.isfinite().all():
        raise FloatingPointError("the images that the prompt sends are not finite: it diverged")
    return images


def _refined(head: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """[B, C]: what a prompt's head makes of logits [B, C]."""
    refined = _numbers("what a prompt's head returns", head(logits.clone()))
    if refined.shape != logits.shape:
        raise ValueError(f"a prompt's head has to return {list(logits.shape)}, not {list(refined.shape)}")
    return refined


# A function that holds its own copies


def still(function: Any) -> Any:
    """The same function with copies of the tensors that it has closed over or takes by default.

    A method that goes on with steps in place does not move what it has reported. What hangs on an object
    (self.x) is not copied: read it before the function is made.
    """
    return _copied(function, {})


def _copied(value: Any, made: dict[int, Any]) -> Any:
    """A copy of a tensor, and of the plain containers and functions that lead to one; the rest as it is."""
    if id(value) in made:
        return made[id(value)]
    kind = type(value)
    if kind in TENSORS:
        twin: Any = value.detach().clone()
    elif kind in (list, tuple, dict):
        items = list(value.values() if kind is dict else value)
        copies = [_copied(item, made) for item in items]
        if all(one is other for one, other in zip(items, copies, strict=True)):
            return value
        twin = dict(zip(value, copies, strict=True)) if kind is dict else kind(copies)
    elif kind is partial:
        twin = partial(*_copied((value.func, *value.args), made), **_copied(value.keywords, made))
    elif kind is FunctionType and (value.__closure__ or value.__defaults__ or value.__kwdefaults__):
        return _copied_function(value, made)
    else:
        return value
    made[id(value)] = twin
    return twin


def _copied_function(function: FunctionType, made: dict[int, Any]) -> FunctionType:
    """Its cells are filled last: a function may have closed over itself."""
    cells = tuple(CellType() for _ in function.__closure__ or ())
    twin = FunctionType(function.__code__, function.__globals__, function.__name__, None, cells)
    made[id(function)] = twin
    twin.__defaults__ = _copied(function.__defaults__, made)
    twin.__kwdefaults__ = _copied(function.__kwdefaults__, made)
    for cell, old in zip(cells, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # the cell of a name that has no value yet
            cell.cell_contents = _copied(old.cell_contents, made)
    return twin
