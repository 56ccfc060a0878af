"""Records (one JSON file per cell) -> long pandas frames. Damaged files are named."""

import json
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.answered import DEFAULT
from bench.cell import ELSEWHERE, FIELDS, Cell
from bench.errors import UserError, did_you_mean
from bench.record import Record, read

# How the box answers and what it takes: where records hold several and none is asked for, the usual one.
WIRE: dict[str, Any] = {"answers": DEFAULT, "pixels_8bit": False}
# What must be the same in all records of one table: never mixed, chosen or an error.
CONDITIONS = ("suite", "protocol", "score", "backbone", "shots", "budget", "batch_size", "augment", *WIRE)
LISTS = {"methods": "method", "datasets": "dataset", "seeds": "seed"}
ROW = (*FIELDS, "variant", "row", "label")
HASHES = ("hash_method", "hash_card", "hash_split", "hash_weights")
RUN = ("seconds", "hardware", "started", "versions", "precision")
COUNTS = ("white_box", "reference", "n_params", "params", "queries", "image_queries", "deploy_queries")
FACTS = ("path", "overrides", "access", "schedule", *COUNTS, *RUN, *HASHES)
CELLS = (*ROW, *FACTS, "test", "accuracy", "n_test")
TRACE = (*ROW, "white_box", "n_params", "test", "at", "spent", "at_image_queries", "train_loss", "accuracy")
FAILED = (*ROW, "path", "error")


@dataclass(frozen=True)
class Results:
    """What a folder of records holds.

    cells: one row a finished cell and test set; trace: one row a trace point and test set (`at` is the
    checkpoint in queries); failed: one row a failed cell; damaged: (path, why) of every file skipped.
    """

    cells: pd.DataFrame
    trace: pd.DataFrame
    failed: pd.DataFrame
    damaged: tuple[tuple[str, str], ...] = ()


def load(folder: Path | str, warn: Callable[[str], object] = warnings.warn) -> Results:
    """All records under `folder`, recursively. Every file skipped is handed to `warn` by name.

    Raises UserError when `folder` does not exist.
    """
    folder = Path(folder)
    if not folder.exists():
        raise UserError(f"no results folder '{folder}': run `bench run` first, or name one with --results")
    cells, trace, failed = [], [], []
    records, damaged = read_all(folder)
    for path, record in records:
        if record.ok:
            cells += _cell_rows(record, str(path))
            trace += _trace_rows(record)
        else:
            failed.append(_row(record) | {"path": str(path), "error": record.reason})
    for path, why in damaged:
        warn(f"skipped {path}: {why}")
    skipped = tuple((str(path), why) for path, why in damaged)
    return Results(_frame(cells, CELLS), _frame(trace, TRACE), _frame(failed, FAILED), skipped)


def read_all(folder: Path) -> tuple[list[tuple[Path, Record]], list[tuple[Path, str]]]:
    """(file, record) of all records at or under `folder`; (file, what is wrong) of its other JSON files.

    A file that holds the same cell as an earlier one is wrong too.
    """
    records: list[tuple[Path, Record]] = []
    damaged: list[tuple[Path, str]] = []
    seen: dict[Cell, Path] = {}
    for path in record_files(folder):
        try:
            record = read(path)
        except (UserError, OSError) as error:
            damaged.append((path, f"damaged: {error}"))
            continue
        if record.cell in seen:
            damaged.append((path, f"holds the same cell as {seen[record.cell]}"))
            continue
        seen[record.cell] = path
        records.append((path, record))
    return records, damaged


def record_files(folder: Path) -> list[Path]:
    """The JSON files at or under `folder`, in name order, hidden ones left out."""
    files = [folder] if folder.is_file() else sorted(folder.rglob("*.json"))
    return [path for path in files if not path.name.startswith(".")]


def _row(record: Record) -> dict[str, Any]:
    cell = record.cell
    names = {"variant": cell.variant, "row": cell.row, "label": record.label}
    return {name: getattr(cell, name) for name in FIELDS} | names


def _cell_rows(record: Record, path: str) -> list[dict[str, Any]]:
    made = record.run
    facts = {name: getattr(record, name) for name in COUNTS} | {
        "overrides": dict(record.cell.overrides),
        "path": path,
        "access": " + ".join(record.access),
        "schedule": record.schedule,
        "seconds": made.seconds,
        "hardware": made.hardware or made.device,
        "started": made.started,
        "precision": made.precision,
        "versions": ", ".join(f"{name} {number}" for name, number in sorted(made.versions.items())),
        **{f"hash_{name}": getattr(record.hashes, name) for name in ("method", "card", "split", "weights")},
    }
    row = _row(record)
    return [
        row | facts | {"test": test, "accuracy": accuracy, "n_test": record.n_test.get(test)}
        for test, accuracy in record.accuracy.items()
    ]


def _trace_rows(record: Record) -> list[dict[str, Any]]:
    row = _row(record) | {"white_box": record.white_box, "n_params": record.n_params}
    return [
        row
        | {
            "test": test,
            "at": point.queries,
            "spent": point.spent,
            "at_image_queries": point.image_queries,
            "train_loss": point.train_loss,
            "accuracy": accuracy,
        }
        for point in record.trace
        for test, accuracy in point.accuracy.items()
    ]


def _frame(rows: list[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns))


def select(results: Results, **wanted: Any) -> Results:
    """The records that may stand in one table.

    `wanted` names conditions (suite=, protocol=, score=, backbone=, shots=, budget=, batch_size=) and lists
    (methods=, datasets=, seeds=); None means any. Raises UserError when nothing is left, when a condition
    still has two values, or when the records left were not made from the same weights and splits.
    """
    asked = {name: value for name, value in wanted.items() if value is not None and not _empty(value)}
    usual = {name: value for name, value in WIRE.items() if results.cells[name].nunique() > 1}
    wanted = {"score": "test"} | usual | asked
    kept = results
    for name, value in wanted.items():
        column = LISTS.get(name, name)
        values = list(value) if name in LISTS else [value]
        _known(kept, column, values)
        kept = _where(kept, column, values)
    if kept.cells.empty:
        raise UserError(f"no finished records{_asked(wanted)}: run them with `bench run`, or ask for others")
    for name in CONDITIONS:
        values = sorted(kept.cells[name].unique())
        if len(values) > 1:
            listed = ", ".join(str(v) for v in values)
            raise UserError(
                f"the records mix {name} {listed}, which never share a table: choose one with {flag(name)}"
            )
        kept = replace(kept, failed=kept.failed[kept.failed[name] == values[0]])
    _comparable(kept.cells)
    return kept


def _empty(value: Any) -> bool:
    """An empty list of names; a NumPy number is none, and must not be compared with one."""
    return isinstance(value, tuple) and not value


def flag(name: str) -> str:
    """The command line's name of a condition."""
    return "--" + name.replace("_", "-")


def _known(results: Results, column: str, values: Iterable[Any]) -> None:
    known = set(results.cells[column]) | set(results.failed[column])
    for value in values:
        if known and value not in known:
            raise UserError(
                f"no records with {column} {value!r}. {did_you_mean(str(value), map(str, known))}"
            )


def _where(results: Results, column: str, values: Sequence[Any]) -> Results:
    cells, trace, failed = (f[f[column].isin(values)] for f in (results.cells, results.trace, results.failed))
    return replace(results, cells=cells, trace=trace, failed=failed)


def _asked(wanted: dict[str, Any]) -> str:
    said = [f"{name} {value}" for name, value in wanted.items() if name != "score" or value != "test"]
    return f" with {', '.join(said)}" if said else ""


def _comparable(cells: pd.DataFrame) -> None:
    """Methods compare only on the same weights, and on the same split of each data set and seed; the numbers
    of a row only where its method, parameters and precision are the same."""
    cells = cells.assign(given=cells["params"].map(lambda params: json.dumps(params, sort_keys=True)))
    for column, keys, what in (
        ("hash_weights", ["backbone"], "weights"),
        ("hash_split", ["dataset", "seed"], "splits"),
        ("hash_method", ["row"], "versions of the method's file"),
        ("given", ["row"], "values of its parameters"),
        ("precision", ["suite"], "precisions"),
    ):
        stated = cells[cells[column] != ""]
        several = stated.groupby(keys)[column].nunique()
        if (several > 1).any():
            where = ", ".join(
                " seed ".join(map(str, np.atleast_1d(k))) for k in several.index[several > 1][:3]
            )
            raise UserError(f"the records of {where} come from different {what}: run the older ones again")


def within_images(results: Results, images: int) -> Results:
    """The same runs cut at so many image-queries (one image scored once): each accuracy, and what was spent,
    are those of the last checkpoint within them. For records of one table (see select)."""
    keys = ["row", "dataset", "seed", "test"]
    trace = results.trace[results.trace["at_image_queries"] <= images]
    last = trace.loc[trace.groupby(keys)["at"].idxmax()]
    spent = last[[*keys, "accuracy", "spent", "at_image_queries"]]
    spent = spent.rename(columns={"spent": "queries", "at_image_queries": "image_queries"})
    cells = results.cells.drop(columns=["accuracy", "queries", "image_queries"]).merge(spent, on=keys)
    return replace(results, cells=cells[list(results.cells.columns)], trace=trace)


def missing_cells(results: Results) -> list[str]:
    """The cells a full grid of the rows, data sets and seeds at hand would have and these records lack.

    A row that neither tunes nor asks (the hand template) is the same for every seed: one record a data set
    is enough for it.
    """
    done, failed = results.cells, results.failed
    rows = list(dict.fromkeys([*done["row"], *failed["row"]]))
    datasets = list(dict.fromkeys([*done["dataset"], *failed["dataset"]]))
    seeds = sorted({*done["seed"], *failed["seed"]})
    have = set(zip(done["row"], done["dataset"], done["seed"], strict=True))
    why = {(f.row, f.dataset, f.seed): f" (failed: {f.error})" for f in failed.itertuples()}
    seedless = set(done.loc[(done["n_params"] == 0) & (done["queries"] == 0), "row"])
    missing = []
    for row in rows:
        for dataset in datasets:
            lacks = [s for s in seeds if (row, dataset, s) not in have]
            if row in seedless and len(lacks) < len(seeds):
                lacks = [s for s in lacks if (row, dataset, s) in why]
            missing += [f"{row} / {dataset} / seed {s}{why.get((row, dataset, s), '')}" for s in lacks]
    return missing


def refuse_missing(
    results: Results, remedy: str = "print with --partial", partial: bool = False
) -> list[str]:
    """The holes. Raises UserError naming them, unless there are none or `partial`."""
    missing = missing_cells(results)
    if missing and not partial:
        listed = "; ".join(missing[:20]) + (f"; and {len(missing) - 20} more" if len(missing) > 20 else "")
        raise UserError(f"{len(missing)} cells are missing: {listed}. Run them, or {remedy}")
    return missing


def points(results: Results) -> pd.DataFrame:
    """One accuracy a run and checkpoint, in columns row, label, method, ..., dataset, seed, at, accuracy.

    few-shot: the test set; base-to-new: the harmonic mean of base and new; cross-dataset and ood: each
    target counts as a data set, the source is left out.
    """
    trace = results.trace
    keys = ["row", "label", "method", "variant", "white_box", "n_params", "dataset", "seed", "at"]
    if trace.empty:
        return trace[[*keys, "accuracy"]]
    protocol = trace["protocol"].iloc[0]
    if protocol == "base-to-new":
        wide = trace.pivot_table(index=keys, columns="test", values="accuracy").reset_index()
        return wide.assign(accuracy=harmonic(wide["base"], wide["new"]))[[*keys, "accuracy"]]
    if protocol in ELSEWHERE:
        trace = trace[trace["test"] != trace["dataset"]].assign(dataset=lambda f: f["test"])
    return trace[[*keys, "accuracy"]].reset_index(drop=True)


def harmonic(a: Any, b: Any) -> Any:
    """2ab / (a + b), 0 where both are 0."""
    total = np.asarray(a) + np.asarray(b)
    return np.where(total > 0, 2 * np.asarray(a) * np.asarray(b) / np.where(total > 0, total, 1.0), 0.0)
