"""What the page says about one row when it is opened: facts, links, records, the command, single classes."""

import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.answered import DEFAULT
from bench.cell import ELSEWHERE, show
from bench.declared import declared
from bench.paths import checkout
from bench.plugins import METHODS
from bench.record import Outcome
from bench.report.class_names import ClassNames, class_names
from bench.report.frame import Results
from bench.report.order import arrange, shown, suite_datasets

MOST = 20  # classes that are listed, the least accurate first
CONFUSED = 5  # confusions that are listed


@dataclass(frozen=True)
class Link:
    """A text, and where it leads; '' if it leads nowhere from this page."""

    text: str
    href: str = ""


@dataclass(frozen=True)
class ClassLine:
    """One test set, all seeds together: its classes with their accuracies, and what is taken for what.

    unnamed: why its classes have numbers; '' if they have names.
    """

    test: str
    classes: tuple[tuple[str, float], ...]  # name, accuracy in %; the least accurate first
    left_out: int  # number of classes that are not listed
    confusions: tuple[tuple[str, str, float], ...]  # class, answered, % of the class
    unnamed: str


@dataclass(frozen=True)
class Reading:
    """What a row had reached after a number of queries, and what that cost: names and texts."""

    budget: int
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Detail:
    """An opened row. budget: of the runs that the curves, classes, records and command are of, in queries."""

    row: str
    label: str
    budget: int
    readings: tuple[Reading, ...]
    facts: tuple[tuple[str, Link], ...]
    records: tuple[tuple[str, tuple[Link, ...]], ...]  # data set, one link for each seed
    command: str
    classes: tuple[ClassLine, ...]


def detail(
    results: Results, row: str, readings: Iterable[Reading], facts: Mapping[str, str], home: Path
) -> Detail:
    """The detail of a row. results: the records of one table. facts: what the page's table knows of the row.

    home: the folder of the page; links are relative to it.
    """
    cells = results.cells[results.cells["row"] == row]
    suite, method, label, budget = cells[["suite", "method", "label", "budget"]].iloc[0]
    by_set: dict[str, dict[str, Link]] = {}
    for dataset, seed, path in sorted(zip(cells["dataset"], cells["seed"], cells["path"], strict=True)):
        by_set.setdefault(dataset, {})[path] = Link(f"seed {seed}", _relative(path, home))
    return Detail(
        row,
        str(label),
        int(budget),
        tuple(readings),
        (*((name, Link(text)) for name, text in facts.items() if text), *_source(str(method), home)),
        tuple((shown(suite, d), tuple(by_set[d].values())) for d in arrange(suite, by_set)),
        command(cells),
        tuple(_classes(results, cells)),
    )


def _source(method: str, home: Path) -> list[tuple[str, Link]]:
    """The paper and the file of a method."""
    said = declared(method)
    paper = [("Paper", Link(said.paper or said.link, said.link))] if said.paper or said.link else []
    file = METHODS.files().get(method)
    if file is None:
        return paper
    return [*paper, ("File", Link(f"{METHODS.where}/{file.name}", inside(file, home)))]


def inside(path: Path, home: Path) -> str:
    """The address of a file of the repository from the page in `home`; '' if the page lies elsewhere."""
    root = checkout()
    if root is None or not home.resolve().is_relative_to(root) or not path.is_relative_to(root):
        return ""
    return Path(os.path.relpath(path, home.resolve())).as_posix()


def _relative(path: str, home: Path) -> str:
    return Path(os.path.relpath(path, home)).as_posix()


def command(cells: pd.DataFrame) -> str:
    """The command that makes the records of one row again."""
    first = cells.iloc[0]
    datasets = arrange(first["suite"], cells["dataset"])
    seeds = sorted(int(seed) for seed in cells["seed"].unique())
    words = ["bench", "run", "--suite", first["suite"], "--methods", first["method"]]
    if datasets != list(suite_datasets(first["suite"])) and first["protocol"] not in ELSEWHERE:
        words += ["--datasets", ",".join(datasets)]
    words += ["--protocol", first["protocol"], "--seeds", ",".join(map(str, seeds))]
    words += [
        "--budget",
        str(first["budget"]),
        "--shots",
        str(first["shots"]),
        "--backbone",
        first["backbone"],
    ]
    for name, value in sorted(first["overrides"].items()):
        words += ["--set", f"{first['method']}.{name}={show(value)}"]
    words += ["--answers", first["answers"]] if first["answers"] != DEFAULT else []
    words += ["--pixels-8bit"] if first["pixels_8bit"] else []
    return shlex.join(words)


def _classes(results: Results, cells: pd.DataFrame) -> list[ClassLine]:
    """The accuracies by class, of the records that say them."""
    suite, protocol = cells[["suite", "protocol"]].iloc[0]
    found: dict[str, dict[str, list[Outcome]]] = {}
    for dataset, test, path in zip(cells["dataset"], cells["test"], cells["path"], strict=True):
        if test in results.outcomes.get(path, ()):
            found.setdefault(dataset, {}).setdefault(test, []).append(results.outcomes[path][test])
    lines = []
    for dataset in arrange(suite, found):
        for test, outcomes in found[dataset].items():
            title = shown(suite, dataset) + ("" if test == "test" else f", {shown(suite, test)}")
            known = class_names(protocol, dataset, test, len(outcomes[0].images))
            lines.append(_class_line(title, outcomes, known))
    return lines


def _class_line(title: str, found: list[Outcome], known: ClassNames) -> ClassLine:
    names = known.names
    right = [sum(seeds) for seeds in zip(*(one.right for one in found), strict=True)]
    images = [sum(seeds) for seeds in zip(*(one.images for one in found), strict=True)]
    accuracy = {i: 100 * right[i] / images[i] for i in range(len(names)) if images[i]}
    order = sorted(accuracy, key=lambda i: (accuracy[i], i))
    confused: dict[tuple[int, int], int] = {}
    for one in (confusion for outcome in found for confusion in outcome.confusions):
        confused[one.label, one.answered] = confused.get((one.label, one.answered), 0) + one.images
    most = sorted(confused, key=lambda pair: (-confused[pair], pair))[:CONFUSED]
    return ClassLine(
        title,
        tuple((names[i], accuracy[i]) for i in order[:MOST]),
        max(0, len(order) - MOST),
        tuple((names[a], names[b], 100 * confused[a, b] / images[a]) for a, b in most),
        known.why,
    )
