"""Audits the papers' tables: every printed average and harmonic mean is computed again from its cells.

A number printed with one decimal stands for an interval of ±0.05. Means and harmonic means rise with each
cell, so the intervals of the cells give the interval of the values that the paper can have rounded. A printed
number outside this interval is wrong, however the cells were rounded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.report import published
from bench.report.frame import harmonic
from bench.report.published import Source
from bench.report.style import name_of
from bench.report.table import Block, Column, Entry, Row, Table

EPSILON = 1e-9  # in binary floating point, 66.15 - 66.1 is a little less than 0.05


@dataclass(frozen=True)
class Interval:
    """All values that a number can have had before it was rounded."""

    low: float
    high: float

    def meets(self, other: "Interval") -> bool:
        """Whether a value lies in both intervals."""
        return self.low <= other.high + EPSILON and other.low <= self.high + EPSILON

    @property
    def middle(self) -> float:
        """The middle of the interval."""
        return (self.low + self.high) / 2


@dataclass(frozen=True)
class Check:
    """One printed number, and the values that its cells allow under each convention of averaging."""

    source: Source
    place: str  # e.g. 'RN50, 16 shots'; '' if the paper has one table only
    method: str
    what: str  # 'average', 'base average', 'harmonic mean of SVHN', 'harmonic average'
    printed: float
    allowed: dict[str, Interval]  # convention -> interval

    @property
    def follows(self) -> list[str]:
        """The conventions that the printed number agrees with."""
        printed = around(self.printed, self.source.slack)
        return [name for name, interval in self.allowed.items() if interval.meets(printed)]

    @property
    def wrong(self) -> bool:
        """Whether no convention allows the printed number."""
        return not self.follows

    def should(self, convention: str) -> str:
        """The value under a convention, as text; with its range if rounding leaves several values open."""
        interval, digits = self.allowed[convention], self.source.digits
        ends = dict.fromkeys(f"{x:.{digits}f}" for x in (interval.low, interval.middle, interval.high))
        return f"{interval.middle:.{digits}f}" + (f" ({min(ends)} to {max(ends)})" if len(ends) > 1 else "")


MEAN = "mean of the cells"
CELL = "harmonic mean of base and new"
OF_AVERAGES = "harmonic mean of the averages"
OF_CELLS = "mean of the harmonic means"


def audit() -> list[Check]:
    """Check every printed average and harmonic mean of every published table."""
    return [check for source in published.SOURCES for check in _source(source)]


def around(value: float, slack: float) -> Interval:
    """The interval that a printed value stands for."""
    return Interval(value - slack, value + slack)


def mean(intervals: Sequence[Interval]) -> Interval:
    """The interval of the mean of numbers with these intervals."""
    n = len(intervals)
    return Interval(sum(i.low for i in intervals) / n, sum(i.high for i in intervals) / n)


def harmonic_of(a: Interval, b: Interval) -> Interval:
    """The interval of the harmonic mean, which rises with both numbers."""
    return Interval(float(harmonic(a.low, b.low)), float(harmonic(a.high, b.high)))


def _source(source: Source) -> list[Check]:
    if not source.average:
        return []
    frame = published.load(source)
    if source.protocol == "ood":  # the average is over the shifted sets, without the tuned one
        frame = frame[frame["dataset"] != "ImageNet"]
    checks = []
    several = frame["backbone"].nunique() > 1
    for (backbone, method), part in frame.groupby(["backbone", "method"], sort=False):
        place = str(backbone) if several else ""
        cells: dict[str, dict[str, float]] = {}
        for block, rows in part.groupby("block", sort=False):
            cells[str(block)] = dict(zip(rows["dataset"], rows["accuracy"], strict=True))
        checks += _row(source, place, str(method), cells)
    return checks


def _row(source: Source, place: str, method: str, cells: Mapping[str, Mapping[str, float]]) -> list[Check]:
    def intervals(block: str) -> dict[str, Interval]:
        return {d: around(v, source.slack) for d, v in cells[block].items() if d != source.average}

    checks = []
    for block in cells:
        if block != "Harmonic":
            allowed = {MEAN: mean(list(intervals(block).values()))}
            what = f"{block.lower()} average".strip()
            checks.append(Check(source, place, method, what, cells[block][source.average], allowed))
    if "Harmonic" not in cells:
        return checks
    base, new = intervals("Base"), intervals("New")
    for dataset in base:
        allowed = {CELL: harmonic_of(base[dataset], new[dataset])}
        printed = cells["Harmonic"][dataset]
        checks.append(Check(source, place, method, f"harmonic mean of {dataset}", printed, allowed))
    averages = {
        OF_AVERAGES: harmonic_of(mean(list(base.values())), mean(list(new.values()))),
        OF_CELLS: mean([harmonic_of(base[d], new[d]) for d in base]),
    }
    printed = cells["Harmonic"][source.average]
    return [*checks, Check(source, place, method, "harmonic average", printed, averages)]


def table(checks: Sequence[Check]) -> Table:
    """A table of the printed numbers that cannot be right, and of the convention of each printed average."""
    wrong = [c for c in checks if c.wrong]
    averages = [c for c in checks if "average" in c.what]
    blocks = (
        Block(f"Cannot be right ({len(wrong)} of {len(checks)} numbers)", tuple(map(_line, wrong))),
        Block("Conventions of the printed averages", tuple(map(_line, averages))),
    )
    heads = ("Table", "Row", "Number", "Follows", "Should be")
    note = (
        "A number with one decimal stands for ±0.05, one with two decimals for ±0.005. The averages are "
        "computed "
        "with these intervals."
    )
    notes = (*mixed(checks), note)
    shown = tuple(block for block in blocks if block.rows)
    return Table("Audit of the published tables", heads, (Column("Printed", ""),), shown, notes)


def mixed(checks: Sequence[Check]) -> list[str]:
    """One sentence for each table whose rows follow different conventions, so that they do not compare."""
    found = []
    for source in published.SOURCES:
        choices = [c for c in checks if c.source == source and len(c.allowed) > 1]
        if choices and not set.intersection(*(set(c.follows) for c in choices)):
            rows = "; ".join(f"{name_of(c.method)} {' or '.join(c.follows) or 'neither'}" for c in choices)
            found.append(
                f"{source.paper}, {source.protocol}: the rows follow different conventions ({rows})."
            )
    return found


def _line(check: Check) -> Row:
    title = f"{check.source.paper}, {check.source.protocol}" + (f", {check.place}" if check.place else "")
    should = "; ".join(
        f"{check.should(name)}" + (f" as {name}" if len(check.allowed) > 1 else "") for name in check.allowed
    )
    follows = " or ".join(check.follows) or "nothing"
    lead = (title, name_of(check.method), check.what, follows, should)
    return Row(lead, (Entry(check.printed, digits=check.source.digits),))
