"""Rows whose schedule depends on the budget: a run of 500 queries is not the beginning of one of 5,000."""

import pandas as pd

SIGN = " §"


def bound(cells: pd.DataFrame) -> frozenset[str]:
    """The rows whose records say that their schedule depends on the budget; silent records are not marked."""
    return frozenset(cells.loc[cells["schedule"] == "budget", "row"])


def said(budget: int) -> str:
    """The footnote to the sign, for numbers that were read from runs of `budget` queries."""
    return (
        f"§ read from a run of {budget:,} queries whose schedule depends on the budget: a run that had been "
        "given fewer queries would have taken other steps, so its accuracy may be another."
    )
