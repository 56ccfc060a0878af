"""Reads records (one JSON file per cell) into long pandas frames, and lists damaged files."""

import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.answered import DEFAULT
from bench.cell import ELSEWHERE, FIELDS, Cell
from bench.errors import UserError, did_you_mean
from bench.files import below
from bench.record import ChatLog, Hashes, Malformed, Outcome, Record, read
from bench.report.scores import seedless
from bench.report.verified import Logs, level
from bench.words import absent, counted, plural

# How the box answers and what it takes. If the records hold several and none is asked for, the usual one.
WIRE: dict[str, Any] = {"answers": DEFAULT, "pixels_8bit": False, "endpoint": ""}
# These are the same in all records of one table. If the records hold several values, the user must choose
# one.
CONDITIONS = ("suite", "protocol", "score", "backbone", "shots", "budget", "batch_size", "augment", *WIRE)
LISTS = {"methods": "method", "datasets": "dataset", "seeds": "seed"}
ROW = (*FIELDS, "variant", "row", "label")
HASHES = tuple(f"hash_{one.name}" for one in fields(Hashes))
RUN = ("seconds", "hardware", "started", "versions", "precision")
SIZES = ("n_train", "n_classes")
COUNTS = ("white_box", "reference", "n_params", "params", "queries", "image_queries", "deploy_queries")
CHAT = ("llm_calls", "llm_tokens", "llm_dollars")  # None where no language model was asked
PAID = "wire_dollars"  # what the endpoint was paid, scoring included; None where there was no endpoint
FACTS = ("path", "overrides", "access", "schedule", *SIZES, *COUNTS, *CHAT, PAID, *RUN, *HASHES, "verified")
CELLS = (*ROW, *FACTS, "test", "accuracy", "n_test")
TRACE = (*ROW, "reference", "n_params", "test", "at", "spent", "at_image_queries", "train_loss", "accuracy")
FAILED = (*ROW, "path", "error")


@dataclass(frozen=True)
class Results:
    """The records of a folder.

    cells: one row per finished cell and test set. trace: one row per checkpoint and test set (`at` is the
    checkpoint in queries). failed: one row per failed cell. damaged: (path, reason) of every skipped file.
    outcomes: path -> test set -> what is known of its single images, for records that say it.
    """

    cells: pd.DataFrame
    trace: pd.DataFrame
    failed: pd.DataFrame
    damaged: tuple[tuple[str, str], ...] = ()
    outcomes: Mapping[str, Mapping[str, Outcome]] = field(default_factory=dict)

    def __repr__(self) -> str:
        """What it holds, in a few lines: frames of thousands of rows would flood a terminal."""
        cells, found = self.cells, counted(self.cells["path"].nunique(), "record")
        wrong = [(len(self.failed), "failed cell"), (len(self.damaged), "damaged file")]
        also = "".join(f", {counted(n, what)}" for n, what in wrong if n)
        lines = [f"Results: {found}{also}", *(_held(cells, name) for name in HELD if len(cells))]
        rows = f".cells ({len(cells):,} rows), .trace ({len(self.trace):,} rows)"
        return "\n".join([*lines, f"  frames: {rows}, .failed ({len(self.failed):,} rows)"])


HELD = ("suite", "protocol", "method", "dataset", "seed", "budget")  # what the text of results lists
MOST_HELD = 6  # values that are listed


def _held(cells: pd.DataFrame, name: str) -> str:
    """A line: the values of a column, e.g. '  seeds: 1, 2, 3'."""
    values = [str(one) for one in sorted(cells[name].unique())]
    more = f" and {len(values) - MOST_HELD} more" if len(values) > MOST_HELD else ""
    return f"  {name if len(values) == 1 else plural(name)}: {', '.join(values[:MOST_HELD])}{more}"


def load(folder: Path | str, warn: Callable[[str], object] = warnings.warn) -> Results:
    """All records under `folder` and its subfolders. `warn` gets a message about every skipped file.

    Raises UserError if `folder` does not exist.
    """
    folder = Path(folder)
    if not folder.exists():
        raise UserError(
            f"no results folder '{folder}': run `bench run` first, or give another with --results"
        )
    records, damaged = read_all(folder)
    for path, why in damaged:
        warn(f"skipped {path}: {why}")
    return results_of(records, tuple((str(path), why) for path, why in damaged), warn)


def results_of(
    records: Iterable[tuple[Path, Record]],
    damaged: tuple[tuple[str, str], ...] = (),
    warn: Callable[[str], object] = warnings.warn,
) -> Results:
    """The frames of these records. `warn` gets a message about a damaged list of what was verified."""
    cells, trace, failed = [], [], []
    logs = Logs(warn)
    for path, record in records:
        if record.ok:
            cells += _cell_rows(record, str(path), level(record, logs.of(path)))
            trace += _trace_rows(record)
        else:
            failed.append(_row(record) | {"path": str(path), "error": record.reason})
    outcomes = {str(path): record.outcomes for path, record in records if record.outcomes}
    return Results(_frame(cells, CELLS), _frame(trace, TRACE), _frame(failed, FAILED), damaged, outcomes)


def read_all(folder: Path) -> tuple[list[tuple[Path, Record]], list[tuple[Path, str]]]:
    """All records at or under `folder` as (file, record), and its other JSON files as (file, what is wrong).

    A file that holds the same cell as an earlier file is wrong too.
    """
    records: list[tuple[Path, Record]] = []
    damaged: list[tuple[Path, str]] = []
    seen: dict[Cell, Path] = {}
    for path in record_files(folder):
        try:
            record = read(path)
        except (UserError, OSError) as error:
            damaged.append((path, f"damaged: {error}" if isinstance(error, Malformed) else str(error)))
            continue
        if record.cell in seen:
            damaged.append((path, f"holds the same cell as {seen[record.cell]}"))
            continue
        seen[record.cell] = path
        records.append((path, record))
    return records, damaged


def record_files(folder: Path) -> list[Path]:
    """The JSON files at or under `folder`, links to folders followed, sorted by name, without hidden ones."""
    return [folder] if folder.is_file() else below(folder, ".json")


def _row(record: Record) -> dict[str, Any]:
    cell = record.cell
    names = {"variant": cell.variant, "row": cell.row, "label": record.label}
    return {name: getattr(cell, name) for name in FIELDS} | names


def _cell_rows(record: Record, path: str, verified: str) -> list[dict[str, Any]]:
    made = record.run
    facts = {name: getattr(record, name) for name in (*SIZES, *COUNTS)} | {
        "overrides": dict(record.cell.overrides),
        "path": path,
        "verified": verified,
        "access": record.access,
        "schedule": record.schedule,
        "seconds": made.seconds,
        "hardware": made.hardware or made.device,
        "started": made.started,
        "precision": made.precision,
        "versions": ", ".join(f"{name} {number}" for name, number in sorted(made.versions.items())),
        **_chat(record.chat),
        PAID: made.wire.dollars if made.wire else None,
        **{name: getattr(record.hashes, name.removeprefix("hash_")) for name in HASHES},
    }
    row = _row(record)
    return [
        row | facts | {"test": test, "accuracy": accuracy, "n_test": record.n_test.get(test)}
        for test, accuracy in record.accuracy.items()
    ]


def _chat(chat: ChatLog | None) -> dict[str, Any]:
    if chat is None:
        return dict.fromkeys(CHAT)
    return dict(
        zip(CHAT, (chat.calls, chat.prompt_tokens + chat.completion_tokens, chat.dollars), strict=True)
    )


def _trace_rows(record: Record) -> list[dict[str, Any]]:
    row = _row(record) | {"reference": record.reference, "n_params": record.n_params}
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


def select(results: Results, free: str = "", **wanted: Any) -> Results:
    """The records of one table.

    free: a condition that may have several values in it. wanted: conditions (suite=, protocol=, score=,
    backbone=, shots=, budget=, batch_size=, ...) and lists (methods=, datasets=, seeds=); None or an empty
    list means any. score is "test" unless it is given. Raises UserError if no record is left, if a condition
    still has two values, or if the records were not made with the same weights and splits.
    """
    asked = {name: value for name, value in wanted.items() if value is not None and not _empty(value)}
    wire = {name: value for name, value in WIRE.items() if name != free and results.cells[name].nunique() > 1}
    if asked.get("endpoint"):
        wire.pop("pixels_8bit", None)  # pixels over the wire are bytes
    wanted = {"score": "test"} | wire | asked
    kept = results
    for name, value in wanted.items():
        column = LISTS.get(name, name)
        values = list(value) if name in LISTS else [value]
        _known(kept, column, values)
        kept = where(kept, column, values)
    if kept.cells.empty:
        raise UserError(f"no finished records{_asked(wanted)}: make them with `bench run`, or choose others")
    for name in CONDITIONS:
        if name == free:
            continue
        values = sorted(kept.cells[name].unique())
        if len(values) > 1:
            listed = ", ".join(str(v) for v in values)
            raise UserError(
                f"the records have {name} {listed}, which cannot share a table: choose one with {flag(name)}"
            )
        kept = replace(kept, failed=kept.failed[kept.failed[name] == values[0]])
    _comparable(kept.cells)
    return kept


def _empty(value: Any) -> bool:
    """Whether a value is an empty list of names. It may be a NumPy number, so it is not compared with ()."""
    return isinstance(value, tuple) and not value


def flag(name: str) -> str:
    """The option of the command line for a condition, e.g. '--batch-size'."""
    return "--" + name.replace("_", "-")


def _known(results: Results, column: str, values: Iterable[Any]) -> None:
    known = set(results.cells[column]) | set(results.failed[column])
    for value in values:
        if known and value not in known:
            raise UserError(
                f"no records with {column} {value!r}. {did_you_mean(str(value), map(str, known))}"
            )


def where(results: Results, column: str, values: Sequence[Any]) -> Results:
    """The records with one of these values in a column."""
    cells, trace, failed = (f[f[column].isin(values)] for f in (results.cells, results.trace, results.failed))
    return replace(results, cells=cells, trace=trace, failed=failed)


def usual(results: Results, free: str = "") -> Results:
    """The records with the values of WIRE. free: one of its conditions that may have any value."""
    for name, value in WIRE.items():
        if name != free:
            results = where(results, name, [value])
    return results


def _asked(wanted: dict[str, Any]) -> str:
    said = [f"{name} {value}" for name, value in wanted.items() if name != "score" or value != "test"]
    return f" with {', '.join(said)}" if said else ""


def _comparable(cells: pd.DataFrame) -> None:
    """Raise UserError unless the records can be compared.

    All need the same weights, and the same split for each data set and seed. The records of one row need the
    same method, parameters and precision.
    """
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
            raise UserError(f"the records of {where} come from different {what}: make the older ones again")


def within_images(results: Results, images: int) -> Results:
    """The same runs, cut at this many image-queries (one image scored once).

    Accuracies, queries and image-queries are those of the last checkpoint within them. results: the records
    of one table (see select).
    """
    keys = ["row", "dataset", "seed", "test"]
    trace = results.trace[results.trace["at_image_queries"] <= images]
    last = trace.loc[trace.groupby(keys)["at"].idxmax()]
    spent = last[[*keys, "accuracy", "spent", "at_image_queries"]]
    spent = spent.rename(columns={"spent": "queries", "at_image_queries": "image_queries"})
    cells = results.cells.drop(columns=["accuracy", "queries", "image_queries"]).merge(spent, on=keys)
    return replace(results, cells=cells[list(results.cells.columns)], trace=trace)


def missing_cells(results: Results, among: Results | None = None) -> list[str]:
    """The cells that are missing from the full grid of these records' rows, data sets and seeds.

    among: records that may have more data sets and seeds, which then belong to the grid, too.

    A row that is the same for every seed (the hand template) needs only one record per data set.
    """
    done, failed = results.cells, results.failed
    rows = list(dict.fromkeys([*done["row"], *failed["row"]]))
    whole = among or results
    datasets = list(dict.fromkeys([*whole.cells["dataset"], *whole.failed["dataset"]]))
    seeds = sorted({*whole.cells["seed"], *whole.failed["seed"]})
    have = set(zip(done["row"], done["dataset"], done["seed"], strict=True))
    why = {(f.row, f.dataset, f.seed): f" (failed: {f.error})" for f in failed.itertuples()}
    same = seedless(done)
    missing = []
    for row in rows:
        for dataset in datasets:
            lacks = [s for s in seeds if (row, dataset, s) not in have]
            if row in same and len(lacks) < len(seeds):
                lacks = [s for s in lacks if (row, dataset, s) in why]
            missing += [f"{row} / {dataset} / seed {s}{why.get((row, dataset, s), '')}" for s in lacks]
    return missing


def refuse_missing(
    results: Results, remedy: str = "print with --partial", partial: bool = False
) -> list[str]:
    """The missing cells. Raises UserError with their list if there are any, unless `partial`.

    remedy: what the message advises besides running the missing cells.
    """
    return refuse(missing_cells(results), remedy, partial)


def refuse(missing: list[str], remedy: str = "print with --partial", partial: bool = False) -> list[str]:
    """`missing`. Raises UserError with the list of them if there are any, unless `partial`."""
    if missing and not partial:
        listed = "; ".join(missing[:20]) + (f"; and {len(missing) - 20} more" if len(missing) > 20 else "")
        raise UserError(f"{absent(len(missing))}: {listed}. Run them, or {remedy}")
    return missing


def points(results: Results, carry: Sequence[str] = ()) -> pd.DataFrame:
    """One accuracy per run and checkpoint, in columns row, label, method, ..., dataset, seed, at, accuracy.

    carry: more columns of the trace, which are the same for all test sets.

    few-shot: the accuracy on the test set. base-to-new: the harmonic mean of base and new. cross-dataset and
    ood: each target counts as a data set, and the data set that was tuned on is left out.
    """
    trace = results.trace
    keys = ["row", "label", "method", "variant", "reference", "n_params", "dataset", "seed", "at"]
    keys += carry
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
    """The harmonic mean 2ab / (a + b), elementwise; 0 if both are 0."""
    total = np.asarray(a) + np.asarray(b)
    return np.where(total > 0, 2 * np.asarray(a) * np.asarray(b) / np.where(total > 0, total, 1.0), 0.0)
