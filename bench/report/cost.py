"""What accuracy costs: dollars at any price, for the tuning of a prompt and for its use.

A query costs what bench/bill.py counts: its images, and the requests that they take. Scoring is left out: it
belongs to the benchmark, not to the method. The calls of a language model are added at the price that their
record states.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from bench.errors import UserError
from bench.remote import AT_ONCE, Declared, Price, requests_for
from bench.report import efficiency, schedule
from bench.report.access import Access, access_of, deploy_queries, group_of, place_of
from bench.report.answers import entry
from bench.report.efficiency import RUN
from bench.report.frame import PAID, Results, points
from bench.report.scores import Scores, scores, seedless
from bench.report.summary import PLUS_MINUS, complete, conditions_said
from bench.report.table import Block, Column, Entry, Row, Table, marked
from bench.report.worth import choice, worth_said
from bench.toml import read_toml
from bench.words import counted, in_dollars

SUMS = (1.0, 10.0, 100.0)  # dollars
IMAGES = 1000  # of deployment
ROUNDING = 1 + 1e-9  # a sum of cents may end a rounding error above its limit


@dataclass(frozen=True)
class Priced(Declared):
    """A file with [price]; it may declare an endpoint as well."""

    url: str = ""
    dialect: str = ""


@dataclass(frozen=True)
class Tariff:
    """A price, and the images of one request."""

    price: Price
    at_once: int = 1


@dataclass(frozen=True)
class Cost:
    """What one row costs. Seeds are averaged first, then data sets.

    dollars: to tune one prompt for one data set, to the end of its run. llm_dollars: the part of them for a
    language model. llm_tokens: 0 if no language model was asked. unpriced: some of its calls have no price.
    gain: points over the hand template; None if there is none. bought: its scores for each sum of dollars.
    deploy: the least and the most dollars for IMAGES images.
    """

    final: Scores
    dollars: float
    llm_dollars: float
    llm_tokens: float
    unpriced: bool
    gain: float | None
    bought: tuple[Scores, ...]
    deploy: tuple[float, float]

    @property
    def per_point(self) -> float | None:
        """Dollars for each point gained; None if nothing was gained, or nothing was paid."""
        return self.dollars / self.gain if self.gain and self.gain > 0 and self.dollars else None


def tariff(path: Path, results: Results) -> Tariff:
    """The [price] of a file. Its dialect, else that of the records, says how many images a request holds.

    Raises UserError if the file is wrong, or if its prices are by the token.
    """
    found = read_toml(path, Priced)
    if found.price is None:
        raise UserError(f'{path} has no price: add [price] with date = "2026-01-31" and image = DOLLARS.')
    if found.price.by_token:
        raise UserError(
            f"{path} has prices by the token, and records do not say how many tokens an image would be: "
            "give image = DOLLARS instead."
        )
    asked = {place.partition("+")[0] for place in results.cells["endpoint"]}
    dialects = {found.dialect} if found.dialect else asked
    return Tariff(found.price, min((AT_ONCE.get(one, 1) for one in dialects), default=1))


def priced(results: Results, tariff: Tariff) -> pd.DataFrame:
    """frame.points with a column `dollars`: what the run has paid at that checkpoint.

    The calls of a language model are paid as a whole from the first query on: records do not say when.
    """
    trace, keys = results.trace, list(RUN)
    spoken = results.cells.groupby(keys)["llm_dollars"].first().fillna(0.0).astype(float)
    llm = trace[keys].join(spoken, on=keys)["llm_dollars"].to_numpy() * (trace["at"] > 0)
    batch = int(results.cells["batch_size"].iloc[0])
    requests = trace["spent"] * requests_for(batch, tariff.at_once)
    price = tariff.price
    dollars = trace["at_image_queries"] * price.image + requests * price.request + llm
    return points(replace(results, trace=trace.assign(dollars=dollars.astype(float))), ("dollars",))


def paid(frame: pd.DataFrame, queries: int) -> dict[str, float]:
    """Row -> dollars to tune one prompt for one data set, until so many queries. frame: of `priced`."""
    end = efficiency.at_budget(frame, queries)
    by_row = end.groupby(["row", "dataset"])["dollars"].mean().groupby("row").mean()
    return {str(row): float(amount) for row, amount in by_row.items()}


def within(frame: pd.DataFrame, dollars: float) -> pd.DataFrame:
    """One row per run: its last checkpoint that so many dollars pay for. frame: of `priced`."""
    reached = frame[frame["dollars"] <= dollars * ROUNDING].reset_index(drop=True)
    return reached.loc[reached.groupby(RUN)["at"].idxmax()].reset_index(drop=True)


def curve(runs: pd.DataFrame) -> pd.DataFrame:
    """Average accuracy of one row by dollars: columns dollars, mean and std over seeds. runs: of `priced`."""
    grid = np.unique(runs["dollars"])
    bought = {
        key: run["accuracy"].to_numpy()[np.searchsorted(run["dollars"], grid * ROUNDING, "right") - 1]
        for key, run in runs.sort_values("at").groupby(["dataset", "seed"])
    }
    wide = pd.DataFrame(bought).T.rename_axis(["dataset", "seed"])
    sets = runs["dataset"].nunique()
    whole = wide.groupby("seed").filter(lambda part: len(part) == sets)
    by_seed = whole.groupby("seed").mean()
    return pd.DataFrame({"dollars": grid, "mean": by_seed.mean(), "std": by_seed.std().fillna(0.0)})


def costs(results: Results, tariff: Tariff, sums: Sequence[float] = SUMS) -> dict[str, Cost]:
    """The cost of every row, from the records of one table. The page and the table show it."""
    frame = priced(results, tariff)
    budget = int(results.cells["budget"].max())
    final = scores(efficiency.at_budget(frame, budget), "dataset")
    tuned = paid(frame, budget)
    bought = [scores(within(frame, one), "dataset") for one in sums]
    start = efficiency.zero_shot(frame)
    facts = {str(row): part for row, part in results.cells.groupby("row")}
    return {
        row: Cost(
            one,
            tuned[row],
            *_language_model(facts[row]),
            _gain(one, start) if facts[row]["queries"].max() > 0 else None,
            tuple(found[row] for found in bought),
            deployment(facts[row], tariff),
        )
        for row, one in final.items()
    }


def deployment(cells: pd.DataFrame, tariff: Tariff) -> tuple[float, float]:
    """The least and the most dollars that a row's prompts cost for IMAGES images."""
    requests = requests_for(IMAGES, tariff.at_once)
    low, high = (tariff.price.of(n * IMAGES, n * requests) for n in deploy_queries(cells))
    return low, high


def _language_model(cells: pd.DataFrame) -> tuple[float, float, bool]:
    """Dollars and tokens of a row's language model, a run, and whether some calls have no price."""
    runs = cells.drop_duplicates(["dataset", "seed"]).groupby("dataset")
    dollars, tokens = (
        float(runs[name].apply(lambda one: one.astype(float).fillna(0.0).mean()).mean())
        for name in ("llm_dollars", "llm_tokens")
    )
    return dollars, tokens, unpriced(cells)


def unpriced(cells: pd.DataFrame) -> bool:
    """Whether some calls of a language model have no price, so that a row's dollars are too few."""
    return bool((cells["llm_calls"].fillna(0).astype(float).gt(0) & cells["llm_dollars"].isna()).any())


def _gain(final: Scores, start: dict[str, float]) -> float | None:
    """Points over the hand template, on the row's data sets; None if one of them has none."""
    if not all(name in start for name in final.values.index):
        return None
    return final.average - float(np.mean([start[name] for name in final.values.index]))


# The table


def cost_table(
    results: Results, tariff: Tariff, sums: Sequence[float] = SUMS, partial: bool = False
) -> Table:
    """Rows: methods. Columns: accuracy, seeds, dollars to tune and per point, what sums buy, deployment.

    Raises UserError for missing cells unless `partial`.
    """
    results, missing_said = complete(results, partial)
    found, cells = costs(results, tariff, sums), results.cells
    facts = {str(row): part for row, part in cells.groupby("row")}
    order = sorted(found, key=lambda row: place_of(facts[row]))
    talks = any(one.llm_tokens for one in found.values())
    same, seeds = seedless(cells), cells["seed"].nunique()
    cut = {row for row in schedule.bound(cells) if found[row].dollars > min(sums) * ROUNDING}
    budget = int(cells["budget"].max())
    needs = {row: access_of(results, row, budget) for row in found}
    digits = Digits(
        digits_of(one.dollars for one in found.values()),
        digits_of(one.per_point or 0.0 for one in found.values()),
        digits_of(one.llm_dollars for one in found.values()),
        digits_of(amount for one in found.values() for amount in one.deploy),
    )
    rows = tuple(
        Row(
            (
                facts[row]["label"].iloc[0] + (schedule.SIGN if row in cut else ""),
                needs[row].runs_on,
            ),
            _entries(found[row], 0 if row in same else seeds, talks, digits),
            group_of(facts[row]),
        )
        for row in order
    )
    columns = (
        Column("Accuracy"),
        Column("Seeds", ""),
        Column("$ to tune", ""),
        Column("$ per point", "low"),
        *(Column(f"for {in_dollars(one)}") for one in sums),
        *((Column("LLM $", ""), Column("LLM tokens", "")) if talks else ()),
        Column(f"$ per {IMAGES:,} images", ""),
    )
    suite, protocol = cells[["suite", "protocol"]].iloc[0]
    notes = (
        *_worth_said(found, facts, needs, same, sums),
        *_said(found, facts, tariff),
        *wire_paid(cells),
        *([PLUS_MINUS] if seeds > 1 else []),
        *conditions_said(results),
        *([schedule.said(budget)] if cut else []),
        *missing_said,
    )
    title = f"Accuracy (%) and dollars, {protocol}, {suite} suite"
    return marked(Table(title, ("Method", "Runs on"), columns, (Block("", rows),), notes))


@dataclass(frozen=True)
class Digits:
    """Decimals of the columns of dollars."""

    tune: int
    per_point: int
    llm: int
    deploy: int


def _entries(cost: Cost, seeds: int, talks: bool, digits: Digits) -> tuple[Entry, ...]:
    low, high = (round(one, digits.deploy) for one in cost.deploy)
    note = "" if low == high else f" (from {low:,.{digits.deploy}f})"
    n = len(cost.final.average_by_seed)
    return (
        entry(cost.final, seeds),
        Entry(n if seeds else None, digits=0),
        Entry(cost.dollars, digits=digits.tune),
        Entry(cost.per_point, digits=digits.per_point),
        *(entry(one, seeds) for one in cost.bought),
        *((Entry(cost.llm_dollars, digits=digits.llm), Entry(cost.llm_tokens, digits=0)) if talks else ()),
        Entry(high, digits=digits.deploy, note=note),
    )


def digits_of(amounts: Iterable[float]) -> int:
    """Decimals with which the smallest sum shows two digits that are not 0: 2 to 6."""
    smallest = min((one for one in amounts if one > 0), default=1.0)
    return int(np.clip(1 - np.floor(np.log10(smallest)), 2, 6))


def _worth_said(
    found: dict[str, Cost],
    facts: dict[str, pd.DataFrame],
    needs: dict[str, Access],
    same: frozenset[str],
    sums: Sequence[float],
) -> list[str]:
    """Sentences: the best ranked method for each sum, and whether the test decides that."""
    ranked = [row for row in found if group_of(facts[row]) == "measured"]
    if not ranked:
        return []
    choices = {
        amount: choice({row: found[row].bought[place] for row in ranked}, same)
        for place, amount in enumerate(sums)
    }
    sold = [row for row in ranked if needs[row].sold]
    return worth_said(choices, sold, {row: facts[row]["label"].iloc[0] for row in ranked})


def _said(found: dict[str, Cost], facts: dict[str, pd.DataFrame], tariff: Tariff) -> list[str]:
    price = tariff.price
    source = f" ({price.source})" if price.source else ""
    said = [
        f"Prices of {price.date}{source}: {in_dollars(price.image)} an image, {in_dollars(price.request)} a "
        f"request; images of a request: {tariff.at_once}. $ to tune: one prompt for one data set, to the end "
        "of its run, without scoring. $ per point: the same, for each point gained over the hand template "
        "(–: nothing was gained, or nothing paid). A sum buys the accuracy at the last checkpoint that it "
        "pays for. Runs on: the kinds of prediction API that can be asked at all (see `bench table ranks`)."
    ]
    if any(one.llm_tokens for one in found.values()):
        said.append(
            "LLM: a language model's part of the dollars to tune, at the prices in the records; it is paid "
            "from the first query on."
        )
    unpriced = [facts[row]["label"].iloc[0] for row, one in found.items() if one.unpriced]
    if unpriced:
        said.append(
            f"Calls of a language model without a price are not in the dollars: {', '.join(unpriced)}."
        )
    return said


def wire_paid(cells: pd.DataFrame) -> list[str]:
    """A sentence: what runs at an endpoint paid when they were made, which is no row's cost at this price."""
    runs = cells.drop_duplicates("path")
    known = runs[PAID].dropna().astype(float)
    if not known.sum():
        return []
    amount = f"${known.sum():,.{digits_of([known.sum()])}f}"
    return [
        f"Of these {counted(len(runs), 'run')}, {len(known):,} asked an endpoint, and paid {amount} in all "
        "when they were made, as their records say (run.wire.dollars): at the price declared then, with "
        "scoring, and without answers that an earlier run had paid for. The dollars of this table are other "
        "ones: those of tuning alone, at the price above."
    ]
