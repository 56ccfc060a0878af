"""Marks rows whose schedule depends on the budget, so that a short run is not the start of a longer one."""

import pandas as pd

from bench.words import counted

SIGN = " §"


def bound(cells: pd.DataFrame) -> frozenset[str]:
    """The rows whose records say that their schedule depends on the budget."""
    return frozenset(cells.loc[cells["schedule"] == "budget", "row"])


def said(budget: int) -> str:
    """The footnote that explains the sign, for numbers that were read from runs of `budget` queries."""
    return (
        f"§ read from a run of {counted(budget, 'query')}. The method's schedule depends on the budget, so a "
        "run with a smaller budget takes other steps and may have another accuracy."
    )
