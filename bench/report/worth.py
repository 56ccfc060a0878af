"""Which method a sum of dollars should buy: from an API that is sold, and with a provider's consent.

No API that is sold takes a soft context or visual tokens (see bench/access.py), so a method that sends these
can be bought by nobody who has only a price list. The two readers get an answer each.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.report import stats
from bench.report.scores import Scores
from bench.report.summary import compared
from bench.words import in_dollars

SOLD = "From an API that is sold"
ANY = "With a provider's consent, which methods of soft context and visual tokens need"
TEST = (
    "The test: paired t tests over data sets between the accuracies that a sum buys, corrected for all pairs "
    "of the ranked methods of this table (docs/statistics.md)."
)
UNTESTED = (
    f"A test of these differences needs at least {stats.LEAST_SETS} data sets, and {stats.LEAST_SEEDS} seeds "
    "of each method."
)


@dataclass(frozen=True)
class Choice:
    """The ranked methods after one sum of dollars.

    order: rows that have every data set, the best average first. comparison: of those with enough seeds.
    """

    order: tuple[str, ...]
    average: Mapping[str, float]
    comparison: stats.Comparison


def choice(bought: Mapping[str, Scores], same: Collection[str]) -> Choice:
    """The choice among these rows. same: the rows that are the same for every seed."""
    sets = max(len(one.values) for one in bought.values())
    whole = {row: one for row, one in bought.items() if len(one.values) == sets}
    average = {row: round(one.average, stats.DECIMALS) for row, one in whole.items()}
    order = tuple(sorted(whole, key=lambda row: (-average[row], row)))
    matrix = pd.DataFrame({row: whole[row].values for row in order}).T.round(stats.DECIMALS)
    seeds = {row: int(one.by_seed.count().min()) for row, one in whole.items() if row not in same}
    return Choice(order, average, compared(matrix, seeds))


def worth_said(
    choices: Mapping[float, Choice], sold: Collection[str], labels: Mapping[str, str]
) -> list[str]:
    """Sentences: the best method for each sum, first among the rows that an API that is sold accepts.

    choices: by dollars. labels: row -> the method's name.
    """
    bought = [
        _buys(amount, one, sold, labels) for amount, one in choices.items() if set(one.order) & set(sold)
    ]
    said = [f"{SOLD}: {'; '.join(bought) or 'none takes what the methods of this table send'}."]
    if any(set(one.order) - set(sold) for one in choices.values()):
        said.append(f"{ANY}: {'; '.join(_more(*pair, sold, labels) for pair in choices.items())}.")
    tested = any(one.comparison.differences for one in choices.values())
    return [*said, TEST if tested else UNTESTED]


def _more(amount: float, one: Choice, sold: Collection[str], labels: Mapping[str, str]) -> str:
    """What the sum buys if every method may be used."""
    if one.order[0] in sold:
        return f"{in_dollars(amount)} buys nothing better"
    return _buys(amount, one, one.order, labels)


def _buys(amount: float, one: Choice, allowed: Collection[str], labels: Mapping[str, str]) -> str:
    order = [row for row in one.order if row in allowed]
    best = order[0]
    said = f"{in_dollars(amount)} buys at best {one.average[best]:.1f} % ({labels[best]}"
    return f"{said}{_lead(one, order, labels)})" if len(order) > 1 else f"{said}, the only such method)"


def _lead(one: Choice, order: Sequence[str], labels: Mapping[str, str]) -> str:
    """How far the first row is ahead of the next one, and whether the test decides that."""
    best, second = order[:2]
    points = one.average[best] - one.average[second]
    ahead = f"{points:.1f} points ahead of" if points >= 0.05 else "less than 0.1 points ahead of"
    said = f"; {ahead if points else 'the same average as'} {labels[second]}, "
    gap = one.comparison.differences.get((best, second))
    if gap is None:
        return f"{said}not tested"
    if not gap.real:
        return f"{said}not decided by the test"
    others = [(row, one.comparison.differences.get((best, row))) for row in order[2:]]
    also = [labels[row] for row, other in others if other is not None and not other.real]
    return f"{said}decided by the test" + (f", but not the lead over {' and '.join(also)}" if also else "")
