"""The parts of a table, for every format; render.py has the formats."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Mark = Literal["", "best", "second"]
Group = Literal["measured", "published", "features", "white box", "published white box"]
RANKED = frozenset({"measured", "published"})  # the other groups had more than predictions


@dataclass(frozen=True)
class Entry:
    """One number as it is printed: 61.2 ± 0.8 (n=2). A missing number has the value None."""

    value: float | None = None
    spread: float | None = None
    n: int | None = None  # for an incomplete mean, the number of values that it has
    digits: int = 1
    form: Literal["f", "g"] = "f"  # f: `digits` decimals; g: `digits` significant digits, as for a p
    mark: Mark = ""
    note: str = ""  # printed after the number

    @property
    def whole(self) -> bool:
        """Whether the number is complete; a mean over fewer seeds or data sets does not compare."""
        return self.n is None and not self.note

    @property
    def mean(self) -> str:
        """The number as text, without its spread."""
        if self.value is None:
            return "–"
        return "∞" if self.value == float("inf") else f"{self.value:,.{self.digits}{self.form}}"

    @property
    def text(self) -> str:
        """The whole entry as text."""
        spread = "" if self.spread is None else f" ± {self.spread:.{self.digits}f}"
        n = "" if self.n is None else f" (n={self.n})"
        return f"{self.mean}{spread}{n}{self.note}"


@dataclass(frozen=True)
class Column:
    """A column of numbers. better: whether high or low numbers are best; '': no number is marked."""

    name: str
    better: Literal["high", "low", ""] = "high"


@dataclass(frozen=True)
class Row:
    """One method. A row is ranked only among the rows of its group, and a reference is never ranked."""

    lead: tuple[str, ...]  # the method's name, and texts such as its number of parameters
    entries: tuple[Entry, ...]
    group: Group = "measured"


@dataclass(frozen=True)
class Block:
    """Rows under one heading: Base, New, Harmonic, or ''."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """A table with its title above it and its notes (the caption) below it.

    small_print: notes about the making of the table, such as versions, which no caption of a paper has.
    """

    title: str
    heads: tuple[str, ...]  # the headings of the lead
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()
    small_print: tuple[str, ...] = ()


def marked(table: Table) -> Table:
    """The same table, with best and second best marked in each column, block and group."""
    # Numbers that are equal as printed share a mark.
    return replace(table, blocks=tuple(replace(b, rows=_mark(b.rows, table.columns)) for b in table.blocks))


def narrowed(table: Table, heads: Collection[str], columns: Collection[str]) -> Table:
    """The same table with these heads and columns alone, in its own order."""
    leads = [i for i, name in enumerate(table.heads) if name in heads]
    kept = [i for i, column in enumerate(table.columns) if column.name in columns]

    def short(row: Row) -> Row:
        lead, entries = tuple(row.lead[i] for i in leads), tuple(row.entries[i] for i in kept)
        return replace(row, lead=lead, entries=entries)

    return replace(
        table,
        heads=tuple(table.heads[i] for i in leads),
        columns=tuple(table.columns[i] for i in kept),
        blocks=tuple(replace(block, rows=tuple(map(short, block.rows))) for block in table.blocks),
    )


def _mark(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[Row, ...]:
    marks: dict[tuple[int, int], Mark] = {}
    for group in {row.group for row in rows} & RANKED:
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
