"""Renders a Table as Markdown, CSV, LaTeX, HTML or terminal text. Every text is escaped for its format."""

import csv
import html as htmllib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.errors import UserError, did_you_mean
from bench.files import shown
from bench.report.table import Entry, Row, Table

SIGN = {
    "measured": "",
    "published": " †",
    "features": " ¶",
    "white box": " ‡",
    "published white box": " †‡",
}
SAID = {
    "published": "† a published number, copied from the paper; it is ranked only among published rows.",
    "features": "¶ a method with features: it reads features of the model, not its predictions alone. It is "
    "a reference and never ranked.",
    "white box": "‡ a white-box method: it uses gradients of the model. It is a reference and never ranked.",
}


def render(table: Table, form: str, width: int | None = None, colour: bool = False) -> str:
    """The table as text. form: terminal, markdown, csv, latex or html. Raises UserError for another form.

    width: of the terminal, in characters; None: no limit. colour: whether the terminal shows styles.
    """
    if form == "terminal":
        return terminal(_printable(table), width, colour)
    if form not in FORMS:
        raise UserError(f"no table format {form!r}. {did_you_mean(form, [*FORMS, 'terminal'])}")
    return FORMS[form](_printable(table))


def _printable(table: Table) -> Table:
    """The table without letters that steer a terminal, or that no XML may hold."""

    def clean(texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(shown(" ".join(text.splitlines())) for text in texts)

    blocks = tuple(
        replace(
            block,
            title=clean([block.title])[0],
            rows=tuple(replace(row, lead=clean(row.lead)) for row in block.rows),
        )
        for block in table.blocks
    )
    columns = tuple(replace(one, name=clean([one.name])[0]) for one in table.columns)
    (title,) = clean([table.title])
    said = {name: clean(getattr(table, name)) for name in ("heads", "notes", "small_print")}
    return replace(table, title=title, blocks=blocks, columns=columns, **said)


def notes(table: Table, whole: bool = True) -> list[str]:
    """The caption's sentences, and the meaning of each sign in the table. whole: with the small print."""
    groups = " ".join(row.group for block in table.blocks for row in block.rows)
    said = [*table.notes, *(table.small_print if whole else ())]
    return [*said, *(sign for group, sign in SAID.items() if group in groups)]


def _lead(row: Row) -> list[str]:
    return [row.lead[0] + SIGN[row.group], *row.lead[1:]]


def _heads(table: Table) -> list[str]:
    return [*table.heads, *(column.name for column in table.columns)]


def markdown(table: Table) -> str:
    """GitHub Markdown. The second best number is in <ins>, because GitHub removes <u>."""
    lines = [f"**{_md(table.title)}**"]
    for block in table.blocks:
        if block.title:
            lines += ["", f"*{_md(block.title)}*"]
        lines += ["", _md_row([_md(h) for h in _heads(table)])]
        lines += [_md_row([":--"] * len(table.heads) + ["--:"] * len(table.columns))]
        lines += [
            _md_row([_md(x) for x in _lead(row)] + [_md_entry(e) for e in row.entries]) for row in block.rows
        ]
    return "\n".join([*lines, "", *(_md(note) + "  " for note in notes(table))]).rstrip() + "\n"


def _md(text: str) -> str:
    text = text.replace("\n", " ").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", text)


def _md_row(texts: Sequence[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def _md_entry(entry: Entry) -> str:
    form = {"best": "**{}**", "second": "<ins>{}</ins>", "": "{}"}[entry.mark]
    return form.format(_md(entry.text))


def to_csv(table: Table) -> str:
    """One line per row: block, group, lead, and for each column the mean and, if it has any, spread and n."""
    entries = [[row.entries[j] for b in table.blocks for row in b.rows] for j in range(len(table.columns))]
    parts = {
        j: [("", lambda e: e.mean if e.value is not None else "")]
        + ([(" ±", _csv_spread)] if any(e.spread is not None for e in column) else [])
        + ([(" n", _csv_n)] if any(e.n is not None for e in column) else [])
        for j, column in enumerate(entries)
    }
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [column.name + suffix for j, column in enumerate(table.columns) for suffix, _ in parts[j]]
    writer.writerow(map(inert, ["block", "group", *table.heads, *names]))
    for block in table.blocks:
        for row in block.rows:
            numbers = [value(row.entries[j]).replace(",", "") for j in parts for _, value in parts[j]]
            writer.writerow([*map(inert, [block.title, row.group, *row.lead]), *numbers])
    return out.getvalue()


def inert(text: str) -> str:
    """A text that a spreadsheet does not take for a formula: OWASP, CSV injection."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _csv_spread(entry: Entry) -> str:
    return "" if entry.spread is None else f"{entry.spread:.{entry.digits}f}"


def _csv_n(entry: Entry) -> str:
    return "" if entry.n is None else str(entry.n)


def latex(table: Table) -> str:
    """A table* float that uses booktabs, ready to paste; a rule separates the groups of rows.

    Its caption leaves out the small print (see `footnote`).
    """
    total = len(table.heads) + len(table.columns)
    lines = [
        "% needs \\usepackage{booktabs,graphicx}",
        "\\begin{table*}[t]",
        "\\centering",
        f"\\caption{{{_tex(table.title)}. {_tex(' '.join(notes(table, whole=False)))}}}",
        "\\resizebox{\\textwidth}{!}{%",
        f"\\begin{{tabular}}{{{'l' * len(table.heads)}{'c' * len(table.columns)}}}",
        "\\toprule",
        _tex_row([_tex(h) for h in _heads(table)]),
    ]
    for block in table.blocks:
        lines.append("\\midrule")
        if block.title:
            lines += [f"\\multicolumn{{{total}}}{{l}}{{\\textit{{{_tex(block.title)}}}}} \\\\"]
        for i, row in enumerate(block.rows):
            if i and row.group != block.rows[i - 1].group:
                lines.append("\\midrule")
            lines.append(_tex_row([_tex(x) for x in _lead(row)] + [_tex_entry(e) for e in row.entries]))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}}", "\\end{table*}", ""])


def footnote(tables: Sequence[Table]) -> str:
    """The small print of LaTeX tables, for a file of its own; '' if there is none."""
    said = dict.fromkeys(_tex(text) for table in tables for text in _printable(table).small_print)
    return "".join(f"{text}\n" for text in said)


def footnote_file(table: Path) -> Path:
    """Where the small print of a LaTeX file goes: table.tex -> table-footnote.tex."""
    return table.with_name(f"{table.stem}-footnote{table.suffix}")


TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "±": r"$\pm$", "†": r"$\dagger$", "‡": r"$\ddagger$", "–": "--", "∞": r"$\infty$",
    "≤": r"$\leq$", "¶": r"\P{}", "\n": " ",
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(TEX.get(letter, letter) for letter in text)


def _tex_row(texts: Sequence[str]) -> str:
    return " & ".join(texts) + r" \\"


def _tex_entry(entry: Entry) -> str:
    form = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "": "%s"}[entry.mark]
    return form % _tex(entry.text)


def html(table: Table) -> str:
    """A <figure> with one <table> and one <tbody> per block. Best is in <strong>, second best in <u>."""
    esc = htmllib.escape
    out = [f"<figure class='bench-table'><figcaption>{esc(table.title)}</figcaption><table><thead><tr>"]
    out += [f"<th scope='col'>{esc(h)}</th>" for h in _heads(table)]
    out.append("</tr></thead>")
    for block in table.blocks:
        out.append("<tbody>")
        if block.title:
            out.append(
                f"<tr><th colspan='{len(_heads(table))}' scope='rowgroup'>{esc(block.title)}</th></tr>"
            )
        for row in block.rows:
            first, *rest = (esc(x) for x in _lead(row))
            cells = [f"<th scope='row'>{first}</th>", *(f"<td>{x}</td>" for x in rest)]
            cells += [f"<td>{_html_entry(e)}</td>" for e in row.entries]
            out.append(f"<tr class='{row.group.replace(' ', '-')}'>{''.join(cells)}</tr>")
        out.append("</tbody>")
    out += ["</table>", *(f"<p>{esc(note)}</p>" for note in notes(table)), "</figure>"]
    return "\n".join(out) + "\n"


def _html_entry(entry: Entry) -> str:
    form = {"best": "<strong>{}</strong>", "second": "<u>{}</u>", "": "{}"}[entry.mark]
    return form.format(htmllib.escape(entry.text))


def terminal(table: Table, width: int | None = None, colour: bool = False) -> str:
    """A table for the terminal. If it is wider than `width` characters, rows and columns are exchanged."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table as RichTable
    from rich.text import Text

    out = io.StringIO()
    console = Console(
        file=out, width=width or 400, force_terminal=colour, no_color=not colour, highlight=False
    )
    console.print(Text(table.title, style="bold"), soft_wrap=True)
    style = {"best": "bold", "second": "underline", "": ""}
    for block in table.blocks:
        heads = [Text(h) for h in _heads(table)]
        body = [
            [*map(Text, _lead(r)), *(Text(e.text, style=style[e.mark]) for e in r.entries)]
            for r in block.rows
        ]
        need = sum(max(len(line[j]) for line in [heads, *body]) + 3 for j in range(len(heads))) + 1
        left = len(table.heads)
        ends = [a.group != b.group for a, b in zip(block.rows, block.rows[1:], strict=False)] + [False]
        if width and need > width:
            heads, *body = [list(line) for line in zip(heads, *body, strict=True)]
            left, ends = 1, [i + 1 == len(table.heads) - 1 for i in range(len(body))]
        grid = RichTable(title=escape(block.title) or None, title_justify="left")
        for j, head in enumerate(heads):
            grid.add_column(head, justify="left" if j < left else "right")
        for line, end in zip(body, ends, strict=True):
            grid.add_row(*line, end_section=end)
        console.print(grid)
    for note in notes(table):
        console.print(Text(note, style="dim"))
    return out.getvalue()


FORMS: dict[str, Callable[[Table], str]] = {"markdown": markdown, "csv": to_csv, "latex": latex, "html": html}
