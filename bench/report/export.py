"""All records as two tidy tables, for other tools: one of cells, one of traces."""

from pathlib import Path

import pandas as pd

from bench.errors import UserError
from bench.files import refusing
from bench.report.frame import ROW, Results
from bench.report.render import inert

FORMATS = ("csv", "parquet")


def tidy(results: Results) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(cells, traces): a row for each cell and test set, and one for each checkpoint and test set.

    Parameters and access are texts, because Parquet has no column type for them.
    """
    cells = results.cells.copy()
    for name in ("params", "overrides"):
        cells[name] = [", ".join(f"{k}={v}" for k, v in given.items()) for given in cells[name]]
    cells["access"] = cells["access"].map(" + ".join)
    first = [*ROW, "test", "accuracy"]
    cells = cells[[*first, *(name for name in cells.columns if name not in first)]]
    return cells, results.trace.reset_index(drop=True)


def export(results: Results, path: Path, form: str | None = None) -> list[Path]:
    """Write the two tables beside each other, and return their files: PATH-cells and PATH-traces.

    form: "csv" or "parquet"; None means the ending of `path`. Raises UserError for another ending, or if a
    file cannot be written.
    """
    ending = path.suffix.removeprefix(".")
    form = form or ending
    if form not in FORMATS:
        raise UserError(f"cannot export to {path}: end its name in .csv or .parquet, or give --format")
    if not path.name:
        raise UserError(f"cannot export to {path}: name a file")
    stem = path.with_suffix("") if ending in FORMATS else path
    written = []
    for name, frame in zip(("cells", "traces"), tidy(results), strict=True):
        file = stem.with_name(f"{stem.name}-{name}.{form}")
        with refusing(f"cannot write {file}", "Choose another place."):
            file.parent.mkdir(parents=True, exist_ok=True)
            _write(frame, file, form)
        written.append(file)
    return written


def _write(frame: pd.DataFrame, file: Path, form: str) -> None:
    if form == "parquet":
        frame.to_parquet(file, index=False)
    else:
        frame.map(lambda value: inert(value) if isinstance(value, str) else value).to_csv(file, index=False)
