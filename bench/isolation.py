"""A cell cannot change its neighbours: what it may have changed is put back, or noticed and thrown away.

Three things outlive a cell in a process that runs many:

- global switches (default dtype, gradient mode, threads, random states, the environment ...): compared after
  the cell and put back;
- code (functions and classes of this package, of torch and of numpy): compared by identity and put back;
- loaded data (weights, labels, images, features: all that a lab keeps): sealed with checksums when loaded and
  checked after every cell.

A cell that changed any of them fails, with a message that says what. After a change of code or data the
process is not trusted any more: `Spoiled` tells whoever runs cells to go on in a fresh one.
"""

import math
import os
import random
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.record import Record

PAGES = 64 << 20  # bytes of one array that are looked at: a larger one is sampled, evenly
PAGE = 4096  # bytes


class Spoiled(Exception):
    """A cell has changed code or data that later cells would use. `record` is that cell's, a failed one."""

    def __init__(self, record: Record) -> None:
        super().__init__(record.reason)
        self.record = record


# Global switches


@dataclass(frozen=True)
class Switch:
    """A global value of the process, how it is read and how it is put back."""

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
    """Whether the smallest numbers are kept; PyTorch has no getter for set_flush_denormal."""
    return bool(torch.tensor(1e-310, dtype=torch.float64).mul(1.0) != 0)


def _numpy_state() -> tuple[Any, ...]:
    name, keys, *rest = np.random.get_state(legacy=True)
    return (name, tuple(np.asarray(keys).tolist()), *rest)


def _flag(owner: Any, words: str, name: str) -> Switch:
    """One on-off switch of a backend."""
    return Switch(f"{words}.{name}", lambda: getattr(owner, name), lambda value: setattr(owner, name, value))


def _flags(owner: Any, words: str, *names: str) -> list[Switch]:
    """Those of a backend's switches that this version of PyTorch has."""
    return [_flag(owner, words, name) for name in names if hasattr(owner, name)]


SWITCHES = (
    Switch("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    Switch("torch's default device", torch.get_default_device, _set_device),
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
    Switch("sys.path", lambda: list(sys.path), lambda paths: sys.path.__setitem__(slice(None), paths)),
)


# Code

Names = dict[tuple[str, str], tuple[Any, Any]]  # (owner's name, attribute) -> (owner, value)
WATCHED = ("torch", "torch.nn.functional", "torch.nn.init", "torch.linalg", "numpy", "numpy.linalg", "math")
CLASSES = (Tensor, nn.Module, torch.Generator, torch.optim.Optimizer)


def code() -> Names:
    """Every function, class and constant of this package and of what methods compute with, by identity."""
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
        if attribute in ("__dict__", "__weakref__"):  # no code, and made anew when they are read
            continue
        if not isinstance(value, ModuleType) and not (
            attribute.startswith("_") and isinstance(owner, ModuleType)
        ):
            found[name, attribute] = owner, value


def restore_code(before: Names) -> list[str]:
    """Put back what was replaced or removed since; the names of it."""
    after = code()
    changed = []
    for key, (owner, value) in before.items():
        if key not in after or after[key][1] is not value:
            setattr(owner, key[1], value)
            changed.append(".".join(key))
    return changed


# Data

FUNCTIONS = (
    type,
    ModuleType,
    FunctionType,
    BuiltinFunctionType,
    MethodType,
)  # they hold no data of their own


class Seals:
    """Checksums of what was loaded, taken when it was."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def add(self, root: object, name: str) -> None:
        """Seal what an object leads to now, and forget what was sealed under this name before."""
        self.drop(name)
        self._known |= checksums(root, name)

    def drop(self, name: str) -> None:
        """Forget an object that is no longer kept."""
        self._known = {path: value for path, value in self._known.items() if not path.startswith(name)}

    def broken(self, root: object, name: str) -> list[str]:
        """The paths whose contents have changed since they were sealed; what is new is sealed now."""
        found = checksums(root, name)
        changed = [path for path, value in found.items() if self._known.get(path, value) != value]
        self._known |= found
        return changed


def checksums(root: object, name: str) -> dict[str, int]:
    """The checksum of every array and number that an object leads to, by the path to it."""
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
    elif isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        if id(value) not in seen:
            seen.add(id(value))
            for key, item in list(items):
                yield from _walk(item, f"{path}[{key}]", seen)
    elif hasattr(value, "__dict__") and not isinstance(value, FUNCTIONS) and id(value) not in seen:
        seen.add(id(value))
        for key, item in list(vars(value).items()):
            yield from _walk(item, f"{path}.{key}", seen)


def _checksum(flat: np.ndarray) -> int:
    """crc32 of the bytes [n], or of evenly spread pages where there are more than PAGES of them."""
    if flat.nbytes <= PAGES:
        return zlib.crc32(flat.data)
    step = math.ceil(flat.nbytes / PAGES) * PAGE
    sum_ = 0
    for start in range(0, flat.nbytes, step):
        sum_ = zlib.crc32(flat[start : start + PAGE].data, sum_)
    return sum_


# All three


@dataclass(frozen=True)
class Faults:
    """What a cell changed, in words."""

    switches: list[str]
    code: list[str]
    data: list[str]

    def __bool__(self) -> bool:
        return bool(self.switches or self.code or self.data)

    @property
    def spoiled(self) -> bool:
        """Whether the process is not to be trusted any more."""
        return bool(self.code or self.data)

    def __str__(self) -> str:
        """One line; empty when there is nothing."""
        parts = [*self.switches, *self.code, *self.data]
        more = f" and {len(parts) - 5} more" if len(parts) > 5 else ""
        return f"the method changed what later cells use: {', '.join(parts[:5])}{more}" if parts else ""


class Before:
    """The process as it was before a cell."""

    def __init__(self) -> None:
        self.switches = [switch.get() for switch in SWITCHES]
        self.code = code()

    def compare(self, broken: Callable[[], list[str]]) -> Faults:
        """What has changed since. Switches and code are put back. broken: names the changed data."""
        switches, stuck = [], []
        for switch, value in zip(SWITCHES, self.switches, strict=True):
            try:
                if switch.get() != value:
                    switch.put(value)
                    switches.append(switch.words)
            except Exception as error:  # it can neither be read nor put back: the process is of no more use
                stuck.append(f"{switch.words} ({error})")
        return Faults(switches, stuck + restore_code(self.code), broken())
