"""Two methods compared image by image: which images does only one of them get right?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.cell import ELSEWHERE
from bench.errors import UserError
from bench.outcome import bits
from bench.record import read
from bench.report.frame import Results, refuse_missing
from bench.report.order import arrange, place_said, shown
from bench.report.scores import seedless
from bench.report.summary import conditions_said
from bench.report.table import Block, Column, Entry, Row, Table
from bench.words import absent

POOLED = "all"


@dataclass(frozen=True)
class Paired:
    """Numbers of images: both right, only the first method right, only the second, neither."""

    both: int
    first: int
    second: int
    neither: int

    def __add__(self, other: "Paired") -> "Paired":
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Paired(*(mine + theirs for mine, theirs in pairs))

    @property
    def p(self) -> float:
        """The two-sided p of McNemar's exact test: of the images that only one gets right, each gets half."""
        from scipy.stats import binomtest

        alone = self.first + self.second
        return float(binomtest(self.first, alone).pvalue) if alone else 1.0


def paired(a: np.ndarray, b: np.ndarray) -> Paired:
    """Compare two methods. a, b: bool [N], whether each image was answered correctly."""
    counts = ((a & b).sum(), (a & ~b).sum(), (~a & b).sum(), (~a & ~b).sum())
    return Paired(*map(int, counts))


def pairs_table(results: Results, methods: Sequence[str] | None = None, partial: bool = False) -> Table:
    """The table of two methods, from the records of one table: a row for each test set and seed.

    methods: their names, in order. Raises UserError if there are not two rows, if records hold no outcomes of
    single images, or for missing cells unless `partial`.
    """
    a, b = _two_rows(results, methods)
    missing = refuse_missing(results, partial=partial)
    labels = results.cells.drop_duplicates("row").set_index("row")["label"]
    rows: list[Row] = []
    for name, by_seed in _by_test(results, a, b):
        parts = dict(by_seed)
        if len(parts) > 1:
            parts[POOLED] = sum(by_seed.values(), start=Paired(0, 0, 0, 0))
        rows += [Row((name, seed), _entries(part)) for seed, part in parts.items()]
    if not rows:
        raise UserError(f"{a} and {b} share no data set and seed: run both on the same ones")
    columns = ("Both right", f"Only {labels[a]}", f"Only {labels[b]}", "Neither", "p")
    protocol = results.cells["protocol"].iloc[0]
    return Table(
        f"{labels[a]} and {labels[b]} on the same images, {protocol}, {place_said(results.cells)}",
        ("Test set", "Seed"),
        tuple(Column(name, "") for name in columns),
        (Block("", tuple(rows)),),
        (
            *SAID,
            *conditions_said(results),
            *([f"This table is partial: {absent(len(missing))}."] if missing else []),
        ),
    )


SAID = (
    "Numbers of test images. p: McNemar's exact test, two-sided, on the images that only one of the two "
    "methods gets right. It is not corrected for the number of test sets and seeds.",
    "The test is about these deployed prompts on these images. It does not cover the randomness of training: "
    "with another seed, a method has another prompt. For that, see `bench table ranks`.",
    f"Seed {POOLED}: the sum over seeds. It counts an image once for each seed, as if these answers were "
    "independent. They are not, so this p is often too small.",
)


def _entries(part: Paired) -> tuple[Entry, ...]:
    counts = (part.both, part.first, part.second, part.neither)
    return (*(Entry(n, digits=0) for n in counts), Entry(part.p, digits=2, form="g"))


def _two_rows(results: Results, methods: Sequence[str] | None) -> tuple[str, str]:
    """The two rows, in the order in which the methods were asked for."""
    first = results.cells.drop_duplicates("row")
    asked = list(methods or ())
    rows = sorted(first["row"], key=lambda row: (row not in asked, asked.index(row) if row in asked else 0))
    if len(rows) != 2:
        raise UserError(
            f"a table of pairs compares two methods, and the records hold {len(rows)} "
            f"({', '.join(rows[:8])}): choose two, e.g. --methods zip,blackvip"
        )
    return rows[0], rows[1]


def _by_test(results: Results, a: str, b: str) -> Iterator[tuple[str, dict[str, Paired]]]:
    """The name of each test set, and its comparison by seed."""
    cells, same = results.cells, seedless(results.cells)
    suite, protocol = cells[["suite", "protocol"]].iloc[0]
    for dataset in arrange(suite, cells["dataset"]):
        for test, part in cells[cells["dataset"] == dataset].groupby("test", sort=False):
            paths: dict[str, dict[int, str]] = {
                str(row): dict(zip(one["seed"], one["path"], strict=True)) for row, one in part.groupby("row")
            }
            if len(paths) < 2:
                continue
            seeds = {row: sorted(paths[row]) for row in (a, b)}
            tuned = [seeds[row] for row in (a, b) if row not in same]
            shared = sorted(set.intersection(*map(set, tuned))) if tuned else seeds[a][:1]
            found = {}
            for seed in shared:
                # a row that is the same for every seed is compared with each seed of the other
                one, two = (paths[row].get(seed, paths[row][seeds[row][0]]) for row in (a, b))
                found[str(seed)] = _compared(one, two, str(test))
            yield _name(suite, protocol, dataset, str(test)), found


def _name(suite: str, protocol: str, dataset: str, test: str) -> str:
    """A test set's name: 'digits', 'digits, new', or for the protocols with targets 'shapes to digits'."""
    if protocol in ELSEWHERE:
        return f"{shown(suite, dataset)} to {shown(suite, test)}"
    return shown(suite, dataset) + (f", {test}" if test != "test" else "")


def _compared(a: str, b: str, test: str) -> Paired:
    first, second = correct(a, test), correct(b, test)
    if len(first) != len(second):
        raise UserError(f"{a} and {b} were scored on different numbers of images: make the older one again")
    return paired(first, second)


def correct(path: str, test: str) -> np.ndarray:
    """bool [N]: whether a record's prompt answered each image of a test set correctly. Raises UserError."""
    record = read(Path(path))
    if test not in record.outcomes:
        raise UserError(
            f"{path} does not say which images of {test} were answered correctly; it was made before records "
            "did. Make it again: `bench run --retry-stale`"
        )
    return bits(record.outcomes[test])
