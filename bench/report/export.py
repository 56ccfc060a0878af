"""All records as one tidy table, for other tools."""

from pathlib import Path

import pandas as pd

from bench.errors import UserError
from bench.report.frame import ROW, Results
from bench.report.render import inert


def tidy(results: Results) -> pd.DataFrame:
    """One row per cell and test set (kind 'cell'), and one per checkpoint and test set (kind 'trace')."""
    cells = results.cells.assign(kind="cell", at=results.cells["budget"])
    for name in ("params", "overrides"):  # Parquet has no column type for these dictionaries
        cells[name] = [", ".join(f"{k}={v}" for k, v in given.items()) for given in cells[name]]
    cells["access"] = cells["access"].map(" + ".join)
    trace = results.trace.assign(kind="trace")
    first = ["kind", *ROW, "test", "at", "accuracy"]
    both = pd.concat([cells, trace], ignore_index=True)
    return both[[*first, *(c for c in both.columns if c not in first)]]


def export(results: Results, path: Path) -> None:
    """Write .parquet or .csv. Raises UserError for another ending, or if the file cannot be written."""
    if path.suffix not in (".parquet", ".csv"):
        raise UserError(f"cannot export to {path}: end its name in .parquet or .csv")
    frame = tidy(results)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            frame.map(lambda value: inert(value) if isinstance(value, str) else value).to_csv(
                path, index=False
            )
        else:
            frame.to_parquet(path, index=False)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another place") from error
