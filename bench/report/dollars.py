"""What the page says of dollars: accuracy against them, and the table of `bench table cost`, for each tab."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.remote import Price
from bench.report import cost
from bench.report.board import AtBudget, Runs, read_from
from bench.report.table import Table


@dataclass(frozen=True)
class Asked:
    """The file of prices, and the sums whose worth is shown."""

    file: Path
    sums: tuple[float, ...] = cost.SUMS


@dataclass(frozen=True)
class Dollars:
    """The dollars of one tab.

    source: where the prices come from. paid: number of queries -> row -> dollars to tune one prompt until
    then; a row whose language model has no price is left out. notes: what is missing here.
    """

    budget: int
    source: str
    paid: Mapping[int, Mapping[str, float]]
    table: Table
    notes: tuple[str, ...]

    @property
    def free(self) -> bool:
        """Whether nothing costs anything."""
        return not any(amount for rows in self.paid.values() for amount in rows.values())


def dollars_of(asked: Asked, runs: Mapping[int, Runs], budgets: Sequence[AtBudget]) -> Dollars:
    """The dollars of the tab with these runs. Raises UserError if the file is wrong (see cost.tariff)."""
    longest = runs[max(runs)]
    tariff = cost.tariff(asked.file, longest.results)
    cells = longest.results.cells
    short = {str(row): part["label"].iloc[0] for row, part in cells.groupby("row") if cost.unpriced(part)}
    frames = {budget: cost.priced(one.results, tariff) for budget, one in runs.items()}
    paid = {at.budget: cost.paid(frames[read_from(runs, at.budget).budget], at.budget) for at in budgets}
    return Dollars(
        longest.budget,
        _source(asked.file, tariff.price),
        {mark: {row: one for row, one in found.items() if row not in short} for mark, found in paid.items()},
        _best_first(cost.cost_table(longest.results, tariff, asked.sums, partial=True)),
        tuple(_notes(longest, sorted(short.values()))),
    )


def _best_first(table: Table) -> Table:
    """The same table in the order of the page: the best accuracy first, and references last."""
    (block,) = table.blocks
    groups = list(dict.fromkeys(row.group for row in block.rows))
    rows = sorted(block.rows, key=lambda row: (groups.index(row.group), -(row.entries[0].value or 0)))
    return replace(table, blocks=(replace(block, rows=tuple(rows)),))


def _source(file: Path, price: Price) -> str:
    """Which file, which currency, of when, from where."""
    said = f"The prices are those of {file.name}, in dollars, as of {price.date}"
    return f"{said}, from {price.source}." if price.source else f"{said}. The file does not say their source."


def _notes(longest: Runs, short: Sequence[str]) -> list[str]:
    said = []
    if short:
        said.append(f"Not in the picture of dollars, for want of a price: {', '.join(short)}.")
    if longest.variants is not None:
        said.append("Variants have no dollars here; `bench leaderboard --variants` ranks and prices them.")
    return said
