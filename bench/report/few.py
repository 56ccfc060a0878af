"""Test sets of few images: what a table says of them. The page shows the same interval at each accuracy."""

import pandas as pd

from bench.report import stats
from bench.report.order import shown


def few_images_said(cells: pd.DataFrame) -> list[str]:
    """A sentence for the test sets with fewer than stats.SMALL images; none if there is no such set.

    It names each set's images, and the most by which Wilson's 95 % interval leaves an accuracy of the table
    open there.
    """
    few = cells[(cells["n_test"] > 0) & (cells["n_test"] < stats.SMALL)]
    if few.empty:
        return []
    listed = []
    for (suite, dataset, test), part in few.groupby(["suite", "dataset", "test"], sort=False):
        side = "" if test == "test" else f", {shown(suite, test)}"
        off = max(_off(*one) for one in part[["accuracy", "n_test"]].itertuples(index=False))
        listed.append(f"{shown(suite, dataset)}{side} ({int(part['n_test'].min())}; up to {off:.1f} points)")
    return [
        f"Test sets of fewer than {stats.SMALL} images: {'; '.join(listed)}. In brackets: the images, and "
        "how far an end of the binomial 95 % interval (Wilson) lies from an accuracy on them. ± does not "
        "contain that, because all seeds have the same test images."
    ]


def _off(accuracy: float, images: int) -> float:
    """How far the farther end of Wilson's interval lies from an accuracy, in points."""
    low, high = stats.wilson(accuracy, int(images))
    return max(accuracy - low, high - accuracy)
