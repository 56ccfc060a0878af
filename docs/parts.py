"""The parts of the pages that come from the code, so that they cannot disagree with it.

A page holds a comment such as `<!-- build: constants zip -->`, which this file replaces by Markdown whenever
the site is built. On other viewers of the page the comment stays invisible.
"""

import ast
import io
import json
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from importlib import import_module
from inspect import cleandoc, getsource
from pathlib import Path
from typing import Any, get_args

import click

from bench.access import answered, runs_on, sent
from bench.cell import show
from bench.code import code_hash
from bench.commands.main import main
from bench.paths import HOME
from bench.plugins import METHODS, load_method, method_hash
from bench.record import Record, read
from bench.report import published
from bench.report.frame import load, record_files, select
from bench.report.published import TITLES
from bench.report.tables import measured
from bench.suite import load_suite

DOCS = Path(__file__).resolve().parent
MARK = re.compile(r"<!-- build: (\w+)((?: [\w./]+)*) -->")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s:#]+)(?:#[^)\s]*)?\)")
OURS = HOME / "results" / "mini"
SUITES = ("mini", "zip", "craft")  # the suites that hold values for methods
WIDTH = 100  # columns of a command's help


def filled(text: str, folder: Path = DOCS) -> str:
    """The text of a page in a folder: parts in the place of marks, and names in that of links out of docs/.

    Raises KeyError for a part that does not exist, FileNotFoundError for a link to nothing.
    """
    text = MARK.sub(lambda mark: PARTS[mark[1]](*mark[2].split()), text)
    return LINK.sub(lambda link: _inside(link, folder), text)


def _inside(link: re.Match[str], folder: Path) -> str:
    """A link as it is, if it leads to a page or to a web page of ours; else the name of the file or folder.

    The site holds no copy of the repository, so a link to a source file would lead nowhere.
    """
    words, target = link[1], (folder / link[2]).resolve()
    if target.is_relative_to(DOCS) or target.suffix == ".html":
        return link[0]
    name = target.relative_to(HOME).as_posix()
    if not target.exists():
        raise FileNotFoundError(f"a page in {folder} links to {name}, which does not exist")
    return f"`{name}`" if words.strip("`") in (name, target.name) else f"{words} (`{name}`)"


# The constants of a dataclass


def comments(cls: type) -> dict[str, str]:
    """The comment of each field that a dataclass declares: on its own lines, else right above them."""
    source = cleandoc("\n" + getsource(cls))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    said = {token.start[0]: token for token in tokens if token.type == tokenize.COMMENT}
    alone = {row for row, token in said.items() if token.line.strip().startswith("#")}
    found = {}
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            rows = [row for row in range(node.lineno, (node.end_lineno or 0) + 1) if row in said]
            above = node.lineno - 1
            while not rows or rows[0] == above + 1:
                if above not in alone:
                    break
                rows.insert(0, above)
                above -= 1
            found[node.target.id] = " ".join(said[row].string.lstrip("# ") for row in rows)
    return found


def declared(cls: type) -> Iterator[tuple[type, list[Any]]]:
    """Each class that gives a field of the dataclass `cls` its default, with these fields; the base first."""
    lines = [one for one in cls.__mro__ if "__dataclass_fields__" in vars(one)]
    for home in reversed(lines):
        later = lines[: lines.index(home)]
        own = [
            one
            for one in fields(cls)
            if one.name in home.__annotations__ and not any(one.name in c.__annotations__ for c in later)
        ]
        if own:
            yield home, own


def meaning(cls: type, name: str) -> str:
    """What the nearest class with a comment says about a field."""
    lines = [one for one in cls.__mro__ if "__dataclass_fields__" in vars(one)]
    return next(filter(None, (comments(one).get(name, "") for one in lines)), "")


def constants(method: str) -> str:
    """The parameters of a method, by the class that sets their defaults, and the suites' values."""
    params = load_method(method).Params
    if not fields(params):
        return "This method has no parameter."
    parts = []
    for home, own in declared(params):
        rows = [[f"`{one.name}`", f"`{show(one.default)}`", meaning(params, one.name)] for one in own]
        where = Path(import_module(home.__module__).__file__ or "").relative_to(HOME)
        parts += [
            f"*{' '.join(cleandoc(home.__doc__ or '').split())}* ({where.as_posix()})",
            table(["Parameter", "Default", "Meaning"], rows),
        ]
    return "\n\n".join([*parts, *_of_suites(method)])


def _of_suites(method: str) -> list[str]:
    """The values that suites put in the place of the defaults."""
    rows = []
    for name in SUITES:
        suite = load_suite(name)
        values = dict(suite.methods.get(method, {}))
        own = values.pop("datasets", {})
        said = [f"`{key}={show(_value(value))}`" for key, value in values.items()]
        said += [f"values of their own for {len(own)} data sets"] if own else []
        if said:
            rows.append([f"bench/suites/{name}.toml", ", ".join(said)])
    return [table(["Suite", "Other values there"], rows)] if rows else []


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def first_line(cls: type) -> str:
    """The first paragraph of a class's docstring, on one line."""
    return " ".join(cleandoc(cls.__doc__ or "").split("\n\n")[0].split())


# A method


def facts(method: str) -> str:
    """What a method is called, what it sends and needs, and where it can run."""
    cls = load_method(method)
    least = cls.needs(cls.Params())
    reference = {"gradients": "gradients", "features": "features"}.get(answered(cls.access, least))
    rows = [
        ["Paper", cls.paper or "none"],
        ["File", f"[methods/{method}.py](../../methods/{method}.py)"],
        ["Sends, beside images", sent(cls.access)],
        ["Reads at least", answered(cls.access, least)],
        ["Runs on", ", ".join(runs_on(cls.access, least))],
        ["Ranked", f"no: it reads {reference}, so it is a reference" if reference else "yes"],
        [
            "Schedule",
            "depends on the budget" if cls.schedule == "budget" else "does not depend on the budget",
        ],
    ]
    return table(["", ""], rows)


def methods() -> str:
    """All methods with their pages, what they send and what they read."""
    rows = []
    for name in METHODS.files():
        cls = load_method(name)
        least = cls.needs(cls.Params())
        rows.append(
            [f"[{name}]({name}.md)", cls.title, sent(cls.access), answered(cls.access, least), cls.paper]
        )
    return table(["Name", "Title", "Sends", "Reads at least", "Paper"], rows)


def numbers(method: str) -> str:
    """Our numbers, if they are current, and the published ones."""
    return f"{ours(method)}\n\n{theirs(method)}"


@cache
def current(folder: Path, method: str) -> tuple[int, int]:
    """The committed records of a method below a protocol's folder: how many, and how many are current."""
    files = [file for file in record_files(folder) if file.parent.name == method] if folder.is_dir() else []
    made = [read(file).hashes for file in files]
    now = (method_hash(method), code_hash()) if made else ("", "")
    fresh = [one for one in made if (one.method, one.code) == now]
    return len(made), len(fresh)


def ours(method: str, home: Path = OURS) -> str:
    """A table of the method's averages on the mini suite, or the reason why none is printed."""
    rows, old = [], 0
    for protocol, title in TITLES.items():
        there, fresh = current(home / protocol, method)
        if there and there == fresh:
            rows += [[title, *cells] for cells in _averages(home / protocol, method)]
        old += there - fresh
    if rows:
        return table(["Mini suite", "Set", "Average"], rows)
    page = "[the results' page](../results.md)"
    if old:
        return (
            f"**Ours.** An earlier state of the code made the {old:,} committed records of this method, "
            f"so their numbers are not repeated here. They stand, with that remark, on {page}. Once they are "
            "made again, this place shows their averages."
        )
    return f"**Ours.** There is no committed record of this method yet. Those of the others are on {page}."


def _averages(folder: Path, method: str) -> list[list[str]]:
    """The name of each block and its average for one method."""
    results = load(folder)
    budget = int(results.cells.loc[results.cells["method"] == method, "budget"].max())
    chosen = measured(select(results, method=method, budget=budget))
    return [[block.title or "test", row.entries[-1].text] for block in chosen.blocks for row in block.rows]


def theirs(method: str) -> str:
    """The published averages of a method, and the numbers they are made of."""
    rows = []
    for source in published.SOURCES:
        frame = published.load(source)
        frame = frame[frame["method"] == method]
        for (shots, block), part in frame.groupby(["shots", "block"], sort=False):
            whole = part[part["dataset"] == source.average]
            cells = part[part["dataset"] != source.average]
            average = whole["text"].iloc[0] if len(whole) else f"({cells['accuracy'].mean():.2f})"
            setting = f"{TITLES[source.protocol]}, {part['backbone'].iloc[0]}"
            setting += f", {shots} shots" if shots else ""
            setting += f", {block}" if block else ""
            each = ", ".join(
                f"{name} {text}" for name, text in zip(cells["dataset"], cells["text"], strict=True)
            )
            rows.append([source.paper, f"{setting}; {source.setting}", average, each])
    if not rows:
        return "**Published.** `results/published` holds no number of this method."
    note = " An average in brackets is not printed there; it is the mean of the printed numbers."
    return f"**Published**, as printed.{note}\n\n" + table(["Paper", "Setting", "Average", "Data sets"], rows)


# The reference


def commands() -> str:
    """The help of every command, as click prints it."""
    return "\n\n".join(_help(main, None, "bench"))


def _help(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    context = click.Context(command, parent, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH)
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```"
    if isinstance(command, click.Group):
        for one in command.list_commands(context):
            found = command.get_command(context, one)
            if found is not None:
                yield from _help(found, context, one)


def record(name: str) -> str:
    """The fields of one class of bench/record.py or bench/cell.py."""
    cls = getattr(import_module(Record.__module__), name)
    said = comments(cls)
    rows = [[f"`{one.name}`", f"`{_type(one.type)}`", said.get(one.name, "")] for one in fields(cls)]
    return f"{first_line(cls)}\n\n" + table(["Field", "Type", "Meaning"], rows)


def _type(kind: Any) -> str:
    """A field's type as it is written in the code, without modules."""
    if isinstance(kind, type) and not get_args(kind):
        return kind.__name__
    return re.sub(r"\b(\w+\.)+(?=[A-Z])", "", str(kind))


def notebook(source: str) -> str:
    """A notebook's JSON as the Markdown of a page: its texts, and its code in blocks. It holds no output."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(source)["cells"]]
    return "\n\n".join(text if kind == "markdown" else f"```python\n{text}\n```" for kind, text in cells)


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [heads, [":--"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


PARTS: dict[str, Callable[..., str]] = {
    part.__name__: part for part in (constants, facts, methods, numbers, commands, record)
}


def as_fields(lines: list[str]) -> None:
    """Mark `name: text` in a list with hanging indents, as our docstrings have it, for reStructuredText."""
    start = 0
    for end in [*(i for i, line in enumerate(lines) if not line.strip()), len(lines)]:
        if any(line.startswith("    ") for line in lines[start + 1 : end]):
            for i in range(start, end):
                lines[i] = re.sub(r"^(?=\w+: )", ":", lines[i])
        start = end + 1


def setup(app: Any) -> dict[str, bool]:
    def read_source(_: Any, name: str, source: list[str]) -> None:
        text = notebook(source[0]) if (DOCS / f"{name}.ipynb").is_file() else source[0]
        source[0] = filled(text, (DOCS / name).parent)

    app.connect("source-read", read_source)
    app.connect("autodoc-process-docstring", lambda *given: as_fields(given[-1]))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
