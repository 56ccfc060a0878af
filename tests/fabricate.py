"""Records made up for tests, in the shape `bench run` writes; the numbers are a formula, not noise."""

import json
from pathlib import Path
from typing import Any

METHODS = {  # title, access, parameters, gain over zero-shot in points, white box
    "manual": ("Manual Prompt", [], 0, 0.0, False),
    "blackvip": ("BlackVIP", ["pixels"], 9920, 4.0, False),
    "zip": ("ZIP", ["text context"], 417, 12.0, False),
    "coop": ("CoOp", ["white box"], 2048, 20.0, True),
}
SETS = ("toy-colors", "toy-digits", "toy-clocks")
TESTS = {"few-shot": ("test",), "base-to-new": ("base", "new")}


def checkpoints(budget: int) -> list[int]:
    """0, the 1-2-5 series below the budget, and the budget."""
    series = [m * 10**e for e in range(6) for m in (1, 2, 5)]
    return [0, *(q for q in series if q < budget), budget]


def record(
    method: str = "zip",
    dataset: str = "toy-colors",
    seed: int = 1,
    protocol: str = "few-shot",
    tests: tuple[str, ...] | None = None,
    budget: int = 5000,
    overrides: dict[str, Any] | None = None,
    suite: str = "toy",
    backbone: str = "tiny",
    **changes: Any,
) -> dict[str, Any]:
    """One finished record; `changes` replace top-level fields."""
    title, access, n_params, gain, white = METHODS.get(method, (method, ["text context"], 100, 6.0, False))
    overrides = overrides or {}
    gain -= 2.0 * len(overrides)
    tests = tests or TESTS[protocol]
    start = 40.0 + 5 * (sum(map(ord, dataset)) % 4)
    queries = 0 if method == "manual" else budget
    trace = []
    for at in [0] if method == "manual" else checkpoints(budget):
        share = (at / 5000) ** 0.5 if at else 0.0
        accuracy = {
            t: round(start + 2.0 * i + share * gain * (1 + 0.1 * (seed - 2)), 1) for i, t in enumerate(tests)
        }
        point = {
            "queries": at,
            "spent": at,
            "image_queries": at * 32,
            "train_loss": None,
            "accuracy": accuracy,
        }
        trace.append(point)
    cell = {
        "suite": suite, "protocol": protocol, "method": method, "dataset": dataset, "backbone": backbone,
        "seed": seed, "shots": 16, "budget": budget, "batch_size": 32, "score": "test", "augment": False,
        "overrides": overrides,
    }  # fmt: skip
    whole = {
        "schema": 1, "status": "ok", "error": None, "cell": cell, "title": title,
        "variant": ", ".join(f"{k}={v}" for k, v in overrides.items()),
        "access": access, "white_box": white, "n_params": n_params, "params": overrides,
        "queries": queries, "image_queries": queries * 32,
        "accuracy": trace[-1]["accuracy"], "n_test": {t: 1000 for t in tests}, "trace": trace,
        "prompt": {"state": None, "template": "a photo of a {}."},
        "hashes": {"method": "m" * 64, "card": "c" * 64, "split": f"{dataset}-{seed}", "weights": "w" * 64},
        "run": {
            "started": "2026-01-02T03:04:05+00:00", "seconds": 1.5, "peak_memory_mib": 500.0, "device": "cpu",
            "hardware": "2-core test machine", "pid": 1, "versions": {"bench": "0.1.0", "torch": "2.14.1"},
        },
    }  # fmt: skip
    return whole | changes


def failed(**kwargs: Any) -> dict[str, Any]:
    """A cell that ended in an exception."""
    text = "Traceback (most recent call last):\n  ...\nRuntimeError: out of luck\n"
    return record(**kwargs) | {"status": "failed", "error": text, "accuracy": {}, "trace": []}


def path_of(rec: dict[str, Any]) -> Path:
    """results/<suite>/<protocol>/<dataset>/<method[,k=v]>/<backbone>-shots16-budget5000-seed1.json"""
    cell = rec["cell"]
    method = ",".join([cell["method"], *(f"{k}={v}" for k, v in cell["overrides"].items())])
    numbers = f"shots{cell['shots']}-budget{cell['budget']}-seed{cell['seed']}"
    name = f"{cell['backbone'].replace('/', '_')}-{numbers}.json"
    return Path(cell["suite"], cell["protocol"], cell["dataset"], method, name)


def write(folder: Path, *records: dict[str, Any]) -> Path:
    """Write the records where `bench run` would, and return the folder."""
    for rec in records:
        path = folder / path_of(rec)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rec, allow_nan=False), encoding="utf-8")
    return folder


def grid(
    methods: tuple[str, ...] = ("manual", "blackvip", "zip"),
    datasets: tuple[str, ...] = SETS,
    seeds: tuple[int, ...] = (1, 2, 3),
    **kwargs: Any,
) -> list[dict[str, Any]]:
    """Every method x data set x seed."""
    return [record(m, d, s, **kwargs) for m in methods for d in datasets for s in seeds]
