"""The door: it takes the prompts that a method hands in apart, checks them, and builds new ones.

No object that a method holds passes through. Tensors are copied, so a later step in place changes no answer
and no score. Lists are read once. The access that a prompt needs is computed from its parts, and not read
from the method's object.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from types import CellType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from bench.access import WHITE_BOX
from bench.blackbox import AccessDenied, ModelSpec
from bench.prompt import Batch, Prompt

TENSORS = (Tensor, nn.Parameter)  # no other subclasses: these can define their own operations


@contextmanager
def inside(device: str, gradients: bool = False) -> Iterator[None]:
    """A block that computes for the harness: without autocast, and with or without gradients.

    The caller's own settings have no effect inside it.
    """
    kind = torch.device(device).type
    with torch.autocast(kind, enabled=False), torch.set_grad_enabled(gradients):
        yield


@dataclass(frozen=True)
class Door:
    """Checks what a method hands in, by its access and the model's sizes."""

    access: frozenset[str]
    spec: ModelSpec

    def queries(self, given: Iterable[Prompt]) -> tuple[Prompt, ...]:
        """New prompts, for a call.

        Raises TypeError or ValueError if this is not a list of valid prompts, AccessDenied if a prompt uses
        an access that the method did not declare, FloatingPointError if a state is not finite.
        """
        if isinstance(given, Prompt):
            raise TypeError("a call takes a list of prompts, not one prompt: write [prompt]")
        prompts = tuple(self._prompt(one, live=WHITE_BOX in self.access) for one in tuple(given))
        if not prompts:
            raise ValueError("a call takes at least one prompt, and the list is empty")
        if any(prompt.parts for prompt in prompts):
            raise ValueError("a prompt with parts is several queries: send its parts, prompt.parts")
        if any(prompt.local is not None for prompt in prompts):
            raise ValueError("a prompt with a local model sends nothing: compute its answers without the box")
        return prompts

    def deployed(self, given: Prompt) -> Prompt:
        """A new prompt, for a report. The tensors in its functions are copied, too (see `still`).

        Raises the same errors as `queries`.
        """
        if type(given) is not Prompt:
            raise TypeError(
                f"report takes a Prompt, not {type(given).__name__}: write box.report(self.prompt(x))"
            )
        return self._prompt(_still(given), live=False)

    def _prompt(self, given: Prompt, live: bool) -> Prompt:
        """A new prompt with checked parts. live: gradients flow back into the method's tensors."""
        if type(given) is not Prompt:
            raise TypeError(f"a call takes a list of prompts; one of them is of type {type(given).__name__}")
        parts = tuple(self._prompt(part, live) for part in tuple(given.parts))
        pixels, head = _function("pixels", given.pixels), _function("head", given.head)
        adapter, local = _function("adapter", given.adapter), _function("local", given.local)
        prompt = Prompt(
            context=_table("context", given.context, self.spec.text_width, live),
            template=_words(given.template),
            pixels=pixels and partial(_sent, pixels, self.spec.image_size),
            tokens=_table("tokens", given.tokens, self.spec.vision_width, live),
            head=head and partial(_refined, head, bool(parts)),
            adapter=adapter and partial(_adapted, adapter),
            local=local and partial(_local, local),
            parts=parts,
            any_classes=given.any_classes is True,
            state=_state(given.state),
        )
        if not prompt.access <= self.access:
            extra, declared = sorted(prompt.access - self.access), sorted(self.access)
            raise AccessDenied(
                f"the prompt uses {', '.join(extra)}, but the method's access is {', '.join(declared)}"
            )
        return prompt


# The parts of a prompt


def _numbers(name: str, value: object) -> Tensor:
    """The value, if it is a plain tensor of floating-point numbers. Raises TypeError otherwise."""
    if not isinstance(value, Tensor) or type(value) not in TENSORS:
        raise TypeError(f"{name} has to be a Tensor, not {type(value).__name__}")
    if not value.is_floating_point():
        raise TypeError(f"{name} has to be a Tensor of floating-point numbers, not of {value.dtype}")
    return value


def _table(name: str, value: object, width: int | None, live: bool) -> Tensor | None:
    """A copy of vectors [n, width], n >= 1. width: None for a model that takes no such vectors.

    Raises TypeError or ValueError.
    """
    if value is None:
        return None
    vectors = _numbers(f"a prompt's {name}", value)
    if vectors.dim() != 2 or len(vectors) < 1 or width not in (None, vectors.shape[1]):
        raise ValueError(f"a prompt's {name} must be [n, {width}] with n >= 1, not {list(vectors.shape)}")
    return vectors.clone() if live else vectors.detach().clone()


def _words(value: object) -> str | None:
    """The value, if it is a template or None. Raises TypeError or ValueError otherwise."""
    if value is None:
        return None
    if type(value) is not str:
        raise TypeError(f"a prompt's template has to be text, not {type(value).__name__}")
    if value.count("{}") != 1 or value.count("{") != 1 or value.count("}") != 1:
        raise ValueError(
            f"a prompt's template must hold one {{}} for the class name and no other brace, not {value!r}"
        )
    return value


def _state(value: object) -> Tensor | None:
    """A copy of flat numbers that a record can store. Raises TypeError, ValueError or FloatingPointError."""
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


# The results of a prompt's functions


def _sent(pixels: Callable[[Batch], Tensor], side: int, batch: Batch) -> Tensor:
    """[B, 3, S, S]: the images that a prompt sends for a batch.

    The values are not limited to [0, 1], because the authors of VP send values outside it (methods/vp.py).
    """
    images, wanted = _numbers("what a prompt's pixels return", pixels(batch)), (len(batch), 3, side, side)
    if images.shape != wanted:
        raise ValueError(f"a prompt's pixels have to return {list(wanted)}, not {list(images.shape)}")
    if not images.isfinite().all():
        raise FloatingPointError("the images that the prompt sends are not finite: it diverged")
    return images


def _refined(head: Callable[[Tensor], Tensor], several: bool, logits: Tensor) -> Tensor:
    """[B, C]: the result of a prompt's head for logits [B, C], or for the logits of K parts, [K, B, C]."""
    return _answers("head", head(logits.clone()), logits.shape[1:] if several else logits.shape)


def _adapted(adapter: Callable[[Tensor, Tensor], Tensor], image: Tensor, text: Tensor) -> Tensor:
    """[B, C]: the result of a prompt's adapter for the features of images [B, e] and of classes [C, e]."""
    return _answers("adapter", adapter(image.clone(), text.clone()), torch.Size((len(image), len(text))))


def _local(local: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
    """[B, C]: the answers of a local model. bench/deploy.py checks the shape, because C is known there."""
    return _numbers("what a prompt's local model returns", local(batch))


def _answers(name: str, value: object, shape: torch.Size) -> Tensor:
    answers = _numbers(f"what a prompt's {name} returns", value)
    if answers.shape != shape:
        raise ValueError(f"a prompt's {name} has to return {list(shape)}, not {list(answers.shape)}")
    return answers


# Functions with copied tensors


def _still(prompt: Prompt) -> Prompt:
    """The prompt, with copies of the tensors in its functions and in the functions of its parts."""
    names = ("pixels", "head", "adapter", "local")
    functions = {name: still(getattr(prompt, name)) for name in names}
    return replace(prompt, **functions, parts=tuple(map(_still, prompt.parts)))


def still(function: Any) -> Any:
    """The same function, with copies of the tensors in its closure and its defaults.

    A method can then continue with steps in place and does not change what it has reported. Attributes of an
    object (self.x) are not copied: assign such a tensor to a local variable before the function is defined.
    """
    return _copied(function, {})


def _copied(value: Any, made: dict[int, Any]) -> Any:
    """A copy of a tensor, or of a container or function that holds one; any other value unchanged."""
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
    """A copy of a function. Its closure is filled last, because the function itself may be part of it."""
    cells = tuple(CellType() for _ in function.__closure__ or ())
    twin = FunctionType(function.__code__, function.__globals__, function.__name__, None, cells)
    made[id(function)] = twin
    twin.__defaults__ = _copied(function.__defaults__, made)
    twin.__kwdefaults__ = _copied(function.__kwdefaults__, made)
    for cell, old in zip(cells, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # a name in the closure that has no value yet
            cell.cell_contents = _copied(old.cell_contents, made)
    return twin
