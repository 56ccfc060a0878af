"""The papers' own numbers: CSV files in results/published of a checkout, or beside this file in a wheel."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.errors import UserError
from bench.paths import checkout
from bench.report.style import name_of, rank_of
from bench.report.table import Block, Column, Entry, Row, Table, marked
from bench.words import counted


@dataclass(frozen=True)
class Source:
    """One published table: its CSV file, and what the paper says about it."""

    file: str
    suite: str
    protocol: str
    paper: str
    setting: str  # the budget, as the paper counts it
    digits: int  # decimals of the printed numbers
    backbone: str = ""  # used if the CSV has no column for it
    shots: int = 0  # used if the CSV has no column for it; 0: not stated
    average: str = ""  # the name of the printed average; '' if the paper prints none

    @property
    def slack(self) -> float:
        """The largest change of a number by rounding: half a unit of its last digit."""
        return 0.5 * 10**-self.digits


ZIP, CRAFT = "ZIP, ICLR 2025", "CraFT, ICML 2024"
SETTING = "5,000 queries"
OWN = "the authors' own query count (one candidate = one query)"
SOURCES = (
    Source("zip_iclr2025_few_shot.csv", "zip", "few-shot", ZIP, SETTING, 1, "ViT-B/16", 16, "Average"),
    Source("zip_iclr2025_base_to_new.csv", "zip", "base-to-new", ZIP, SETTING, 1, "ViT-B/16", 16, "Average"),
    Source("craft_icml2024_few_shot.csv", "craft", "few-shot", CRAFT, OWN, 2),
    Source("craft_icml2024_ood.csv", "craft", "ood", CRAFT, OWN, 2, average="AverageOOD"),
)
BLOCKS = {"base": "Base", "new": "New", "harmonic": "Harmonic"}


def folder() -> Path:
    """The folder of the CSV files."""
    home = checkout()
    return home / "results" / "published" if home else Path(__file__).with_name("published")


def load(source: Source) -> pd.DataFrame:
    """The numbers: method, params, backbone, shots, block, dataset, accuracy (float), text (as printed).

    Raises UserError if the file is missing.
    """
    path = folder() / source.file
    if not path.exists():
        raise UserError(f"the published numbers {path} are missing: restore the file from the repository")
    frame = pd.read_csv(path, dtype={"accuracy": str, "params": str})
    defaults = {"params": "", "backbone": source.backbone, "shots": source.shots, "set": ""}
    frame = frame.assign(**{name: value for name, value in defaults.items() if name not in frame})
    frame["block"] = frame.pop("set").map(lambda name: BLOCKS.get(name, ""))
    frame = frame.rename(columns={"accuracy": "text"})
    return frame.assign(accuracy=frame["text"].astype(float))


def find(suite: str | None, protocol: str) -> Source:
    """The published table of a suite and protocol.

    Raises UserError, with a list of the published tables, if there is none or there are several.
    """
    found = [s for s in SOURCES if s.protocol == protocol and suite in (None, s.suite)]
    if len(found) == 1:
        return found[0]
    there = "; ".join(f"--suite {s.suite} {s.protocol} ({s.paper})" for s in found or SOURCES)
    what = f"{protocol} table" + (f" for suite {suite!r}" if suite else "")
    raise UserError(f"{'several' if found else 'no'} published {what}. Published: {there}")


def order(suite: str) -> tuple[str, ...]:
    """The data sets of a suite, in the order of its paper's tables; () for a suite without a paper."""
    names: dict[str, None] = {}
    for source in SOURCES:
        if source.suite == suite:
            names |= dict.fromkeys(d for d in load(source)["dataset"] if d != source.average)
    return tuple(names)


def table(source: Source, backbone: str | None = None, shots: int | None = None) -> Table:
    """The paper's table as it was printed, with its averages.

    If the paper prints no average, it is computed here, and the caption says so.
    Raises UserError if the table holds several backbones or shots and none is chosen, or not the chosen one.
    """
    frame = load(source)
    frame = _choose(frame, "backbone", backbone)
    zero = frame["shots"] == 0  # the hand template, which is in the table for every number of shots
    if not zero.all():
        frame = pd.concat([frame[zero], _choose(frame[~zero], "shots", shots)])
    datasets = [d for d in dict.fromkeys(frame["dataset"]) if d != source.average]
    names = [*datasets, "Average"]
    blocks = []
    for block in dict.fromkeys(frame["block"]):
        part = frame[frame["block"] == block].rename(columns={"dataset": "column"})
        part = part.assign(column=part["column"].replace({source.average: "Average"}))
        rows = [_row(source, method, rows, names) for method, rows in part.groupby("method", sort=False)]
        blocks.append((block, sorted(rows, key=lambda pair: pair[0])))
    columns = tuple(Column(_head(source, name)) for name in names)
    return marked(
        Table(
            f"{TITLES[source.protocol]}, published: {source.paper} ({source.suite} suite)",
            ("Method", "#Params"),
            columns,
            tuple(Block(title, tuple(row for _, row in rows)) for title, rows in blocks),
            (_caption(source, frame),),
        )
    )


def example(source: Source) -> Table:
    """The published table at 16 shots and, if there are several backbones, with RN50."""
    frame = load(source)
    return table(
        source,
        "RN50" if frame["backbone"].nunique() > 1 else None,
        16 if (frame["shots"] > 0).any() else None,
    )


TITLES = {
    "few-shot": "Few-shot accuracy (%)",
    "base-to-new": "Base-to-new generalisation, accuracy (%)",
    "cross-dataset": "Cross-dataset transfer, accuracy (%)",
    "ood": "Out-of-distribution generalisation, accuracy (%)",
}


def _row(
    source: Source, method: str, rows: pd.DataFrame, names: list[str]
) -> tuple[tuple[int, str, str], Row]:
    cells = dict(zip(rows["column"], rows["accuracy"], strict=True))
    if "Average" not in cells:
        cells["Average"] = sum(cells.values()) / len(cells)
    entries = tuple(Entry(cells.get(name), digits=source.digits) for name in names)
    lead = (name_of(method), str(rows["params"].iloc[0]) or "–")
    return rank_of(method), Row(lead, entries, "published white box" if method == "coop" else "published")


def _head(source: Source, name: str) -> str:
    if source.protocol != "ood":
        return name
    return {"ImageNet": "ImageNet (source)", "Average": "Average OOD"}.get(name, name)


def _caption(source: Source, frame: pd.DataFrame) -> str:
    shots = sorted(set(frame["shots"]) - {0})
    said = f"Backbone {frame['backbone'].iloc[0]}, " + (
        f"{counted(int(shots[0]), 'shot')}, " if shots else ""
    )
    ours = "" if source.average else " The paper prints no average; this one is computed from its numbers."
    return f"{said}{source.setting}.{ours}"


def _choose(frame: pd.DataFrame, name: str, value: object) -> pd.DataFrame:
    values = list(dict.fromkeys(frame[name]))
    if value is None and len(values) > 1:
        raise UserError(
            f"the paper has numbers for {name} {', '.join(map(str, values))}: choose one with --{name}"
        )
    kept = frame if value is None else frame[frame[name].map(_key) == _key(value)]
    if kept.empty:
        raise UserError(
            f"the paper has no numbers for {name} {value}: choose one of {', '.join(map(str, values))}"
        )
    return kept


def _key(value: object) -> str:
    # one backbone has three spellings: ViT-B/16, ViT-B-16 and ViT-B-16/openai
    return str(value).lower().removesuffix("/openai").replace("/", "-")
