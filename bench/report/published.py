"""The papers' own numbers, as data: results/published in a checkout, beside this file in a wheel."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.errors import UserError
from bench.paths import checkout
from bench.report.style import look, rank_of
from bench.report.table import Block, Column, Entry, Row, Table, marked


@dataclass(frozen=True)
class Source:
    """One published table."""

    file: str
    suite: str
    protocol: str
    paper: str
    setting: str
    digits: int  # printed behind the point
    backbone: str = ""  # where the CSV names none
    shots: int = 0  # where the CSV names none; 0: not stated
    average: str = ""  # the printed average's name; '' where none was printed

    @property
    def slack(self) -> float:
        """How far rounding can have moved a printed number: half of its last digit."""
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
    """Where the CSVs lie."""
    home = checkout()
    return home / "results" / "published" if home else Path(__file__).with_name("published")


def load(source: Source) -> pd.DataFrame:
    """Columns method, params, backbone, shots, block, dataset, accuracy (float) and text (as printed).

    Raises UserError when the file is missing.
    """
    path = folder() / source.file
    if not path.exists():
        raise UserError(f"published numbers missing: no {path}; restore it from the repository")
    frame = pd.read_csv(path, dtype={"accuracy": str, "params": str})
    defaults = {"params": "", "backbone": source.backbone, "shots": source.shots, "set": ""}
    frame = frame.assign(**{name: value for name, value in defaults.items() if name not in frame})
    frame["block"] = frame.pop("set").map(lambda name: BLOCKS.get(name, ""))
    frame = frame.rename(columns={"accuracy": "text"})
    return frame.assign(accuracy=frame["text"].astype(float))


def find(suite: str | None, protocol: str) -> Source:
    """The published table of a suite and protocol; UserError names those there are."""
    found = [s for s in SOURCES if s.protocol == protocol and suite in (None, s.suite)]
    if len(found) == 1:
        return found[0]
    there = "; ".join(f"--suite {s.suite} {s.protocol} ({s.paper})" for s in found or SOURCES)
    what = f"{protocol} table" + (f" for suite {suite!r}" if suite else "")
    raise UserError(f"{'several' if found else 'no'} published {what}. Published: {there}")


def order(suite: str) -> tuple[str, ...]:
    """The data sets of a papers' suite as its tables list them; () for a suite nobody published."""
    names: dict[str, None] = {}
    for source in SOURCES:
        if source.suite == suite:
            names |= dict.fromkeys(d for d in load(source)["dataset"] if d != source.average)
    return tuple(names)


def table(source: Source, backbone: str | None = None, shots: int | None = None) -> Table:
    """The paper's table as it was printed, Average included; an average nobody printed is ours, and said so.

    Raises UserError when the source holds several backbones or shots and none is chosen.
    """
    frame = load(source)
    frame = _choose(frame, "backbone", backbone)
    zero = frame["shots"] == 0  # the hand template stands in every table
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
    """The source's table at the setting most read: 16 shots and, where there are several backbones, RN50."""
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
    lead = (look(method).title, str(rows["params"].iloc[0]) or "–")
    return rank_of(method), Row(lead, entries, "published white box" if method == "coop" else "published")


def _head(source: Source, name: str) -> str:
    if source.protocol != "ood":
        return name
    return {"ImageNet": "ImageNet (source)", "Average": "Average OOD"}.get(name, name)


def _caption(source: Source, frame: pd.DataFrame) -> str:
    shots = sorted(set(frame["shots"]) - {0})
    said = f"Backbone {frame['backbone'].iloc[0]}, " + (f"{shots[0]} shots, " if shots else "")
    ours = "" if source.average else " The average is ours: the paper's log prints none."
    return f"{said}{source.setting}.{ours}"


def _choose(frame: pd.DataFrame, name: str, value: object) -> pd.DataFrame:
    values = list(dict.fromkeys(frame[name]))
    if value is None and len(values) > 1:
        raise UserError(f"published for {name} {', '.join(map(str, values))}: choose one with --{name}")
    kept = frame if value is None else frame[frame[name].map(_key) == _key(value)]
    if kept.empty:
        raise UserError(f"nothing published for {name} {value}; there is {', '.join(map(str, values))}")
    return kept


def _key(value: object) -> str:
    # one backbone, three spellings: ViT-B/16, ViT-B-16, ViT-B-16/openai
    return str(value).lower().removesuffix("/openai").replace("/", "-")
