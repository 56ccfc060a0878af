"""`bench results publish`: makes the repository's own tables, pictures and page from its records."""

import os
from dataclasses import replace
from pathlib import Path

from bench.cell import PROTOCOLS
from bench.errors import UserError
from bench.files import read_text
from bench.report import plots, studies
from bench.report.diagram import cd
from bench.report.drawing import save
from bench.report.frame import Results, select, usual, where
from bench.report.leaderboard import HEADLINES, page, without_variants
from bench.report.order import place_said
from bench.report.published import TITLES
from bench.report.render import markdown
from bench.report.summary import efficiency_table, ranks_table, savings, standing, verdict
from bench.report.table import Table, narrowed
from bench.report.tables import measured

SHOWN = ("few-shot", "base-to-new")  # the papers' main tables; the others are linked
BRIEF = "few-shot"  # the protocol of the README's table
BEGIN, END = "<!-- published: begin", "<!-- published: end -->"


def publish(results: Results, folder: Path, readme: Path, page_file: Path, suite: str) -> list[Path]:
    """Write tables and pictures to folder/<suite>, the page folder/leaderboard.html, and parts of two texts.

    Other suites of the folder follow `suite`. `page_file` gets sentences, whole tables and pictures, and
    `readme` one small table. In both of them the part stands between the lines BEGIN and END. Returns the
    files that were written.
    Raises UserError if one of them does not have these lines, or if cells are missing.
    """
    for text in (readme, page_file):
        _parts(text)
    tested = where(results, "score", ["test"])
    written: list[Path] = []
    shown: list[str] = []
    for name in (suite, *sorted({*tested.cells["suite"]} - {suite})):
        link, more = _from(page_file, folder / name, readme), "" if name == suite else f", suite {name}"
        files, words = _of_suite(where(tested, "suite", [name]), folder / name, link, more)
        written, shown = written + files, shown + words
    brief = _summary(where(tested, "suite", [suite]), f"{_from(readme, folder / suite, readme)}/{BRIEF}")
    board = folder / "leaderboard.html"
    board.write_text(page(results, folder), encoding="utf-8")
    for text, parts in ((readme, brief), (page_file, shown)):
        before, marker, after = _parts(text)
        link = f"The page with everything: [{board.name}]({_from(text, board, readme)})."
        body = "\n\n".join([*parts, link])
        text.write_text(f"{before}{BEGIN}{marker}\n{body}\n{END}{after}", encoding="utf-8")
    return [*written, board, readme, page_file]


def _of_suite(results: Results, home: Path, link: str, more: str) -> tuple[list[Path], list[str]]:
    """The files of one suite, and the paragraphs about it. more: what its headings say after the protocol."""
    files, words = [], []
    for protocol in (p for p in PROTOCOLS if p in set(usual(results).cells["protocol"])):
        whole = _largest(results, protocol)
        chosen = without_variants(usual(whole))
        budget = int(chosen.cells["budget"].max())
        files += _tables(chosen, home, protocol) + _pictures(chosen, home, protocol, budget)
        words += _section(chosen, TITLES[protocol] + more, budget, f"{link}/{protocol}")
        for study in (studies.answers, studies.variants):
            study_files, study_words = study(whole, home / protocol, f"{link}/{protocol}")
            files, words = files + study_files, words + study_words
    return files, words


def _largest(results: Results, protocol: str) -> Results:
    """The records of a protocol with the largest budget that its usual records have."""
    records = where(results, "protocol", [protocol])
    budgets = without_variants(usual(records)).cells["budget"]
    return select(records, free="answers", budget=int(budgets.max()))


def _parts(file: Path) -> tuple[str, str, str]:
    """What stands before BEGIN, on its line, and after END. Raises UserError if one of them is missing."""
    text = read_text(file) if file.exists() else ""
    if BEGIN not in text or END not in text:
        raise UserError(f"{file} has no place for results: it needs the lines '{BEGIN} ... -->' and '{END}'")
    before, rest = text.split(BEGIN, 1)
    marker, rest = rest.split("\n", 1)
    return before, marker, rest.split(END, 1)[1]


def _section(results: Results, heading: str, budget: int, stem: str) -> list[str]:
    """The paragraphs about one protocol. stem: the link to its files, without the end of their names."""
    picture, protocol = f"{stem}-curves.png", results.cells["protocol"].iloc[0]
    if protocol not in SHOWN:
        return [f"{heading}: [table]({stem}.md), [accuracy against queries]({picture})."]
    table = measured(results)
    return [
        f"## {heading}",
        *_words(results, budget),
        markdown(_last(table)).rstrip(),
        *([f"The whole table: [{protocol}.md]({stem}.md)."] if len(table.blocks) > 1 else []),
        f"![Accuracy against queries, {protocol}]({picture})",
    ]


def _summary(results: Results, stem: str) -> list[str]:
    """The README's part: the table of ranks with few of its columns, and the picture."""
    if BRIEF not in set(usual(results).cells["protocol"]):
        return []
    ranks = ranks_table(without_variants(usual(_largest(results, BRIEF))))
    small = narrowed(ranks, ("Method", "Ties", "Sent"), ("Average", "Queries to tune"))
    return [
        markdown(replace(small, notes=())).strip(),
        f"![Accuracy against queries, {BRIEF}]({stem}-curves.png)",
    ]


def _last(table: Table) -> Table:
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


def _from(text: Path, path: Path, readme: Path) -> str:
    """The link from a text to a file; both lie in the folder of the README, or below it."""
    home = readme.resolve().parent
    for one in (path, text):
        if not one.resolve().is_relative_to(home):
            raise UserError(
                f"{one} lies outside {home}, so {readme} cannot link to it: choose a place inside {home}"
            )
    return Path(os.path.relpath(path.resolve(), text.resolve().parent)).as_posix()
