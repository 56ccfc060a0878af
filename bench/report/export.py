"""One tidy table of everything, for other people's tools."""

from pathlib import Path

import pandas as pd

from bench.errors import UserError
from bench.report.frame import ROW, Results


def tidy(results: Results) -> pd.DataFrame:
    """One row a cell and test set (kind 'cell'), one a trace point and test set (kind 'trace')."""
    cells = results.cells.assign(kind="cell", at=results.cells["budget"])
    for name in ("params", "overrides"):  # dictionaries have no column type
        cells[name] = [", ".join(f"{k}={v}" for k, v in given.items()) for given in cells[name]]
    trace = results.trace.assign(kind="trace")
    first = ["kind", *ROW, "test", "at", "accuracy"]
    both = pd.concat([cells, trace], ignore_index=True)
    return both[[*first, *(c for c in both.columns if c not in first)]]


def export(results: Results, path: Path) -> None:
    """Write .parquet or .csv. Raises UserError for another ending or a place that cannot be written."""
    if path.suffix not in (".parquet", ".csv"):
        raise UserError(f"cannot export to {path}: end its name in .parquet or .csv")
    frame = tidy(results)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path, index=False)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another place") from error
