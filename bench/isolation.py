"""Keeps cells apart: a cell must not change what later cells in its process use.

Three things outlive a cell in a process that runs many cells:

- global switches (default dtype, gradient mode, threads, random states, the environment ...): they are
  compared after the cell and put back;
- code (functions and classes of this package, of torch and of numpy, the table of imported modules): it is
  compared by identity and put back;
- loaded data (weights, labels, images, features: all that a lab keeps): it is sealed with checksums when it
  is loaded, and checked after every cell.

A cell that changed any of them fails, with a message that names the change. After a change of code or data,
or if a thread still runs, the process cannot be used any more: `Spoiled` asks the caller to continue in a new
process. The import of a method's file is checked in the same way (`unchanged`).
"""

import math
import os
import random
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.overrides import _get_current_function_mode_stack as function_modes
from torch.overrides import _pop_mode as pop_function_mode
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack as dispatch_modes
from torch.utils._python_dispatch import _pop_mode as pop_dispatch_mode

from bench.errors import UserError
from bench.record import Record

PAGES = 64 << 20  # bytes of one array that are read; of a larger one, only evenly spaced pages are read
PAGE = 4096  # bytes


class Spoiled(Exception):
    """A cell has changed code or data that later cells would use. `record` is this cell's failed record."""

    def __init__(self, record: Record) -> None:
        super().__init__(record.reason)
        self.record = record


# Global switches


@dataclass(frozen=True)
class Switch:
    """A global value of the process, with the functions that read it and put it back. words: its name."""

    words: str
    get: Callable[[], Any]
    put: Callable[[Any], Any]


def _set_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


def _set_environment(before: Mapping[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _keeps_denormals() -> bool:
    """Whether denormal numbers are kept. PyTorch has no getter for set_flush_denormal."""
    return bool(torch.tensor(1e-310, dtype=torch.float64).mul(1.0) != 0)


def _numpy_state() -> tuple[Any, ...]:
    name, keys, *rest = np.random.get_state(legacy=True)
    return (name, tuple(np.asarray(keys).tolist()), *rest)


def _flag(owner: Any, words: str, name: str) -> Switch:
    """The switch for one flag of a backend."""
    return Switch(f"{words}.{name}", lambda: getattr(owner, name), lambda value: setattr(owner, name, value))


def _flags(owner: Any, words: str, *names: str) -> list[Switch]:
    """The switches of a backend among `names` that this version of PyTorch has."""
    return [_flag(owner, words, name) for name in names if hasattr(owner, name)]


HOOKS = tuple(
    name for name, value in vars(torch_module).items() if isinstance(value, dict) and "_hooks" in name
)


def _hooks() -> dict[str, dict[Any, Any]]:
    """The hooks that every module of the process calls."""
    return {name: dict(getattr(torch_module, name)) for name in HOOKS}


def _set_hooks(before: Mapping[str, Mapping[Any, Any]]) -> None:
    for name, hooks in before.items():
        getattr(torch_module, name).clear()
        getattr(torch_module, name).update(hooks)


def _modes() -> tuple[list[Any], bool]:
    """The modes that change calls of torch, e.g. `torch.device(...)`, and whether inference mode is on."""
    stacks: list[Any] = [*function_modes(), *dispatch_modes()]  # type: ignore[no-untyped-call]
    return stacks, torch.is_inference_mode_enabled()


def _leave_modes(before: tuple[list[Any], bool]) -> None:
    """Leave the modes that were entered since, the last one first. Raises RuntimeError if that is impossible.

    They are popped and not exited, because the mode that `torch.device.__enter__` enters has no exit.
    """
    stacks = ((function_modes, pop_function_mode), (dispatch_modes, pop_dispatch_mode))
    for stack, pop in stacks:
        for _ in [one for one in stack() if one not in before[0]]:
            pop()  # type: ignore[no-untyped-call]
    if _modes() != before:
        raise RuntimeError("a mode cannot be left from outside")


def _autocast(kind: str) -> list[Switch]:
    """Automatic mixed precision on one kind of device: whether it is on, and its dtype."""
    words = f"torch.autocast on {kind}"
    return [
        Switch(
            words, lambda: torch.is_autocast_enabled(kind), lambda on: torch.set_autocast_enabled(kind, on)
        ),
        Switch(
            f"the type of {words}",
            lambda: torch.get_autocast_dtype(kind),
            lambda dtype: torch.set_autocast_dtype(kind, dtype),
        ),
    ]


def _attention() -> list[Switch]:
    """The kernels that attention may use."""
    cuda, mha = torch.backends.cuda, torch.backends.mha
    names = [
        name for name in ("flash", "mem_efficient", "math", "cudnn") if hasattr(cuda, f"enable_{name}_sdp")
    ]
    kernels = [
        Switch(
            f"torch.backends.cuda.enable_{name}_sdp",
            getattr(cuda, f"{name}_sdp_enabled"),
            getattr(cuda, f"enable_{name}_sdp"),
        )
        for name in names
    ]
    return [
        *kernels,
        Switch("torch.backends.mha's fast path", mha.get_fastpath_enabled, mha.set_fastpath_enabled),
    ]


def _list(words: str, values: list[Any]) -> Switch:
    """A list of the process that code can change in place."""
    return Switch(words, lambda: list(values), lambda before: values.__setitem__(slice(None), before))


SWITCHES = (
    Switch("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    Switch("torch's default device", torch.get_default_device, _set_device),
    # After the default device, which is such a mode itself, and before all switches that compute.
    Switch("torch's modes", _modes, _leave_modes),
    *_autocast("cpu"),
    *_autocast("cuda"),
    *_attention(),
    Switch("the hooks of all modules of torch", _hooks, _set_hooks),
    Switch("torch's gradient mode", torch.is_grad_enabled, torch._C._set_grad_enabled),
    Switch("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
    Switch(
        "torch's choice of deterministic algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    Switch(
        "the precision of torch's float32 products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    Switch(
        "the handling of denormal numbers",
        _keeps_denormals,
        lambda keeps: torch.set_flush_denormal(not keeps),
    ),
    *_flags(torch.backends.mkldnn, "torch.backends.mkldnn", "enabled", "deterministic"),
    *_flags(
        torch.backends.cudnn, "torch.backends.cudnn", "enabled", "benchmark", "deterministic", "allow_tf32"
    ),
    *_flags(torch.backends.cuda.matmul, "torch.backends.cuda.matmul", "allow_tf32"),
    Switch(
        "torch's global random numbers (use self.rng)",
        lambda: torch.get_rng_state().numpy().tobytes(),
        lambda state: torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8)),
    ),
    Switch("numpy's global random numbers (use self.rng)", _numpy_state, np.random.set_state),
    Switch("Python's global random numbers (use self.rng)", random.getstate, random.setstate),
    Switch("numpy's handling of floating-point errors", np.geterr, lambda values: np.seterr(**values)),
    Switch("os.environ", lambda: dict(os.environ), _set_environment),
    Switch("the current folder", os.getcwd, os.chdir),
    _list("sys.path", sys.path),
    _list("sys.meta_path", sys.meta_path),
    _list("sys.path_hooks", sys.path_hooks),
)


# Code


@dataclass(frozen=True)
class Body:
    """A Python function, and the parts of it that code can replace."""

    function: FunctionType
    code: CodeType
    defaults: tuple[Any, ...] | None
    keywords: dict[str, Any]

    @staticmethod
    def of(value: Any) -> "Body | None":
        """The body of a function, of a method of any kind or of a property; None for other values."""
        value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if not isinstance(value, FunctionType):
            return None
        return Body(value, value.__code__, value.__defaults__, dict(value.__kwdefaults__ or {}))

    def changed(self) -> bool:
        """Whether a part of the function has been replaced."""
        one, keywords = self.function, self.function.__kwdefaults__ or {}
        same = one.__code__ is self.code and one.__defaults__ is self.defaults
        same = same and keywords.keys() == self.keywords.keys()
        return not (same and all(keywords[name] is value for name, value in self.keywords.items()))

    def put_back(self) -> None:
        self.function.__code__, self.function.__defaults__ = self.code, self.defaults
        self.function.__kwdefaults__ = self.keywords or None


@dataclass(frozen=True)
class Named:
    """The value of a name in a module or a class."""

    owner: Any
    value: Any
    body: Body | None


Names = dict[tuple[str, str], Named]  # by (owner's name, attribute)
WATCHED = (
    "builtins", "torch", "torch.nn.functional", "torch.nn.init", "torch.linalg", "numpy", "numpy.linalg",
    "math", "open_clip.model", "open_clip.transformer",
)  # fmt: skip
CLASSES = (
    Tensor, torch.Generator, torch.optim.Optimizer,
    *(cls for cls in vars(nn).values() if isinstance(cls, type)),
)  # fmt: skip
# These are not code: Python makes them again when they are read, or libraries set them at first use.
UNSTABLE = (
    "__dict__", "__weakref__", "__msgspec_cache__", "__annotations_cache__", "__annotate_func__",
    "__warningregistry__",
)  # fmt: skip
IMPORT = ("__import__", "__build_class__")  # private builtins that every import or class statement calls


def code() -> Names:
    """All functions, classes and constants of this package and of the libraries that methods use."""
    ours = [m for name, m in list(sys.modules.items()) if name.startswith("bench.") or name == "bench"]
    ours = [m for m in ours if m is not None and not m.__name__.startswith("bench.methods.")]
    theirs = [sys.modules[name] for name in WATCHED if name in sys.modules]
    found: Names = {}
    for module in (*ours, *theirs):
        _note(found, module.__name__, module)
    for module in ours:
        for value in list(vars(module).values()):
            if isinstance(value, type) and value.__module__ == module.__name__:
                _note(found, f"{module.__name__}.{value.__qualname__}", value)
    for cls in CLASSES:
        _note(found, f"{cls.__module__}.{cls.__qualname__}", cls)
    return found


def _note(found: Names, name: str, owner: ModuleType | type) -> None:
    for attribute, value in list(vars(owner).items()):
        if not isinstance(value, ModuleType) and _watched(name, owner, attribute):
            found[name, attribute] = Named(owner, value, Body.of(value))


def _watched(name: str, owner: ModuleType | type, attribute: str) -> bool:
    """Whether a name is watched: all names in classes, public ones in libraries, most in this package."""
    if attribute in UNSTABLE:
        return False
    if isinstance(owner, type) or not attribute.startswith("_") or attribute in IMPORT:
        return True
    return name.startswith("bench") and not attribute.startswith("__")


def restore_code(before: Names) -> list[str]:
    """Put back what was replaced or removed since, and remove what was added. Returns the changed names."""
    after = code()
    owners = {owner for owner, _ in before}
    changed = []
    for key, one in before.items():
        replaced = key not in after or after[key].value is not one.value
        if replaced:
            setattr(one.owner, key[1], one.value)
        rewritten = one.body is not None and one.body.changed()
        if one.body is not None and rewritten:
            one.body.put_back()
        if replaced or rewritten:
            changed.append(".".join(key))
    for key, one in after.items():
        if key not in before and key[0] in owners:
            delattr(one.owner, key[1])
            changed.append(".".join(key))
    return changed


def imported() -> dict[str, ModuleType]:
    """The modules of the process, without the methods, which are imported again for each cell."""
    return {name: one for name, one in list(sys.modules.items()) if not name.startswith("bench.methods.")}


def restore_imported(before: Mapping[str, ModuleType]) -> list[str]:
    """Put back the modules that were replaced or removed since. Returns their names."""
    changed = [name for name, one in before.items() if sys.modules.get(name) is not one]
    sys.modules.update({name: before[name] for name in changed})
    return [f"sys.modules[{name!r}]" for name in changed]


def threads() -> set[threading.Thread]:
    """The threads that Python has started. Threads of libraries appear as dummies and do not count."""
    return {one for one in threading.enumerate() if not isinstance(one, threading._DummyThread)}


# Data

# They hold no data, so only their identity is compared.
FUNCTIONS = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)


class Seals:
    """The checksums of loaded data, computed when it was loaded.

    grows: the data may get more parts later (decoded pictures); an added part is then not a change.
    """

    def __init__(self, grows: bool = False) -> None:
        self._grows = grows
        self._known: dict[str, int] = {}

    def add(self, root: object, name: str) -> None:
        """Seal all data that an object leads to now, and drop earlier seals of this name."""
        self.drop(name)
        self._known |= checksums(root, name)

    def drop(self, name: str) -> None:
        """Drop the seals of an object that is no longer kept."""
        self._known = {path: value for path, value in self._known.items() if not path.startswith(name)}

    def broken(self, root: object, name: str) -> list[str]:
        """The paths to data that has changed since it was sealed. Added data is sealed now."""
        found = checksums(root, name)
        added = found if self._grows else {}
        changed = [path for path, value in found.items() if self._known.get(path, added.get(path)) != value]
        self._known |= found
        return changed


def checksums(root: object, name: str) -> dict[str, int]:
    """The checksum of every array and number that an object leads to, by its path."""
    return dict(_walk(root, name, set()))


def _walk(value: Any, path: str, seen: set[int]) -> Iterator[tuple[str, int]]:
    if isinstance(value, Tensor):
        if not value.is_mkldnn:
            yield path, _checksum(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, np.ndarray):
        if value.dtype != object:
            yield path, _checksum(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
    elif isinstance(value, float):
        yield path, zlib.crc32(repr(value).encode())
    elif isinstance(value, FUNCTIONS):
        yield path, id(value)
    elif isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        if id(value) not in seen:
            seen.add(id(value))
            for key, item in list(items):
                yield from _walk(item, f"{path}[{key}]", seen)
    elif hasattr(value, "__dict__") and id(value) not in seen:
        seen.add(id(value))
        for key, item in list(vars(value).items()):
            yield from _walk(item, f"{path}.{key}", seen)


def _checksum(flat: np.ndarray) -> int:
    """crc32 of the bytes [n]; if there are more than PAGES of them, of evenly spaced pages."""
    if flat.nbytes <= PAGES:
        return zlib.crc32(flat.data)
    step = math.ceil(flat.nbytes / PAGES) * PAGE
    sum_ = 0
    for start in range(0, flat.nbytes, step):
        sum_ = zlib.crc32(flat[start : start + PAGE].data, sum_)
    return sum_


# Switches, code and data together


@dataclass(frozen=True)
class Faults:
    """The names of everything that a cell changed."""

    switches: list[str]
    code: list[str]
    data: list[str]

    def __bool__(self) -> bool:
        return bool(self.switches or self.code or self.data)

    @property
    def spoiled(self) -> bool:
        """Whether the process cannot be used for further cells."""
        return bool(self.code or self.data)

    def __str__(self) -> str:
        """One line; empty if nothing has changed."""
        parts = [*self.switches, *self.code, *self.data]
        more = f" and {len(parts) - 5} more" if len(parts) > 5 else ""
        return f"the method changed what later cells use: {', '.join(parts[:5])}{more}" if parts else ""


class Before:
    """The state of the process before a cell."""

    def __init__(self) -> None:
        self.switches = [switch.get() for switch in SWITCHES]
        self.code, self.imported, self.threads = code(), imported(), threads()

    def compare(self, broken: Callable[[], list[str]] = list) -> Faults:
        """What has changed since. Switches and code are put back. broken: names the data that has changed."""
        switches, stuck = (
            [],
            [f"the thread {one.name!r}, which still runs" for one in threads() - self.threads],
        )
        for switch, value in zip(SWITCHES, self.switches, strict=True):
            try:
                if switch.get() != value:
                    switch.put(value)
                    switches.append(switch.words)
            except Exception as error:  # it cannot be read or put back, so the process cannot be used again
                stuck.append(f"{switch.words} ({error})")
        rewritten = restore_code(self.code) + restore_imported(self.imported)
        return Faults(switches, stuck + rewritten, broken())


@contextmanager
def unchanged(what: str) -> Iterator[None]:
    """A block that runs a method's code outside a cell and must leave the process unchanged.

    what: the beginning of the message. If the process has changed, all that can be put back is put back, and
    then UserError is raised.
    """
    before = Before()
    try:
        yield
    finally:
        faults = before.compare()
        if faults:
            raise UserError(f"{what} {faults}.")
