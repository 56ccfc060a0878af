"""The papers' tables from measured records: few-shot, base-to-new, cross-dataset, out of distribution."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from bench.errors import UserError
from bench.report import published, stats
from bench.report.frame import Results, harmonic, refuse_holes, select, within_images
from bench.report.order import arrange, plain, shown, suite_datasets
from bench.report.style import params_text, rank_of
from bench.report.table import Block, Column, Entry, Row, Table, marked


@dataclass(frozen=True)
class Form:
    """What a reader may ask of a table."""

    partial: bool = False  # print a table with holes, n beside each incomplete mean
    spread: Literal["sd", "ci", "none"] = "sd"
    harmonic: Literal["of-averages", "mean"] = "of-averages"
    digits: int = 1
    images: int | None = None  # cut every run at so many image-queries


@dataclass(frozen=True)
class Scores:
    """One row's numbers in one block: per column, and their average; each with its value per seed."""

    values: pd.Series  # [columns]
    by_seed: pd.DataFrame  # [seeds, columns]
    average: float
    average_by_seed: pd.Series  # [seeds that have every column]


def tables(
    results: Results | None, protocol: str, source: str, form: Form = Form(), **wanted: object
) -> list[Table]:
    """`source`: measured, published or both; both share one table when of one suite, else stand apart."""
    suite, backbone, shots = (wanted.get(name) for name in ("suite", "backbone", "shots"))
    if source == "published":
        return [published.table(published.find(suite, protocol), backbone, shots)]  # type: ignore[arg-type]
    if results is None:
        raise UserError("measured tables need a results folder: name one with --results")
    chosen = select(results, protocol=protocol, **wanted)
    own = measured(chosen, form)
    if source == "measured":
        return [own]
    first = chosen.cells.iloc[0]
    theirs = [s for s in published.SOURCES if s.protocol == protocol]
    same = [s for s in theirs if s.suite == first["suite"]]
    if same:
        return [side_by_side(own, published.table(same[0], first["backbone"], int(first["shots"])))]
    return [own, *(published.example(s) for s in theirs)]


def measured(results: Results, form: Form = Form()) -> Table:
    """One table of selected records (frame.select). Raises UserError naming missing cells, unless partial."""
    missing = refuse_holes(results, partial=form.partial)
    if form.images is not None:
        results = within_images(results, form.images)
    cells = results.cells
    suite, protocol = cells["suite"].iloc[0], cells["protocol"].iloc[0]
    blocks = _blocks(cells, protocol, form)
    columns = {
        title: arrange(suite, {c for s in rows.values() for c in s.values.index})
        for title, rows in blocks.items()
    }
    names = list(dict.fromkeys(name for listed in columns.values() for name in listed))
    heads = [Column(_head(suite, protocol, name, cells)) for name in names] + [
        Column(_average_head(protocol))
    ]
    seeds = cells.groupby("row")["seed"].nunique().max()
    facts = {row: part for row, part in cells.groupby("row")}
    order = sorted(facts, key=lambda row: (facts[row]["white_box"].any(), rank_of(*_method(facts[row]))))
    table = Table(
        f"{published.TITLES[protocol]}, {suite} suite",
        ("Method", "#Params"),
        tuple(heads),
        tuple(
            Block(title, tuple(_row(facts[r], rows[r], names, int(seeds), form) for r in order if r in rows))
            for title, rows in blocks.items()
        ),
        tuple(_caption(results, len(names), missing, form)),
    )
    return marked(table)


def side_by_side(own: Table, theirs: Table) -> Table:
    """Block by block, measured rows and then the paper's, in the paper's columns and then our own."""
    place = {plain(column.name): i for i, column in enumerate(theirs.columns)}
    extra = [c for c in own.columns if plain(c.name) not in place]
    columns = (*theirs.columns[:-1], *extra, theirs.columns[-1])

    def spread_out(table: Table, row: Row) -> Row:
        have = {plain(c.name): e for c, e in zip(table.columns, row.entries, strict=True)}
        return replace(row, entries=tuple(have.get(plain(c.name), Entry()) for c in columns))

    titles = dict.fromkeys(b.title for b in (*own.blocks, *theirs.blocks))
    blocks = tuple(
        Block(
            title,
            tuple(
                spread_out(t, row)
                for t in (own, theirs)
                for b in t.blocks
                if b.title == title
                for row in b.rows
            ),
        )
        for title in titles
    )
    notes = (*own.notes, f"Published ({theirs.title.partition('published: ')[2]}): {' '.join(theirs.notes)}")
    return marked(Table(f"{own.title}: measured and published", own.heads, columns, blocks, notes))


def _method(part: pd.DataFrame) -> tuple[str, str]:
    return part["method"].iloc[0], part["variant"].iloc[0]


def _blocks(cells: pd.DataFrame, protocol: str, form: Form) -> dict[str, dict[str, Scores]]:
    """Block title -> row -> scores."""
    if protocol == "few-shot":
        return {"": {row: _plain(_wide(part, "dataset")) for row, part in cells.groupby("row")}}
    if protocol == "base-to-new":
        base = {row: _wide(p, "dataset") for row, p in cells[cells["test"] == "base"].groupby("row")}
        new = {row: _wide(p, "dataset") for row, p in cells[cells["test"] == "new"].groupby("row")}
        return {
            "Base": {row: _plain(wide) for row, wide in base.items()},
            "New": {row: _plain(wide) for row, wide in new.items()},
            "Harmonic": {row: _harmonic(base[row], new[row], form) for row in base if row in new},
        }
    by_source = cells.groupby("dataset", sort=False)
    return {
        f"Source: {source}" if by_source.ngroups > 1 else "": {
            row: _plain(_wide(p, "test"), averaged=[t for t in p["test"].unique() if t != source])
            for row, p in part.groupby("row")
        }
        for source, part in by_source
    }


def _wide(part: pd.DataFrame, column: str) -> pd.DataFrame:
    """[seeds, columns]"""
    return part.pivot(index="seed", columns=column, values="accuracy")


def _plain(wide: pd.DataFrame, averaged: Iterable[str] | None = None) -> Scores:
    values = wide.mean()
    sets = wide if averaged is None else wide[list(averaged)]
    return Scores(values, wide, float(sets.mean().mean()), sets.dropna().mean(axis=1))


def _harmonic(base: pd.DataFrame, new: pd.DataFrame, form: Form) -> Scores:
    by_seed = pd.DataFrame(harmonic(base, new), index=base.index, columns=base.columns)
    values = pd.Series(harmonic(base.mean(), new.mean()), index=base.columns)
    if form.harmonic == "mean":
        return Scores(values, by_seed, float(values.mean()), by_seed.dropna().mean(axis=1))
    whole = base.dropna().index.intersection(new.dropna().index)
    per_seed = pd.Series(harmonic(base.loc[whole].mean(axis=1), new.loc[whole].mean(axis=1)), index=whole)
    return Scores(values, by_seed, float(harmonic(base.mean().mean(), new.mean().mean())), per_seed)


def _row(part: pd.DataFrame, scores: Scores, names: list[str], seeds: int, form: Form) -> Row:
    seedless = bool((part["n_params"] == 0).all() and (part["queries"] == 0).all())
    white = bool(part["white_box"].any())

    def entry(value: float, by_seed: pd.Series, note: str = "") -> Entry:
        short = len(by_seed) < seeds and not seedless
        spread = None if seedless or form.spread == "none" else stats.spread(by_seed, form.spread)
        return Entry(value, spread, len(by_seed) if short else None, form.digits, note=note)

    entries = [
        entry(float(scores.values[name]), scores.by_seed[name].dropna())
        if name in scores.values.index
        else Entry()
        for name in names
    ]
    have = sum(e.value is not None for e in entries)
    note = f" ({have} of {len(names)} sets)" if have < len(names) else ""
    entries.append(entry(scores.average, scores.average_by_seed, note))
    params = params_text(int(part["n_params"].min()), int(part["n_params"].max()))
    return Row((part["label"].iloc[0], params), tuple(entries), "white box" if white else "measured")


def _head(suite: str, protocol: str, name: str, cells: pd.DataFrame) -> str:
    source = protocol in ("cross-dataset", "ood") and set(cells["dataset"]) == {name}
    return shown(suite, name) + (" (source)" if source else "")


def _average_head(protocol: str) -> str:
    return {"ood": "Average OOD", "cross-dataset": "Average of targets"}.get(protocol, "Average")


def _caption(results: Results, width: int, missing: list[str], form: Form) -> list[str]:
    cells = results.cells
    first = cells.iloc[0]
    seeds = sorted(int(s) for s in cells["seed"].unique())
    listed = f"{len(seeds)} seed{'s' * (len(seeds) > 1)} ({', '.join(map(str, seeds))})"
    made = f"{first['shots']} shots, backbone {first['backbone']}, {listed}."
    said = [f"{_budget(cells, form.images)}, {made}"]
    if first["score"] != "test":
        said.append(f"Scored on the {first['score']} split, not on the test split.")
    if len(seeds) > 1 and form.spread != "none":
        what = (
            "standard deviation over seeds (n - 1)" if form.spread == "sd" else "95 % t interval over seeds"
        )
        said.append(f"±: {what}; seeds are averaged first, data sets after.")
    said += [CONVENTION[form.harmonic]] if first["protocol"] == "base-to-new" else []
    whole = suite_datasets(first["suite"])
    inside = set(cells["dataset"]) <= set(whole)
    if first["protocol"] in ("few-shot", "base-to-new") and inside and 0 < width < len(whole):
        said.append(f"The average is over {width} of the suite's {len(whole)} data sets.")
    if missing:
        said.append(f"Partial, {len(missing)} cells missing: {'; '.join(missing[:20])}.")
    versions = sorted({one for all_ in cells["versions"].unique() for one in all_.split(", ") if one})
    return said + ([f"Versions: {', '.join(versions)}."] if versions else [])


def _budget(cells: pd.DataFrame, images: int | None) -> str:
    first, most = cells.iloc[0], int(cells["image_queries"].max())
    query = f"one prompt on one batch of at most {first['batch_size']} images"
    if images is None:
        return f"Budget {first['budget']:,} queries (a query: {query}; up to {most:,} image-queries)"
    return (
        f"Budget {images:,} image-queries (one prompt on one image): every run as it stood at its last "
        f"checkpoint within them, after at most {most:,} image-queries and {int(cells['queries'].max()):,} "
        f"queries (a query: {query})"
    )


CONVENTION = {
    "of-averages": "Harmonic average: harmonic mean of averaged base and averaged new (CoCoOp's convention).",
    "mean": "Harmonic average: mean of the data sets' harmonic means.",
}
