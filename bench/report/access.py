"""What methods need of a model: what they send and read, which APIs grant that, and what it costs."""

from dataclasses import dataclass

import pandas as pd

from bench.access import CONSENT, answered, runs_on, sent
from bench.answered import DEFAULT, KINDS
from bench.report.frame import Results
from bench.report.style import rank_of
from bench.report.table import Column, Entry, Group
from bench.resolve import needs_of

HEADS = ("Sent", "Answered", "Runs on")
COLUMNS = (Column("Queries to tune", ""), Column("Queries to deploy a batch", ""))
SAID = (
    "Sent: what the method sends to the model besides images. Answered: the least that it has to read of the "
    "model: the label, the best few probabilities (top), all probabilities (probs), all logits, features or "
    "gradients. Runs on: the kinds of prediction API that take the one and answer with the other."
)


@dataclass(frozen=True)
class Access:
    """What one row needs of the model."""

    sent: str
    answered: str
    runs_on: str
    tune: int  # queries that its longest run spent
    deploy: tuple[int, int]  # the least and the most queries that a batch costs the deployed prompt

    @property
    def sold(self) -> bool:
        """Whether a kind of API that is sold takes what the row sends, and answers enough."""
        return self.runs_on != CONSENT

    @property
    def lead(self) -> tuple[str, str, str]:
        """The texts under HEADS."""
        return self.sent, self.answered, self.runs_on

    @property
    def entries(self) -> tuple[Entry, Entry]:
        """The numbers under COLUMNS."""
        low, high = self.deploy
        note = "" if low == high else f" (from {low:,})"
        return Entry(self.tune, digits=0), Entry(high, digits=0, note=note)


def access_of(results: Results, row: str, budget: int) -> Access:
    """What a row needs, after `budget` queries. Where its records differ, the most that one of them needs."""
    cells = results.cells[results.cells["row"] == row]
    trace = results.trace[(results.trace["row"] == row) & (results.trace["at"] <= budget)]
    method, access = cells["method"].iloc[0], cells["access"].iloc[0]
    different = {repr(params): params for params in cells["params"]}.values()
    needs = max((needs_of(method, params, access) for params in different), key=KINDS.index)
    return Access(
        sent(access),
        answered(access, needs),
        ", ".join(runs_on(access, needs)),
        int(trace["spent"].max()),
        deploy_queries(cells),
    )


def deploy_queries(cells: pd.DataFrame) -> tuple[int, int]:
    """The least and the most queries that a batch costs the deployed prompts of a row."""
    return int(cells["deploy_queries"].min()), int(cells["deploy_queries"].max())


def place_of(cells: pd.DataFrame) -> tuple[int, tuple[int, str, str]]:
    """A sort key for the rows of a table: ranked rows first, then those with features, with gradients."""
    first = cells.iloc[0]
    groups: tuple[Group, ...] = ("measured", "features", "white box")
    return groups.index(group_of(cells)), rank_of(first["method"], first["variant"])


def group_of(cells: pd.DataFrame) -> Group:
    """The group of a row: whether it is a reference, and what it had that the others do not have."""
    if cells["white_box"].any():
        return "white box"
    return "features" if cells["reference"].any() else "measured"


def wire_said(cells: pd.DataFrame) -> list[str]:
    """Sentences about what is unusual about the black box of these records."""
    (answers, *others), rounded = cells["answers"].unique(), bool(cells["pixels_8bit"].iloc[0])
    usual = answers == DEFAULT or others  # a table of several answers says them itself
    said = [] if usual else [f"The black box answered with {answers}, not with logits."]
    return said + ["Pixel prompts were rounded to 8 bits."] * rounded


def deployment_said(cells: pd.DataFrame) -> list[str]:
    """A sentence about the rows whose deployed prompt does not cost one query for each batch."""
    costs = {part["label"].iloc[0]: deploy_queries(part) for _, part in cells.groupby("row", sort=False)}
    unusual = {label: cost for label, cost in costs.items() if cost != (1, 1)}
    if not unusual:
        return []
    listed = ", ".join(
        f"{label} {low}" + (f" to {high}" if high != low else "") for label, (low, high) in unusual.items()
    )
    rest = " All other methods need one query." if len(unusual) < len(costs) else ""
    return [f"Queries to deploy a batch of images: {listed}.{rest}"]
