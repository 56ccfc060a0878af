"""Statistics over seeds and over data sets. Seeds are averaged first; data sets after."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def sd(values: Sequence[float] | pd.Series) -> float | None:
    """Sample standard deviation (n - 1); None for fewer than two values."""
    return float(np.std(np.asarray(values), ddof=1)) if len(values) > 1 else None


def t_half_width(values: Sequence[float] | pd.Series, level: float = 0.95) -> float | None:
    """Half the width of Student's t interval of the mean; None for fewer than two values."""
    from scipy.special import stdtrit

    deviation = sd(values)
    if deviation is None:
        return None
    return float(stdtrit(len(values) - 1, 0.5 + level / 2) * deviation / np.sqrt(len(values)))


def spread(values: Sequence[float] | pd.Series, kind: str) -> float | None:
    """What stands behind the ±: 'sd' or 'ci'."""
    return sd(values) if kind == "sd" else t_half_width(values)
