"""Tables as in the papers, from records: few-shot, base-to-new, cross-dataset, out of distribution."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from bench.cell import ELSEWHERE
from bench.errors import UserError
from bench.report import published, schedule, stats
from bench.report.access import deployment_said, group_of, place_of, wire_said
from bench.report.few import few_images_said
from bench.report.frame import Results, harmonic, refuse_missing, select, within_images
from bench.report.order import arrange, not_tuned_on, place_said, plain, shown, suite_datasets
from bench.report.scores import Scores, scores, scores_of, seedless
from bench.report.style import params_text
from bench.report.table import Block, Column, Entry, Row, Table, marked
from bench.words import absent, counted


@dataclass(frozen=True)
class Form:
    """The choices of the reader of a table."""

    partial: bool = False  # allow missing cells; an incomplete mean then shows its n
    spread: Literal["sd", "ci", "none"] = "sd"  # what stands after ±
    harmonic: Literal["mean", "of-averages"] = "mean"  # of-averages: as in CoCoOp, to compare with papers
    digits: int = 1  # decimals
    images: int | None = None  # read every run within this many image-queries


def tables(
    results: Results | None, protocol: str, source: str, form: Form = Form(), **wanted: Any
) -> list[Table]:
    """The tables of a protocol.

    source: "measured", "published" or "both"; "both" is one table if the paper has the same suite, else
    several. wanted: conditions and lists, as in frame.select.
    Raises UserError if there are no such records or numbers, or cells are missing.
    """
    suite, backbone, shots = (wanted.get(name) for name in ("suite", "backbone", "shots"))
    if source == "published":
        return [published.table(published.find(suite, protocol), backbone, shots)]
    if results is None:
        raise UserError("a table of measured numbers needs a folder of records: give it with --results")
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
    """The table of selected records (see frame.select).

    Raises UserError with the list of missing cells if there are any, unless `form.partial`.
    """
    missing = refuse_missing(results, partial=form.partial)
    bound = schedule.bound(results.cells) if _cut_short(results, form) else frozenset()
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
    apart = _apart(suite, protocol, names, form)
    heads = [Column(_head(suite, protocol, name, cells)) for name in names]
    heads += [Column(f"Other {len(apart)}")] if apart else []
    heads.append(Column(_average_head(protocol)))
    seeds = int(cells.groupby("row")["seed"].nunique().max())
    facts = {row: part for row, part in cells.groupby("row")}
    same = seedless(cells)
    order = sorted(facts, key=lambda row: place_of(facts[row]))
    table = Table(
        f"{published.TITLES[protocol]}, {place_said(cells)}",
        ("Method", "#Params"),
        tuple(heads),
        tuple(
            Block(
                title,
                tuple(
                    _row(facts[r], rows[r], names, apart, 0 if r in same else seeds, form, r in bound)
                    for r in order
                    if r in rows
                ),
            )
            for title, rows in blocks.items()
        ),
        (
            *_caption(results, len(names), missing, form),
            *([_apart_said(suite, apart)] if apart else []),
            *([schedule.said(int(cells["budget"].max()))] if bound else []),
        ),
        tuple(f"Versions: {', '.join(made)}." for made in [versions(cells)] if made),
    )
    return marked(table)


def _cut_short(results: Results, form: Form) -> bool:
    """Whether the table shows runs before their end."""
    return form.images is not None and form.images < results.cells["image_queries"].max()


def side_by_side(own: Table, theirs: Table) -> Table:
    """One table of both: in each block measured rows, then the paper's. The paper's columns come first."""
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
    title = f"{own.title}: measured and published"
    return marked(Table(title, own.heads, columns, blocks, notes, own.small_print))


def _blocks(cells: pd.DataFrame, protocol: str, form: Form) -> dict[str, dict[str, Scores]]:
    """Block title -> row -> its scores."""
    if protocol == "few-shot":
        return {"": scores(cells, "dataset")}
    if protocol == "base-to-new":
        base, new = (scores(cells[cells["test"] == side], "dataset") for side in ("base", "new"))
        return {
            "Base": base,
            "New": new,
            "Harmonic": {row: _harmonic(base[row], new[row], form) for row in base if row in new},
        }
    by_source = cells.groupby("dataset", sort=False)
    return {
        f"Source: {source}" if by_source.ngroups > 1 else "": scores(
            part, "test", averaged=[t for t in part["test"].unique() if t != source]
        )
        for source, part in by_source
    }


def _harmonic(base: Scores, new: Scores, form: Form) -> Scores:
    """The harmonic mean of every run, averaged like an accuracy; or with CoCoOp's average (see Form)."""
    runs = scores_of(pd.DataFrame(harmonic(base.by_seed, new.by_seed), *base.by_seed.axes))
    if form.harmonic == "mean":
        return runs
    averages = [side.average_by_seed for side in (base, new)]
    by_seed = pd.Series(harmonic(*averages), index=averages[0].index)
    return replace(runs, average=float(harmonic(base.average, new.average)), average_by_seed=by_seed)


def _apart(suite: str, protocol: str, names: list[str], form: Form) -> list[str]:
    """The columns that get an average of their own, because no parameter value was chosen on them.

    Empty for protocols that tune on one data set, and if all or none of the columns are of this kind.
    """
    if protocol in ELSEWHERE or form.harmonic == "of-averages":
        return []
    apart = [name for name in names if name in not_tuned_on(suite)]
    return apart if 1 < len(apart) < len(names) else []


def _apart_said(suite: str, apart: list[str]) -> str:
    used = [shown(suite, name) for name in suite_datasets(suite) if name not in not_tuned_on(suite)]
    return (
        f"Other {len(apart)}: the average over the data sets that were not used to choose parameter values. "
        f"Used for it were validation images of {', '.join(used)}."
    )


def _row(
    part: pd.DataFrame,
    scores: Scores,
    names: list[str],
    apart: list[str],
    seeds: int,
    form: Form,
    bound: bool = False,
) -> Row:
    """A row of the table. seeds: how many a complete row has; 0 if it is the same for every seed."""

    def entry(value: float, by_seed: pd.Series, note: str = "") -> Entry:
        spread = None if not seeds or form.spread == "none" else stats.spread(by_seed, form.spread)
        return Entry(value, spread, len(by_seed) if len(by_seed) < seeds else None, form.digits, note=note)

    entries = [
        entry(float(scores.values[name]), scores.by_seed[name].dropna())
        if name in scores.values.index
        else Entry()
        for name in names
    ]
    have = sum(e.value is not None for e in entries)
    note = f" ({have} of {len(names)} sets)" if have < len(names) else ""
    if apart:
        others = scores_of(scores.by_seed, apart)
        lacks = not set(apart) <= set(scores.by_seed.columns)
        entries.append(Entry() if lacks else entry(others.average, others.average_by_seed))
    entries.append(entry(scores.average, scores.average_by_seed, note))
    params = params_text(int(part["n_params"].min()), int(part["n_params"].max()))
    label = part["label"].iloc[0] + (schedule.SIGN if bound else "")
    return Row((label, params), tuple(entries), group_of(part))


def _head(suite: str, protocol: str, name: str, cells: pd.DataFrame) -> str:
    source = protocol in ELSEWHERE and set(cells["dataset"]) == {name}
    return shown(suite, name) + (" (source)" if source else "")


def _average_head(protocol: str) -> str:
    return {"ood": "Average OOD", "cross-dataset": "Average of targets"}.get(protocol, "Average")


def _caption(results: Results, width: int, missing: list[str], form: Form) -> list[str]:
    cells = results.cells
    first = cells.iloc[0]
    seeds = sorted(int(s) for s in cells["seed"].unique())
    listed = f"{counted(len(seeds), 'seed')} ({', '.join(map(str, seeds))})"
    made = f"{counted(int(first['shots']), 'shot')}, backbone {first['backbone']}, {listed}."
    said = [f"{_budget(cells, form.images)}, {made}", *wire_said(cells), *deployment_said(cells)]
    said += _fewer_shots(cells)
    said += few_images_said(cells)
    if first["score"] != "test":
        said.append(f"Scored on the {first['score']} split, not on the test split.")
    if len(seeds) > 1 and form.spread != "none":
        what = (
            "standard deviation over seeds (n - 1)" if form.spread == "sd" else "95 % t interval over seeds"
        )
        said.append(f"±: {what}. Averages are over seeds first, then over data sets.")
    said += [CONVENTION[form.harmonic]] if first["protocol"] == "base-to-new" else []
    whole = suite_datasets(first["suite"])
    inside = set(cells["dataset"]) <= set(whole)
    if first["protocol"] in ("few-shot", "base-to-new") and inside and 0 < width < len(whole):
        said.append(f"The average is over {width} of the suite's {len(whole)} data sets.")
    if missing:
        said.append(f"This table is partial: {absent(len(missing))}: {'; '.join(missing[:20])}.")
    return said


def versions(cells: pd.DataFrame) -> list[str]:
    """The versions with which records were made, e.g. 'torch 2.14.1', sorted."""
    return sorted({one for together in cells["versions"].unique() for one in together.split(", ") if one})


def _fewer_shots(cells: pd.DataFrame) -> list[str]:
    """The data sets with classes that have fewer training images than the shots that were asked for."""
    fewer = cells[(cells["n_train"] > 0) & (cells["n_train"] < cells["shots"] * cells["n_classes"])]
    firsts = {str(name): part.iloc[0] for name, part in fewer.groupby("dataset")}
    return [
        f"{name}: some classes have fewer than {one['shots']} training images; there are "
        f"{one['n_train']:,} for {one['n_classes']:,} classes."
        for name, one in firsts.items()
    ]


def _budget(cells: pd.DataFrame, images: int | None) -> str:
    first, most = cells.iloc[0], int(cells["image_queries"].max())
    query = f"one prompt on one batch of at most {counted(int(first['batch_size']), 'image')}"
    if images is None:
        budget = counted(int(first["budget"]), "query")
        return f"Budget {budget} (a query: {query}; up to {counted(most, 'image-query')})"
    return (
        f"Budget {counted(images, 'image-query')} (one prompt on one image): every run is read at its last "
        "checkpoint "
        f"within them, after at most {counted(most, 'image-query')} and "
        f"{counted(int(cells['queries'].max()), 'query')} (a query: {query})"
    )


CONVENTION = {
    "mean": "Harmonic: the harmonic mean of base and new of every run, averaged like an accuracy.",
    "of-averages": (
        "Harmonic average: the harmonic mean of the average base and the average new accuracy (CoCoOp's "
        "convention). Sentences, ranks and the leaderboard average the harmonic means of the runs instead."
    ),
}
