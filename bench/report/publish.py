"""`bench results publish`: makes the repository's own tables, pictures and page from its records."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from bench.cell import PROTOCOLS
from bench.errors import UserError
from bench.files import read_text
from bench.report import plots
from bench.report.diagram import cd
from bench.report.drawing import save
from bench.report.frame import WIRE, Results, select
from bench.report.leaderboard import HEADLINES, page, without_variants
from bench.report.order import place_said
from bench.report.published import TITLES
from bench.report.render import markdown
from bench.report.summary import efficiency_table, ranks_table, savings, standing, verdict
from bench.report.table import Table
from bench.report.tables import measured

IN_README = ("few-shot", "base-to-new")  # the papers' main tables; the others are linked
BEGIN, END = "<!-- published: begin", "<!-- published: end -->"


def publish(results: Results, folder: Path, readme: Path, suite: str) -> list[Path]:
    """Write the tables and pictures to folder/<suite>, folder/leaderboard.html, and a part of the README.

    The README's part stands between the lines BEGIN and END. Returns the files that were written.
    Raises UserError if the README does not have these lines, or if cells are missing.
    """
    text = read_text(readme) if readme.exists() else ""
    if BEGIN not in text or END not in text:
        raise UserError(
            f"{readme} has no place for results: it needs the lines '{BEGIN} ... -->' and '{END}'"
        )
    home = folder / suite
    tested = without_variants(results).cells
    usual = (tested[list(WIRE)] == pd.Series(WIRE)).all(axis=1)
    tested = tested[(tested["suite"] == suite) & (tested["score"] == "test") & usual]
    written, shown = [], []
    for protocol in (p for p in PROTOCOLS if p in set(tested["protocol"])):
        budget = int(tested.loc[tested["protocol"] == protocol, "budget"].max())
        chosen = select(without_variants(results), suite=suite, protocol=protocol, budget=budget, **WIRE)
        written += _tables(chosen, home, protocol) + _pictures(chosen, home, protocol, budget)
        table, whole = measured(chosen), _from(readme, home / f"{protocol}.md")
        picture = _from(readme, home / f"{protocol}-curves.png")
        if protocol not in IN_README:
            shown.append(f"{TITLES[protocol]}: [table]({whole}), [accuracy against queries]({picture}).")
            continue
        shown += [f"### {TITLES[protocol]}", *_words(chosen, budget), markdown(_brief(table)).rstrip()]
        if len(table.blocks) > 1:
            shown.append(f"The whole table: [{protocol}.md]({whole}).")
        shown.append(f"![Accuracy against queries, {protocol}]({picture})")
    board = folder / "leaderboard.html"
    board.write_text(page(results, folder), encoding="utf-8")
    shown.append(f"The page with everything: [{board.name}]({_from(readme, board)}).")
    before, rest = text.split(BEGIN, 1)
    marker, rest = rest.split("\n", 1)
    after = rest.split(END, 1)[1]
    readme.write_text(f"{before}{BEGIN}{marker}\n" + "\n\n".join(shown) + f"\n{END}{after}", encoding="utf-8")
    return [*written, board, readme]


def _brief(table: Table) -> Table:
    """The table with its last block alone; for base-to-new this is the harmonic mean."""
    return replace(table, blocks=table.blocks[-1:])


def _words(results: Results, budget: int) -> list[str]:
    marks = sorted({HEADLINES[0], budget} if budget > HEADLINES[0] else {budget})
    return [
        *(verdict(standing(results, mark), f"the {place_said(results.cells)}") for mark in marks),
        *savings(results, 1),
    ]


def _tables(results: Results, home: Path, protocol: str) -> list[Path]:
    tables = {"": measured(results), "-ranks": ranks_table(results), "-efficiency": efficiency_table(results)}
    paths = []
    for name, table in tables.items():
        paths.append(home / f"{protocol}{name}.md")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        paths[-1].write_text(markdown(table), encoding="utf-8")
    return paths


def _pictures(results: Results, home: Path, protocol: str, budget: int) -> list[Path]:
    figures = {
        "curves": plots.curves(results, marks=[HEADLINES[0]] if budget > HEADLINES[0] else []),
        "efficiency": plots.efficiency_plot(results),
        "cd": cd(results),
        "params": plots.params(results),
    }
    paths = []
    for name, figure in figures.items():
        for ending in ("png", "svg"):
            paths.append(home / f"{protocol}-{name}.{ending}")
            save(figure, paths[-1])
    return paths


def _from(readme: Path, path: Path) -> str:
    home = readme.resolve().parent
    resolved = path.resolve()
    if not resolved.is_relative_to(home):
        raise UserError(
            f"{path} lies outside {home}, so {readme} cannot link to it: choose --results inside {home}"
        )
    return resolved.relative_to(home).as_posix()
