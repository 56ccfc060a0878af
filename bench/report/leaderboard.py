"""The leaderboard: one web page, made from records. Its layout is in leaderboard.html.j2."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bench.answered import DEFAULT, parse
from bench.errors import UserError
from bench.report import efficiency, published
from bench.report.access import SAID, access_of, group_of, wire_said
from bench.report.drawing import rows_of
from bench.report.frame import WIRE, Results, missing_cells, points, select
from bench.report.order import arrange, shown
from bench.report.render import html
from bench.report.style import params_text
from bench.report.summary import HARMONIC, PLUS_MINUS, TEST, Standing, savings, standing, verdict
from bench.report.table import Entry
from bench.report.verified import summed
from bench.words import absent, counted

GROUP = ["suite", "protocol", "backbone", "shots", "batch_size", "augment", *WIRE]
MARKS = (100, 500, 1000, 5000)  # numbers of queries that get a table
# What frame.points() gives for each protocol.
METRIC = {
    "few-shot": "Accuracy is measured on the test set.",
    "base-to-new": f"Accuracy is {HARMONIC}",
    "cross-dataset": "Accuracy is the mean over the target data sets, without the one that was tuned on.",
    "ood": "Accuracy is the mean over the shifted test sets, without the data set that was tuned on.",
}
BADGES = {"features": "with features", "white box": "with gradients (white box)", "published": "published"}
HEADLINE = 500  # queries; the headlines are about this number and the whole budget


@dataclass(frozen=True)
class Line:
    """One row of a table, as the template prints it. kind: ranked, features, white box or published."""

    row: str
    label: str
    kind: str
    rank: int | None
    ties: str
    access: str
    sent: str
    answered: str
    runs_on: str
    params: int | None
    params_text: str
    queries: Entry
    deploy: Entry
    accuracy: float
    spread: float | None
    average_rank: float | None
    hardware: str
    date: str
    link: str
    records: int
    verified: str  # how many of the records were read, scored again and run again
    by_set: tuple[float, ...]


@dataclass(frozen=True)
class AtBudget:
    """The table of one tab after one number of queries."""

    budget: int  # this number of queries
    origin: str  # from which runs the numbers were read
    verdict: str
    lines: tuple[Line, ...]
    footnotes: tuple[str, ...]


@dataclass(frozen=True)
class Tab:
    """One suite and protocol (and one backbone, shots and batch size, if there are several)."""

    title: str
    setting: str
    headline: tuple[str, ...]
    notes: tuple[str, ...]
    datasets: tuple[str, ...]
    budgets: tuple[AtBudget, ...]
    curves: dict[str, Any]


def page(results: Results, home: Path, variants: bool = False) -> str:
    """The page as HTML. home: the folder of the page; links to records are relative to it.

    Rows with overridden parameters are left out unless `variants`, because every further row makes it harder
    to tell the methods apart.
    Raises UserError if there are no finished records.
    """
    from jinja2 import Environment, FileSystemLoader

    if not variants:
        results = without_variants(results)
    if results.cells.empty:
        raise UserError("no finished records for a leaderboard: make some with `bench run`")
    tabs = list(_tabs(results, home))
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("leaderboard.html.j2").render(
        tabs=tabs,
        published=[html(published.example(s)) for s in published.SOURCES],
        badges=BADGES,
        explained=f"{PLUS_MINUS} {TEST} {SAID}",
        damaged=len(results.damaged),
        failed=len(results.failed),
    )


def without_variants(results: Results) -> Results:
    """The records of the methods with the parameters of their files and suites, without overrides.

    A method that asks a language model has no default model, so its rows name one and nothing else.
    """
    asking = results.cells[results.cells["llm_calls"].notna()]
    named = {o.row for o in asking.itertuples() if set(o.overrides) == {"model"}}
    kept = {name: getattr(results, name) for name in ("cells", "trace", "failed")}
    return replace(
        results, **{name: f[(f["variant"] == "") | f["row"].isin(named)] for name, f in kept.items()}
    )


def _tabs(results: Results, home: Path) -> Iterator[Tab]:
    tested = results.cells[results.cells["score"] == "test"]
    groups = [dict(zip(GROUP, key, strict=True)) for key, _ in tested.groupby(GROUP)]
    order = {name: i for i, name in enumerate(published.TITLES)}

    def place(group: dict[str, Any]) -> tuple[Any, ...]:
        """The mini suite and the usual answers come first."""
        level = group["answers"]
        first = (group["suite"] != "mini", group["suite"], order[group["protocol"]])
        return (*first, level != DEFAULT, parse(level).fineness)

    for group in sorted(groups, key=place):
        yield _tab(results, group, groups, home)


def _tab(results: Results, group: dict[str, Any], groups: Sequence[dict[str, Any]], home: Path) -> Tab:
    cells = results.cells
    mine = (cells[GROUP] == pd.Series(group)).all(axis=1) & (cells["score"] == "test")
    runs = {
        int(b): select(results, budget=int(b), **group) for b in sorted(cells.loc[mine, "budget"].unique())
    }
    longest = runs[max(runs)]
    frame = points(longest)
    datasets = arrange(group["suite"], frame["dataset"])
    marks = sorted({m for m in MARKS if m < max(runs)} | set(runs))
    budgets = tuple(_at_budget(runs, mark, datasets, home) for mark in marks)
    said = {v.budget: v.verdict for v in budgets}
    several = {n: len({str(g[n]) for g in groups if g["suite"] == group["suite"]}) > 1 for n in GROUP[2:]}
    words = {name: f"{name.replace('_', ' ')} {group[name]}" for name in GROUP[2:]}
    words["pixels_8bit"] = "8-bit pixels" if group["pixels_8bit"] else ""
    extra = ", ".join(text for name, text in words.items() if several[name] and text)
    return Tab(
        f"{group['suite']} · {group['protocol']}" + (f" ({extra})" if extra else ""),
        f"Backbone {group['backbone']}, {counted(int(group['shots']), 'shot')}; a query is one prompt on one "
        f"batch of at most {counted(int(group['batch_size']), 'image')}. "
        + " ".join([METRIC[group["protocol"]], *wire_said(longest.cells)]),
        tuple(said[b] for b in sorted({HEADLINE, max(runs)} & set(said))) + tuple(savings(longest, 1)),
        tuple(_notes(longest, runs)),
        tuple(shown(group["suite"], d) for d in datasets),
        budgets,
        _curves(frame, datasets, group["suite"]),
    )


def _notes(longest: Results, runs: dict[int, Results]) -> list[str]:
    missing, said = missing_cells(longest), []
    if missing:
        listed = "; ".join(missing[:8]) + ("; ..." if len(missing) > 8 else "")
        said.append(f"{absent(len(missing))}; rows without every data set are left out: {listed}.")
    rows = set(longest.cells["row"])
    for budget, other in runs.items():
        only = sorted(set(other.cells["row"]) - rows)
        if only:
            said.append(
                f"These ran only with a budget of {counted(budget, 'query')} and are not compared here: "
                f"{', '.join(only)}."
            )
    return said + _asked(longest.cells)


def _asked(cells: pd.DataFrame) -> list[str]:
    """What each row asked of a language model; this is counted apart from queries."""
    asking = cells[cells["llm_calls"].notna()].drop_duplicates("path")
    said = []
    for label, runs in asking.groupby("label"):
        cost = "" if runs["llm_dollars"].isna().any() else f", ${runs['llm_dollars'].sum():,.2f}"
        calls, tokens = int(runs["llm_calls"].sum()), int(runs["llm_tokens"].sum())
        said.append(
            f"{label} made {counted(calls, 'call')} of a language model in {counted(len(runs), 'run')} "
            f"({counted(tokens, 'token')}{cost}) from {min(runs['started'])[:10]} to "
            f"{max(runs['started'])[:10]}. They are no queries. "
            "The model may have seen the data sets when it was trained."
        )
    return said


def _at_budget(runs: dict[int, Results], mark: int, datasets: list[str], home: Path) -> AtBudget:
    """The table at `mark` queries.

    It is read from runs with this budget if every row has them, else from the runs with the largest budget.
    """
    longest = runs[max(runs)]
    own = runs.get(mark)
    tuned = set(longest.cells.loc[longest.cells["queries"] > 0, "row"])
    chosen = own if own is not None and tuned <= set(own.cells["row"]) else longest
    budget = int(chosen.cells["budget"].iloc[0])
    origin = "the runs' end" if budget == mark else f"Read at {mark:,} queries from runs of {budget:,}"
    s = standing(chosen, mark)
    lines = [_line(chosen, s, row, mark, datasets, home) for row in (*s.order, *s.references.index)]
    suite, protocol = chosen.cells[["suite", "protocol"]].iloc[0]
    where = f"the {suite} suite" + ("" if protocol == "few-shot" else f" ({protocol})")
    lines += _published(chosen, datasets)
    return AtBudget(mark, origin, verdict(s, where), tuple(lines), tuple(s.footnotes))


def _line(results: Results, s: Standing, row: str, mark: int, datasets: list[str], home: Path) -> Line:
    cells = results.cells[results.cells["row"] == row]
    ranked = row in s.order
    values = (s.matrix if ranked else s.references).loc[row]
    needs = access_of(results, row, mark)
    queries, deploy = needs.entries
    records = cells["path"].nunique()
    return Line(
        row=row,
        label=s.label(row),
        kind="ranked" if ranked else group_of(cells),
        rank=1 + sum(s.average[other] > s.average[row] for other in s.order) if ranked else None,
        ties=s.comparison.letters.get(row, ""),
        access=" + ".join(cells["access"].iloc[0]) or "none",
        sent=needs.sent,
        answered=needs.answered,
        runs_on=needs.runs_on,
        params=int(cells["n_params"].max()),
        params_text=params_text(int(cells["n_params"].min()), int(cells["n_params"].max())),
        queries=queries,
        deploy=deploy,
        accuracy=s.average[row],
        spread=s.spread[row],
        average_rank=s.ranks.get(row),
        hardware=", ".join(sorted(set(cells["hardware"]))),
        date=max(cells["started"])[:10],
        link=_link(list(cells["path"]), home),
        records=int(records),
        verified=summed(cells.drop_duplicates("path")["verified"]),
        by_set=tuple(float(values[d]) for d in datasets),
    )


def _link(paths: list[str], home: Path) -> str:
    """The path from the page to the folder of a row's records, or to its only record."""
    where = paths[0] if len(set(paths)) == 1 else os.path.commonpath(paths)
    return Path(os.path.relpath(where, home)).as_posix()


def _published(results: Results, datasets: list[str]) -> list[Line]:
    """The paper's rows for the same suite, protocol, backbone and shots, as references."""
    first = results.cells.iloc[0]
    try:
        source = published.find(first["suite"], first["protocol"])
        table = published.table(
            source, first["backbone"] if not source.backbone else None, int(first["shots"])
        )
    except UserError:  # nobody published this setting
        return []
    names = [column.name for column in table.columns]
    lines = []
    for row in table.blocks[-1].rows:
        values = {n: e.value for n, e in zip(names, row.entries, strict=True)}
        average = values[names[-1]]
        if average is not None:
            by_set = tuple(values.get(shown(first["suite"], d)) or float("nan") for d in datasets)
            lines.append(
                Line(
                    row=row.lead[0],
                    label=row.lead[0],
                    kind="published",
                    rank=None,
                    ties="",
                    access="",
                    sent="",
                    answered="",
                    runs_on="",
                    params=None,
                    params_text=row.lead[1],
                    queries=Entry(),
                    deploy=Entry(),
                    accuracy=average,
                    spread=None,
                    average_rank=None,
                    hardware="",
                    date=source.paper,
                    link="",
                    records=0,
                    verified="",
                    by_set=by_set,
                )
            )
    return lines


def _curves(frame: pd.DataFrame, datasets: list[str], suite: str) -> dict[str, Any]:
    """What the page draws: each row's look and its curves [[queries, mean, sd], ...], the average first."""
    start = efficiency.zero_shot(frame)
    zero = [start.get(d) for d in datasets]
    average = frame.groupby(["row", "seed", "at"])["accuracy"].agg(["mean", "count"]).reset_index()
    average = average[average["count"] == len(datasets)].rename(columns={"mean": "accuracy"})
    parts = [average, *(frame[frame["dataset"] == d] for d in datasets)]
    return {
        "panels": ["average", *(shown(suite, d) for d in datasets)],
        "zero": [sum(z for z in zero if z) / len(zero) if all(z is not None for z in zero) else None, *zero],
        "rows": {
            row: {
                "label": style.title,
                "colour": style.colour,
                "dash": " ".join(map(str, style.dash)),
                "curves": [_curve(part[part["row"] == row]) for part in parts],
            }
            for row, style in rows_of(frame).items()
        },
    }


def _curve(part: pd.DataFrame) -> list[list[float]]:
    by_at = part.groupby("at")["accuracy"].agg(["mean", "std"]).fillna(0.0).round(2)
    return [[int(at), mean, std] for at, mean, std in by_at.itertuples()]
