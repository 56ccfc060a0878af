"""The shape of a record, checked in words. One check serves the loader and `bench results verify`."""

from collections.abc import Mapping
from typing import Any

VERSION = 1
PROTOCOLS = ("few-shot", "base-to-new", "cross-dataset", "ood")
Number = (int, float)

CELL: dict[str, Any] = {
    "suite": str,
    "protocol": str,
    "method": str,
    "dataset": str,
    "backbone": str,
    "seed": int,
    "shots": int,
    "budget": int,
    "batch_size": int,
    "augment": bool,
    "score": str,
    "overrides": Mapping,
}
DONE: dict[str, Any] = {
    "title": str,
    "variant": str,
    "access": list,
    "white_box": bool,
    "n_params": int,
    "params": Mapping,
    "queries": int,
    "image_queries": int,
    "accuracy": Mapping,
    "n_test": Mapping,
    "trace": list,
    "hashes": Mapping,
    "run": Mapping,
}
POINT: dict[str, Any] = {"queries": int, "spent": int, "image_queries": int, "accuracy": Mapping}


def problems(record: Any) -> list[str]:
    """What is wrong with a record's shape, one sentence each; empty when nothing is.

    A failed record needs its cell and an error; everything else is asked of finished ones only.
    """
    if not isinstance(record, Mapping):
        return ["not a record: the file holds no JSON object"]
    if record.get("schema") != VERSION:
        return [f"schema is {record.get('schema')!r}, this version reads schema {VERSION}"]
    if record.get("status") not in ("ok", "failed"):
        return [f"status is {record.get('status')!r}, expected 'ok' or 'failed'"]
    if not isinstance(record.get("cell"), Mapping):
        return ["field 'cell' is missing"]
    found = _fields(record["cell"], CELL, "cell.")
    if record["cell"].get("protocol") not in PROTOCOLS:
        known = ", ".join(PROTOCOLS)
        found.append(f"cell.protocol is {record['cell'].get('protocol')!r}, expected one of {known}")
    if record["status"] == "failed":
        return found if isinstance(record.get("error"), str) else [*found, "a failed record names no error"]
    found += _fields(record, DONE, "")
    return found or _contents(record)


def _contents(record: Mapping[str, Any]) -> list[str]:
    found = []
    if not record["accuracy"]:
        found.append("accuracy names no test set")
    found += [f"accuracy.{k} is {v!r}, not a number" for k, v in record["accuracy"].items() if not _number(v)]
    if not record["trace"]:
        found.append("the trace is empty; it needs at least the untuned prompt at query 0")
    for i, point in enumerate(record["trace"]):
        if not isinstance(point, Mapping):
            found.append(f"trace[{i}] is no object")
            continue
        wrong = _fields(point, POINT, f"trace[{i}].")
        found += wrong
        if not wrong:
            found += [f"trace[{i}].accuracy.{k} is {v!r}, not a number" for k, v in point["accuracy"].items()
                      if not _number(v)]  # fmt: skip
    return found


def _fields(thing: Mapping[str, Any], shape: Mapping[str, Any], where: str) -> list[str]:
    found = []
    for name, kind in shape.items():
        if name not in thing:
            found.append(f"field '{where}{name}' is missing")
        elif not isinstance(thing[name], kind) or (kind is int and isinstance(thing[name], bool)):
            found.append(f"field '{where}{name}' is {thing[name]!r}, expected {kind.__name__.lower()}")
    return found


def _number(value: Any) -> bool:
    # NaN is the one number that is not equal to itself
    return isinstance(value, Number) and not isinstance(value, bool) and value == value
