"""What `bench results publish` shows beside the tables of the protocols: coarser answers, and variants."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from bench.answered import DEFAULT
from bench.report import plots
from bench.report.answers import answers_table, by_answers
from bench.report.drawing import save
from bench.report.frame import Results, select, usual
from bench.report.leaderboard import without_variants
from bench.report.render import markdown
from bench.report.table import narrowed
from bench.report.tables import measured

AVERAGES = ("Average", "Other ")  # the beginnings of the headings of averages over data sets
Link = str  # of a folder's files, without the ends of their names


def answers(results: Results, home: Path, link: Link) -> tuple[list[Path], list[str]]:
    """Tables and pictures of accuracy by answers. Returns the files, and paragraphs for the page.

    results: the records of one protocol, with any answers. Methods that were run on the same data sets and
    seeds share a table. Without coarse answers there is nothing to show.
    """
    plain = usual(without_variants(results), free="answers")
    coarse = plain.cells[plain.cells["answers"] != DEFAULT]
    files: list[Path] = []
    words = ["### Coarser answers"] if len(coarse) else []
    for i, (methods, runs) in enumerate(_by_runs(coarse)):
        found = by_answers(
            plain,
            methods=methods,
            datasets=tuple(dict.fromkeys(name for name, _ in runs)),
            seeds=tuple(sorted({seed for _, seed in runs})),
        )
        name = "answers" if i == 0 else f"answers-{i + 1}"
        stem, table = f"{home.name}-{name}", markdown(answers_table(found))
        new = [home.with_name(f"{stem}.{ending}") for ending in ("md", "png", "svg")]
        new[0].write_text(table, encoding="utf-8")
        for picture in new[1:]:
            save(plots.answers(found), picture)
        files += new
        words += [table.rstrip(), f"![Accuracy by answers]({link}-{name}.png)"]
    return files, words


def _by_runs(cells: pd.DataFrame) -> list[tuple[tuple[str, ...], list[tuple[str, int]]]]:
    """Methods, with the (data set, seed) pairs on which all of them were run: the most pairs first."""
    groups: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for method, part in cells.groupby("method"):
        pairs = sorted(set(zip(part["dataset"], part["seed"], strict=True)))
        groups.setdefault(tuple(pairs), []).append(str(method))
    found = [(tuple(methods), list(pairs)) for pairs, methods in groups.items()]
    return sorted(found, key=lambda one: (-len(one[1]), one[0]))


def variants(results: Results, home: Path, link: Link) -> tuple[list[Path], list[str]]:
    """The table of the methods that were also run with other parameter values, with these rows.

    results: the records of one protocol. Returns the file, and paragraphs with its averages for the page.
    """
    records = usual(results)
    changed = records.cells[~records.cells["row"].isin(without_variants(records).cells["row"])]
    if changed.empty:
        return [], []
    chosen = select(
        records,
        methods=tuple(sorted(changed["method"].unique())),
        seeds=_common(changed.groupby("row")["seed"]),
    )
    table = measured(chosen)
    file = home.with_name(f"{home.name}-variants.md")
    file.write_text(markdown(table), encoding="utf-8")
    short = narrowed(table, table.heads, [one.name for one in table.columns if one.name.startswith(AVERAGES)])
    return [file], [
        "### Variants",
        markdown(short).rstrip(),
        f"By data set: [table]({link}-variants.md).",
    ]


def _common(groups: Iterable[tuple[str, pd.Series]]) -> tuple[int, ...]:
    """The seeds that every row has."""
    return tuple(sorted(set.intersection(*(set(seeds) for _, seeds in groups))))
