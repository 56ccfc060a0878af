"""The leaderboard: one web page, made from records. Its layout is in leaderboard.html.j2."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bench.answered import DEFAULT, parse
from bench.cell import REFERENCE
from bench.errors import UserError
from bench.paths import checkout
from bench.report import charts, efficiency, published, stats
from bench.report.access import SAID, wire_said
from bench.report.board import AtBudget, Facts, Runs, at_budget, facts_of, place
from bench.report.charts import Cost
from bench.report.cost import digits_of
from bench.report.details import Detail, Link, Reading, detail, inside
from bench.report.dollars import Asked, Dollars, dollars_of
from bench.report.drawing import rows_of
from bench.report.frame import WIRE, Results, missing_cells, points, select, where
from bench.report.order import arrange, own, place_said, shown
from bench.report.stale import changed, stale_said
from bench.report.style import OTHERS, Look, focused, outline
from bench.report.summary import HARMONIC, TEST, savings
from bench.report.tables import versions
from bench.words import absent, counted

GROUP = ["suite", "own", "protocol", "backbone", "shots", "batch_size", "augment", *WIRE]
MARKS = (100, 500, 1000, 5000)  # numbers of queries that get a table
HEADLINES = (500, 1000, 5000)  # queries for which the page names a method; and the whole budget
# What frame.points() gives for each protocol.
METRIC = {
    "few-shot": "Accuracy is measured on the test set.",
    "base-to-new": f"Accuracy is {HARMONIC}",
    "cross-dataset": "Accuracy is the mean over the target data sets, without the one that was tuned on.",
    "ood": "Accuracy is the mean over the shifted test sets, without the data set that was tuned on.",
}
BADGES = {
    "features": "with features",
    "white box": "with gradients (white box)",
    "published": "published",
    "variant": "variant",
}
SUBMIT = "How to submit"
DOCS = {
    SUBMIT: "docs/submit.md",
    "Documentation": "docs/index.md",
    "Statistics": "docs/statistics.md",
    "Threat model": "docs/threats.md",
    "How to cite": "CITATION.cff",
}
INTERVALS = (
    "Accuracy: in brackets its 95 % t interval over seeds; averages are over seeds first, then over data "
    "sets. Rank: in brackets the ranks that the test leaves open; all these intervals together hold with a "
    "probability of 95 %."
)


@dataclass(frozen=True)
class Chart:
    """A chart at the top of a tab. said: a sentence below it."""

    title: str
    svg: str
    said: str


@dataclass(frozen=True)
class Tab:
    """One suite and protocol (and one backbone, shots and batch size, if there are several)."""

    name: str  # in addresses
    title: str
    place: str
    setting: str
    headline: tuple[AtBudget, ...]
    savings: tuple[str, ...]
    charts: tuple[Chart, ...]
    legend: tuple[tuple[str, str], ...]  # a piece of the line (SVG), label
    notes: tuple[str, ...]
    datasets: tuple[str, ...]
    budgets: tuple[AtBudget, ...]
    dollars: Dollars | None
    details: tuple[Detail, ...]
    curves: dict[str, Any]

    @property
    def sides(self) -> bool:
        """Whether there are columns for base and new."""
        return any(line.sides for at in self.budgets for line in at.lines)

    @property
    def verified(self) -> bool:
        """Whether any record says who verified it."""
        return any(line.facts.verified for at in self.budgets for line in at.lines)

    @property
    def variants(self) -> int:
        """The number of rows with overridden parameters."""
        lines = (line for at in self.budgets for line in at.lines)
        return len({line.facts.row for line in lines if line.facts.group == "variant"})


def page(results: Results, home: Path, variants: bool = False, price: Asked | None = None) -> str:
    """The page as HTML. home: the folder of the page; links to records are relative to it.

    Rows with overridden parameters are listed and not ranked unless `variants`, because every further ranked
    row makes it harder to tell the methods apart. price: None for a page without dollars. Raises UserError if
    there are no finished records, or if the file of prices is wrong.
    """
    from jinja2 import Environment, FileSystemLoader

    if results.cells.empty:
        raise UserError("no finished records for a leaderboard: make some with `bench run`")
    results = _marked_own(replace(results, cells=results.cells.assign(stale=changed(results.cells))))
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    started = sorted(results.cells["started"])
    return environment.get_template("leaderboard.html.j2").render(
        counted=counted,
        tabs=list(_tabs(results, home, variants, price)),
        published=[published.example(s) for s in published.SOURCES],
        badges=BADGES,
        explained=(TEST, INTERVALS, SAID),
        links=_links(home),
        versions=", ".join(versions(results.cells)),
        records=results.cells["path"].nunique(),
        dates=(started[0][:10], started[-1][:10]),
        stale=stale_said(results.cells),
        damaged=len(results.damaged),
        failed=len(results.failed),
    )


def _marked_own(results: Results) -> Results:
    """Each record says whether its data set is one of its suite; own data sets have a tab of their own."""

    def marked(frame: pd.DataFrame) -> pd.DataFrame:
        others = {suite: own(suite, part["dataset"]) for suite, part in frame.groupby("suite")}
        pairs = zip(frame["suite"], frame["dataset"], strict=True)
        return frame.assign(own=[dataset in others[suite] for suite, dataset in pairs])

    kept = {name: marked(getattr(results, name)) for name in ("cells", "trace", "failed")}
    return replace(results, **kept)


def _links(home: Path) -> list[Link]:
    root = checkout()
    places = {name: inside(root / file, home) if root else "" for name, file in DOCS.items()}
    return [Link(f"{name}: {DOCS[name]}" if not href else name, href) for name, href in places.items()]


def without_variants(results: Results) -> Results:
    """The records of the methods with the parameters of their files and suites, without overrides.

    A method that asks a language model has no default model, so its rows name one and nothing else.
    """
    return _split(results)[0]


def _split(results: Results) -> tuple[Results, Results]:
    """The records without overrides, and the others (see without_variants)."""
    asking = results.cells[results.cells["llm_calls"].notna()]
    named = {o.row for o in asking.itertuples() if set(o.overrides) == {"model"}}
    frames = {name: getattr(results, name) for name in ("cells", "trace", "failed")}
    plain = {name: (f["variant"] == "") | f["row"].isin(named) for name, f in frames.items()}
    kept = replace(results, **{name: f[plain[name]] for name, f in frames.items()})
    return kept, replace(results, **{name: f[~plain[name]] for name, f in frames.items()})


def _tabs(results: Results, home: Path, variants: bool, price: Asked | None) -> Iterator[Tab]:
    tested = results.cells[results.cells["score"] == "test"]
    groups = [dict(zip(GROUP, key, strict=True)) for key, _ in tested.groupby(GROUP)]
    order = {name: i for i, name in enumerate(published.TITLES)}

    def rank(group: dict[str, Any]) -> tuple[Any, ...]:
        """The mini suite and the usual answers come first."""
        level = group["answers"]
        first = (group["suite"] != "mini", group["suite"], group["own"], order[group["protocol"]])
        return (*first, level != DEFAULT, parse(level).fineness)

    for group in sorted(groups, key=rank):
        runs = _runs(_of_group(results, group), variants)
        yield _tab(runs, group, _title(runs, group, groups), home, price)


def _of_group(results: Results, group: dict[str, Any]) -> Results:
    """The records of one tab, of all budgets."""
    wanted = {**group, "score": "test"}

    def kept(frame: pd.DataFrame) -> pd.DataFrame:
        here = pd.Series(True, index=frame.index)
        for name, value in wanted.items():
            here &= frame[name] == value
        return frame[here]

    return replace(results, **{name: kept(getattr(results, name)) for name in ("cells", "trace", "failed")})


def _runs(mine: Results, every: bool) -> dict[int, Runs]:
    """Budget -> the runs with it. every: rank variants like the others."""
    plain, others = (mine, None) if every else _split(mine)
    if others is not None and not (plain.cells["queries"] > 0).any():
        plain, others = mine, None  # there are only variants, so they are what is ranked
    runs = {}
    for budget in sorted(int(b) for b in plain.cells["budget"].unique()):
        chosen = select(plain, budget=budget)
        listed = None if others is None else where(others, "budget", [budget])
        facts, more = facts_of(chosen), pd.DataFrame()
        if listed is None or listed.cells.empty:
            listed = None
        else:
            facts |= facts_of(listed, ranked=False)
            more = points(listed)
        runs[budget] = Runs(chosen, points(chosen), listed, more, facts)
    return runs


def _tab(runs: dict[int, Runs], group: dict[str, Any], title: str, home: Path, price: Asked | None) -> Tab:
    end = max(runs)
    longest = runs[end]
    datasets = arrange(group["suite"], longest.points["dataset"])
    marks = sorted({m for m in MARKS if m < end} | set(runs))
    budgets = tuple(at_budget(runs, mark, datasets) for mark in marks)
    dollars = dollars_of(price, runs, budgets) if price else None
    pictures, legend = _charts(longest, budgets, _costs(budgets, dollars))
    names = tuple(shown(group["suite"], d) for d in datasets)
    return Tab(
        name=re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-"),
        title=title,
        place=place(longest.results),
        setting=_setting(longest.results, group),
        headline=tuple(at for at in budgets if at.budget in {*HEADLINES, end}),
        savings=tuple(savings(longest.results, 1, longest.points)),
        charts=pictures,
        legend=legend,
        notes=tuple(_notes(longest, runs, budgets[-1], names)),
        datasets=names,
        budgets=budgets,
        dollars=dollars,
        details=tuple(_details(longest, budgets, home)),
        curves=_curves(longest.points, datasets, names),
    )


def _title(runs: dict[int, Runs], group: dict[str, Any], groups: Sequence[dict[str, Any]]) -> str:
    names = GROUP[3:]
    several = {n: len({str(g[n]) for g in groups if g["suite"] == group["suite"]}) > 1 for n in names}
    words = {name: f"{name.replace('_', ' ')} {group[name]}" for name in names}
    words["pixels_8bit"] = "8-bit pixels" if group["pixels_8bit"] else ""
    extra = ", ".join(text for name, text in words.items() if several[name] and text)
    where = place_said(runs[max(runs)].results.cells) if group["own"] else group["suite"]
    return f"{where} · {group['protocol']}" + (f" ({extra})" if extra else "")


def _setting(results: Results, group: dict[str, Any]) -> str:
    said = (
        f"Backbone {group['backbone']}, {counted(int(group['shots']), 'shot')}; a query is one prompt on one "
        f"batch of at most {counted(int(group['batch_size']), 'image')}."
    )
    return " ".join([said, METRIC[group["protocol"]], *wire_said(results.cells)])


def _notes(longest: Runs, runs: dict[int, Runs], last: AtBudget, names: Sequence[str]) -> list[str]:
    missing, said = missing_cells(longest.results), []
    if missing:
        listed = "; ".join(missing[:8]) + ("; ..." if len(missing) > 8 else "")
        said.append(f"{absent(len(missing))}; rows without every data set are left out: {listed}.")
    for budget, other in runs.items():
        only = sorted(set(other.results.cells["row"]) - set(longest.results.cells["row"]))
        if only:
            said.append(
                f"These ran only with a budget of {counted(budget, 'query')} and are not compared here: "
                f"{', '.join(only)}."
            )
    few = [name for name, cell in zip(names, last.best_line.by_set, strict=True) if cell.low is not None]
    if few:
        said.append(
            f"Fewer than {stats.SMALL} test images: {', '.join(few)}. Their accuracies carry a binomial 95 % "
            "interval (Wilson) in the table by data set. Beside the average stands by how much they may move "
            "it (images)."
        )
    return said + _asked(longest.results.cells)


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


def _charts(
    longest: Runs, budgets: Sequence[AtBudget], costs: Sequence[Cost]
) -> tuple[tuple[Chart, ...], tuple[tuple[str, str], ...]]:
    """The charts at the top, and their legend."""
    last = {line.facts.row: line.accuracy for line in budgets[-1].lines if line.facts.row in longest.facts}
    ranked = {line.facts.row for line in budgets[-1].lines if line.rank}
    looks = focused(
        {row: look for row, look in rows_of(longest.points).items() if row in last and row != REFERENCE},
        {row: accuracy for row, accuracy in last.items() if row != REFERENCE},
        [row for row in longest.facts if row not in ranked][:1],  # one reference, to see what is possible
    )
    curve = efficiency.average_curves(longest.points)
    lines = {
        str(row): [(float(at), float(mean)) for at, mean in curve[row].dropna().items()] for row in curve
    }
    lines = {row: line for row, line in lines.items() if row in last}
    zero = lines[REFERENCE][-1][1] if REFERENCE in lines else None
    legend = [(charts.swatch(look), look.title) for look in looks.values() if look is not OTHERS]
    legend += [(charts.swatch(OTHERS), OTHERS.title)] if OTHERS in looks.values() else []
    made = [Chart("Accuracy by queries", charts.curves(lines, looks, zero), "")]
    for cost in costs:
        said = _front_said(cost, longest.facts)
        made.append(Chart(f"Accuracy by cost: {cost.name}", charts.costs(cost, looks, zero), said))
    return tuple(made), tuple(legend)


def _costs(budgets: Sequence[AtBudget], dollars: Dollars | None) -> list[Cost]:
    """The costs that the page draws. Another one is one more entry of this list."""
    queries = {
        at.budget: {line.facts.row: float(line.tune.value or 0) for line in at.lines} for at in budgets
    }
    found = [Cost("queries", _bought(budgets, queries))]
    if dollars is not None and not dollars.free:
        amounts = (amount for rows in dollars.paid.values() for amount in rows.values())
        found.append(Cost("dollars", _bought(budgets, dollars.paid), digits_of(amounts)))
    return found


def _bought(
    budgets: Sequence[AtBudget], spent: Mapping[int, Mapping[str, float]]
) -> dict[str, list[tuple[float, float]]]:
    """Ranked row -> (cost, accuracy), each cost once. spent: number of queries -> row -> cost by then."""
    bought: dict[str, list[tuple[float, float]]] = {}
    for at in budgets:
        for line in (line for line in at.lines if line.rank and line.facts.row in spent[at.budget]):
            cost, known = spent[at.budget][line.facts.row], bought.setdefault(line.facts.row, [])
            if all(cost != other for other, _ in known):
                known.append((cost, line.accuracy))
    return bought


def _front_said(cost: Cost, facts: dict[str, Facts]) -> str:
    """The front in words. It compares averages; which differences are real is said elsewhere."""
    steps: list[tuple[float, float, str]] = []
    for price, accuracy, row in charts.front(cost):
        if not steps or steps[-1][2] != row:
            steps.append((price, accuracy, row))
    said = "; ".join(
        f"from {cost.amount(price)}: {facts[row].label} ({acc:.1f} %)" for price, acc, row in steps
    )
    return f"Highest average by {cost.name}: {said}."


def _details(longest: Runs, budgets: Sequence[AtBudget], home: Path) -> Iterator[Detail]:
    for line in budgets[-1].lines:
        facts = line.facts
        if facts.needs is None:  # a published row
            continue
        results = longest.variants if facts.group == "variant" and longest.variants else longest.results
        cells = results.cells[results.cells["row"] == facts.row]
        said = {
            "Stale": facts.stale,
            "Sent": facts.needs.sent,
            "Answered": facts.needs.answered,
            "Runs on": facts.needs.runs_on,
            "Parameters": facts.params_text,
            "Verified": facts.verified,
            "Hardware": ", ".join(sorted(set(cells["hardware"]))),
            "Versions": ", ".join(versions(cells)),
            "Last run": max(cells["started"])[:10],
        }
        yield detail(results, facts.row, _readings(facts.row, budgets), said, home)


def _readings(row: str, budgets: Sequence[AtBudget]) -> Iterator[Reading]:
    """What a row's lines say that depends on the number of queries."""
    for at in budgets:
        for line in (line for line in at.lines if line.facts.row == row):
            rank = "" if line.average_rank is None else f"{line.average_rank:.2f}"
            sides = zip(("Base", "New"), line.sides, strict=False)  # other protocols have none
            said = {
                "Average accuracy": f"{line.accuracy:.1f} %",
                **{name: f"{side:.1f} %" for name, side in sides if side is not None},
                "Average rank over data sets": rank,
                "Queries to tune": line.tune.text,
                "Queries to deploy a batch": line.deploy.text,
            }
            yield Reading(at.budget, tuple((name, text) for name, text in said.items() if text))


def _curves(frame: pd.DataFrame, datasets: list[str], names: Sequence[str]) -> dict[str, Any]:
    """What an opened row draws: each row's look and curves [[queries, mean, sd], ...], the average first."""
    start = efficiency.zero_shot(frame)
    zero = [start.get(d) for d in datasets]
    by_seed = frame.groupby(["row", "seed", "at"])["accuracy"].agg(["mean", "count"]).reset_index()
    average = (
        by_seed[by_seed["count"] == len(datasets)].rename(columns={"mean": "accuracy"}).assign(dataset="")
    )
    both = pd.concat([average, frame])[["row", "dataset", "at", "accuracy"]]
    drawn: dict[tuple[str, str], list[list[float]]] = {}
    summed = both.groupby(["row", "dataset", "at"])["accuracy"].agg(["mean", "std"]).fillna(0.0).round(2)
    for (row, dataset, at), mean, deviation in summed.itertuples():
        drawn.setdefault((row, dataset), []).append([int(at), mean, deviation])
    return {
        "panels": ["average", *names],
        "zero": [sum(z for z in zero if z) / len(zero) if all(z is not None for z in zero) else None, *zero],
        "rows": {
            row: {**_drawn(look), "curves": [drawn.get((row, d), []) for d in ("", *datasets)]}
            for row, look in rows_of(frame).items()
        },
    }


def _drawn(look: Look) -> dict[str, str]:
    return {
        "label": look.title,
        "colour": look.colour,
        "dash": charts.dashes(look),
        "marker": outline(look.marker),
    }
