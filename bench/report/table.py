"""What every table is made of, whichever format it is printed in; see render.py for the formats."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Mark = Literal["", "best", "second"]


@dataclass(frozen=True)
class Entry:
    """One number as it will be printed: 61.2 ± 0.8 (n=2). `value` None is a missing one."""

    value: float | None = None
    spread: float | None = None
    n: int | None = None  # printed when given: a partial mean says of how many
    digits: int = 1
    mark: Mark = ""
    note: str = ""  # printed after the number

    @property
    def whole(self) -> bool:
        """Whether nothing is missing behind it: a mean over fewer seeds or data sets is not comparable."""
        return self.n is None and not self.note

    @property
    def mean(self) -> str:
        """The number without its spread."""
        if self.value is None:
            return "–"
        return "∞" if self.value == float("inf") else f"{self.value:,.{self.digits}f}"

    @property
    def text(self) -> str:
        """The whole entry."""
        spread = "" if self.spread is None else f" ± {self.spread:.{self.digits}f}"
        n = "" if self.n is None else f" (n={self.n})"
        return f"{self.mean}{spread}{n}{self.note}"


@dataclass(frozen=True)
class Column:
    """A column of numbers; `better` says which end is best, '' that none is marked."""

    name: str
    better: Literal["high", "low", ""] = "high"


@dataclass(frozen=True)
class Row:
    """One method. Rows are ranked only among rows of their own group; white-box rows never."""

    lead: tuple[str, ...]  # the method's name and what stands beside it
    entries: tuple[Entry, ...]
    group: Literal["measured", "published", "white box", "published white box"] = "measured"


@dataclass(frozen=True)
class Block:
    """Rows under one heading (Base, New, Harmonic; or none)."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """A table with its title on top and its notes (the caption) below."""

    title: str
    heads: tuple[str, ...]  # of the lead
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()


def marked(table: Table) -> Table:
    """The same table, best and second best marked by column, block and group, as printed."""
    # Ties share a mark: what reads the same is not ranked apart.
    return replace(table, blocks=tuple(replace(b, rows=_mark(b.rows, table.columns)) for b in table.blocks))


def _mark(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[Row, ...]:
    marks: dict[tuple[int, int], Mark] = {}
    for group in {row.group for row in rows if "white box" not in row.group}:
        members = [i for i, row in enumerate(rows) if row.group == group]
        for j, column in enumerate(columns):
            shown = {i: _as_printed(rows[i].entries[j]) for i in members if rows[i].entries[j].whole}
            values = {i: v for i, v in shown.items() if v is not None}
            if column.better and len(members) > 1:
                order = sorted(set(values.values()), reverse=column.better == "high")
                for i, value in values.items():
                    marks[i, j] = "best" if value == order[0] else "second" if value == order[1] else ""
    return tuple(
        replace(row, entries=tuple(replace(e, mark=marks.get((i, j), "")) for j, e in enumerate(row.entries)))
        for i, row in enumerate(rows)
    )


def _as_printed(entry: Entry) -> float | None:
    return None if entry.value is None or entry.value == float("inf") else round(entry.value, entry.digits)
