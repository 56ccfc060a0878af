"""Tables: small golden files, every number of the papers in its place, every name escaped."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from fabricate import SETS, failed, grid, record, with_outcomes, write

from bench.errors import UserError
from bench.record import Record
from bench.report import published
from bench.report.frame import load, select
from bench.report.order import arrange, shown
from bench.report.render import FORMS, render
from bench.report.summary import efficiency_table, ranks_table
from bench.report.table import Block, Column, Entry, Row, Table, marked
from bench.report.tables import Form, measured, tables
from bench.suite import load_suite

GOLDEN = Path(__file__).parent / "golden"
ENDINGS = {"markdown": "md", "csv": "csv", "latex": "tex", "html": "html", "terminal": "txt"}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write(tmp_path, *grid(("manual", "zip", "coop"), SETS[:2], (1, 2)))


@pytest.mark.parametrize("form", ENDINGS)
def test_golden_few_shot(small: Path, form: str) -> None:
    (table,) = tables(load(small), "few-shot", "measured")
    assert render(table, form) == (GOLDEN / f"few_shot.{ENDINGS[form]}").read_text(encoding="utf-8")


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_golden_base_to_new(tmp_path: Path, form: str) -> None:
    write(tmp_path, *grid(("manual", "zip"), SETS[:2], (1, 2), protocol="base-to-new"))
    (table,) = tables(load(tmp_path), "base-to-new", "measured")
    assert render(table, form) == (GOLDEN / f"base_to_new.{ENDINGS[form]}").read_text(encoding="utf-8")


SELECTIONS = [
    (published.SOURCES[0], {}),
    (published.SOURCES[1], {}),
    *((published.SOURCES[2], {"shots": n}) for n in (1, 2, 4, 8, 16)),
    *((published.SOURCES[3], {"backbone": b}) for b in ("RN50", "RN101", "ViT-B/32", "ViT-B/16")),
]


def test_every_published_number_is_in_its_cell() -> None:
    """The rendered table has every number of the CSV files in its place, with the digits of the paper."""
    shown: dict[str, dict[tuple, str]] = {source.file: {} for source, _ in SELECTIONS}
    for source, chosen in SELECTIONS:
        rows = list(csv.DictReader(io.StringIO(render(published.table(source, **chosen), "csv"))))
        for row in rows:
            for column, text in row.items():
                key = (row["block"], row["Method"], column, *chosen.values())
                shown[source.file][key] = text
    titles = {
        "bptvlm": "BPT-VLM",
        "blackvip": "BlackVIP",
        "manual": "Manual Prompt",
        "craft": "CraFT",
        "coop": "CoOp",
    }
    heads = {"AverageOOD": "Average OOD"}
    count = 0
    for source in published.SOURCES:
        with (published.folder() / source.file).open() as lines:
            for line in csv.DictReader(lines):
                method = titles.get(line["method"], line["method"].upper())
                column = heads.get(line["dataset"], line["dataset"])
                if source.protocol == "ood" and column == "ImageNet":
                    column = "ImageNet (source)"
                block = {"base": "Base", "new": "New", "harmonic": "Harmonic"}.get(line.get("set", ""), "")
                chosen = ()
                if source.suite == "craft":
                    value = line["backbone"] if source.protocol == "ood" else int(line["shots"]) or 16
                    chosen = (value,)
                text = shown[source.file][(block, method, column, *chosen)]
                assert text == f"{float(line['accuracy']):.{source.digits}f}", line
                count += 1
    assert count == 70 + 168 + 121 + 72


def test_published_tables_have_the_order_and_marks_of_the_papers() -> None:
    table = published.table(published.SOURCES[0])
    assert [row.lead for row in table.blocks[0].rows] == [
        ("Manual Prompt", "0k"), ("BAR", "37.6k"), ("BlackVIP", "9.9k"), ("BPT-VLM", "4.0k"), ("ZIP", "0.4k"),
    ]  # fmt: skip
    flowers = [c.name for c in table.columns].index("Flowers102")
    assert [row.entries[flowers].mark for row in table.blocks[0].rows] == ["best", "", "", "", "second"]
    assert [b.title for b in published.table(published.SOURCES[1]).blocks] == ["Base", "New", "Harmonic"]


def test_published_backbones_and_shots_are_not_mixed() -> None:
    with pytest.raises(UserError, match="choose one with --shots"):
        published.table(published.SOURCES[2])
    with pytest.raises(UserError, match="choose one with --backbone"):
        published.table(published.SOURCES[3])
    with pytest.raises(UserError, match="no published cross-dataset"):
        tables(None, "cross-dataset", "published")


def test_ties_share_a_mark_and_white_box_is_not_ranked() -> None:
    rows = [Row((n,), (Entry(v),)) for n, v in (("a", 61.24), ("b", 61.22), ("c", 60.0), ("d", 1.0))]
    rows.append(Row(("w",), (Entry(99.0),), "white box"))
    rows.append(Row(("p",), (Entry(98.0),), "published"))
    (block,) = marked(Table("t", ("Method",), (Column("x"),), (Block("", tuple(rows)),))).blocks
    assert [row.entries[0].mark for row in block.rows] == ["best", "best", "second", "", "", ""]


def test_rows_with_features_are_references_like_those_with_gradients(tmp_path: Path) -> None:
    table = measured(select(load(write(tmp_path, *grid(("coop", "adapter", "zip", "manual"))))))
    assert [(row.lead[0], row.group) for row in table.blocks[0].rows] == [
        ("Manual Prompt", "measured"), ("ZIP", "measured"), ("Adapter", "features"), ("CoOp", "white box"),
    ]  # fmt: skip
    assert [row.entries[-1].mark for row in table.blocks[0].rows] == ["second", "best", "", ""]
    text = render(table, "markdown")
    assert "| Adapter ¶ |" in text and "reads features of the model" in text and "| CoOp ‡ |" in text
    assert r"\P{}" in render(table, "latex")


def test_the_caption_says_what_a_batch_costs_to_deploy(tmp_path: Path) -> None:
    def notes(*records: Record) -> str:
        folder = write(tmp_path / str(len(list(tmp_path.iterdir()))), *grid(("zip", "manual")), *records)
        return " ".join(measured(select(load(folder))).notes)

    assert "deploy" not in notes()
    assert "deploy a batch of images: Ensemble 7. All other methods need one query." in notes(
        *grid(("many",), title="Ensemble", deploy_queries=7)
    )
    varied = [record("many", d, s, title="Ensemble", deploy_queries=s - 1) for d in SETS for s in (1, 2, 3)]
    assert "Ensemble 0 to 2." in notes(*varied)


def test_the_caption_says_what_is_unusual_about_the_black_box(tmp_path: Path) -> None:
    write(tmp_path, *grid(("zip",)), *grid(("zip",), answers="probs:2", pixels_8bit=True))
    usual = select(load(tmp_path))
    coarse = select(load(tmp_path), answers="probs:2", pixels_8bit=True)
    said = ["The black box answered with probs:2, not with logits.", "Pixel prompts were rounded to 8 bits."]
    for table in (measured, ranks_table, efficiency_table):
        options = {"absolute": [50.0]} if table is efficiency_table else {}
        assert set(said) <= set(table(coarse, **options).notes)
        assert not set(said) & set(table(usual, **options).notes)


def test_in_a_column_where_lower_is_better_the_lowest_is_marked() -> None:
    rows = tuple(Row((n,), (Entry(v),)) for n, v in (("a", 3.0), ("b", 1.0), ("c", float("inf"))))
    (block,) = marked(Table("t", ("Method",), (Column("x", "low"),), (Block("", rows),))).blocks
    assert [row.entries[0].mark for row in block.rows] == ["second", "best", ""]
    assert block.rows[2].entries[0].text == "∞"


def test_seeds_are_averaged_first_and_the_sd_divides_by_n_minus_1(tmp_path: Path) -> None:
    for seed, accuracy in ((1, 50.0), (2, 54.0), (3, 55.0)):
        write(tmp_path, record(seed=seed, accuracy={"test": accuracy}))
    (row,) = measured(select(load(tmp_path))).blocks[0].rows
    assert row.entries[0].text == "53.0 ± 2.6"  # sqrt((9 + 1 + 4) / 2) = 2.646
    (row,) = measured(select(load(tmp_path)), Form(spread="ci")).blocks[0].rows
    assert row.entries[0].text == "53.0 ± 6.6"  # 4.303 * 2.646 / sqrt(3) = 6.573
    (row,) = measured(select(load(tmp_path)), Form(spread="none", digits=2)).blocks[0].rows
    assert row.entries[0].text == "53.00"


def test_missing_cells_are_an_error_that_lists_them_and_partial_prints_n(tmp_path: Path) -> None:
    write(tmp_path, *grid(("zip", "blackvip")), failed(method="zip", dataset="toy-clocks", seed=2))
    results = select(load(tmp_path))
    with pytest.raises(
        UserError, match=r"1 cell is missing: zip / toy-clocks / seed 2 \(failed: RuntimeError"
    ):
        measured(results)
    table = measured(results, Form(partial=True))
    zip_row = table.blocks[0].rows[1]
    assert [e.n for e in zip_row.entries] == [2, None, None, 2]
    assert zip_row.entries[0].text.endswith(" ± 1.7 (n=2)")
    assert zip_row.entries[0].mark == "" and table.blocks[0].rows[0].entries[0].mark == "best"
    assert any("partial: 1 cell is missing" in note for note in table.notes)


def test_data_sets_that_were_not_tuned_on_have_an_average_of_their_own(tmp_path: Path) -> None:
    """Values of the suite mini were chosen on digits, letters and textures."""
    made = {"mini-digits": 90.0, "mini-colors": 40.0, "mini-shapes": 60.0}
    for name, accuracy in made.items():
        write(tmp_path, record(suite="mini", dataset=name, accuracy={"test": accuracy}))
    table = measured(select(load(tmp_path)))
    assert [column.name for column in table.columns] == ["colors", "digits", "shapes", "Other 2", "Average"]
    assert [entry.value for entry in table.blocks[0].rows[0].entries[-2:]] == [50.0, pytest.approx(190 / 3)]
    assert any("not used to choose parameter values" in note for note in table.notes)


def test_a_table_of_sets_that_were_all_tuned_on_has_one_average(tmp_path: Path) -> None:
    for name in ("mini-digits", "mini-letters"):
        write(tmp_path, record(suite="mini", dataset=name, accuracy={"test": 50.0}))
    assert [c.name for c in measured(select(load(tmp_path))).columns] == ["digits", "letters", "Average"]


def test_runs_cut_at_image_queries_show_the_accuracy_reached_by_then(tmp_path: Path) -> None:
    """32 images per query: 7,000 image-queries reach the checkpoint at 200 queries, but not that at 500."""
    results = select(load(write(tmp_path, record("zip"), record("manual"))))
    table = measured(results, Form(images=7_000))
    at_200 = next(p for p in record("zip").trace if p.queries == 200).accuracy["test"]
    assert table.blocks[0].rows[1].entries[0].mean == f"{at_200:.1f}"
    assert "Budget 7,000 image-queries" in table.notes[0]
    assert "at most 6,400 image-queries and 200 queries" in table.notes[0]
    assert measured(results, Form(images=10**9)).blocks == measured(results).blocks


def test_a_row_without_a_data_set_is_not_ranked_by_its_average(tmp_path: Path) -> None:
    write(tmp_path, *grid(("blackvip",)), *grid(("zip",), SETS[:2]))
    table = measured(select(load(tmp_path)), Form(partial=True))
    last = table.blocks[0].rows[1].entries[-1]
    assert last.text.endswith("(2 of 3 sets)") and last.mark == ""


def test_both_conventions_of_the_harmonic_average(tmp_path: Path) -> None:
    for name, base, new in (("toy-colors", 80.0, 20.0), ("toy-digits", 40.0, 60.0)):
        write(tmp_path, record(dataset=name, protocol="base-to-new", accuracy={"base": base, "new": new}))
    results = select(load(tmp_path))
    harmonic = measured(results).blocks[2].rows[0].entries
    assert [e.mean for e in harmonic] == ["32.0", "48.0", "40.0"]  # (32 + 48) / 2
    table = measured(results, Form(harmonic="of-averages"))
    assert [e.mean for e in table.blocks[2].rows[0].entries] == ["32.0", "48.0", "48.0"]  # 2 * 60 * 40 / 100
    assert any("CoCoOp" in note for note in table.notes)
    assert not any("CoCoOp" in note for note in measured(results).notes)


def test_the_harmonic_mean_is_taken_of_every_run(tmp_path: Path) -> None:
    for seed, base, new in ((1, 80.0, 20.0), (2, 40.0, 60.0)):
        accuracy = {"base": base, "new": new}
        write(tmp_path, record(seed=seed, protocol="base-to-new", accuracy=accuracy))
    (entry, _) = measured(select(load(tmp_path))).blocks[2].rows[0].entries
    # The mean of 32 and 48. The harmonic mean of the means would be 2 * 60 * 40 / 100 = 48.
    assert entry.text == "40.0 ± 11.3"


def test_cross_dataset_averages_the_targets_without_the_source(tmp_path: Path) -> None:
    accuracy = {"ImageNet": 70.0, "DTD": 40.0, "SVHN": 20.0}
    write(
        tmp_path,
        record(
            dataset="ImageNet",
            suite="zip",
            protocol="cross-dataset",
            tests=tuple(accuracy),
            accuracy=accuracy,
        ),
    )
    table = measured(select(load(tmp_path)))
    assert [c.name for c in table.columns] == ["DTD", "SVHN", "ImageNet (source)", "Average of targets"]
    assert table.blocks[0].rows[0].entries[-1].mean == "30.0"


def test_a_table_of_both_sources_marks_published_rows_and_ranks_them_separately(tmp_path: Path) -> None:
    sets = ("dtd", "svhn")
    write(tmp_path, *grid(("manual", "zip"), sets, suite="zip", backbone="ViT-B-16/openai"))
    (table,) = tables(load(tmp_path), "few-shot", "both")
    rows = table.blocks[0].rows
    assert [row.group for row in rows] == ["measured"] * 2 + ["published"] * 5
    dtd = [c.name for c in table.columns].index("DTD")
    assert [row.entries[dtd].mean for row in rows if row.lead[0] == "ZIP"] == ["52.0", "47.8"]
    assert [row.entries[dtd].mark for row in rows] == ["second", "best", "second", "", "", "", "best"]
    assert "ZIP †" in render(table, "markdown")


def test_toy_and_published_never_share_a_table(small: Path) -> None:
    made = tables(load(small), "few-shot", "both")
    assert len(made) == 3
    assert "toy suite" in made[0].title and all("published" in t.title for t in made[1:])
    assert all(row.group != "published" for row in made[0].blocks[0].rows)


def test_every_variant_has_its_own_row(tmp_path: Path) -> None:
    write(tmp_path, *grid(("zip",)), *grid(("zip",), overrides={"rank": 1}))
    table = measured(select(load(tmp_path)))
    assert [row.lead[0] for row in table.blocks[0].rows] == ["ZIP", "ZIP (rank=1)"]


@pytest.mark.parametrize("suite", ["zip", "craft"])
def test_a_papers_suite_finds_its_published_columns(suite: str) -> None:
    ours = [shown(suite, name) for name in load_suite(suite).datasets]
    assert set(ours) <= set(published.order(suite))
    assert arrange(suite, load_suite(suite).datasets) == list(load_suite(suite).datasets)


def test_the_mini_suites_print_their_sets_without_prefix() -> None:
    assert shown("mini", "mini-digits") == "digits" and shown("mini-many", "mini-tiles") == "tiles"
    assert shown("mine", "mini-tiles") == "mini-tiles"


NASTY = "<b>|x|_50%_{$}\\&#~^*`"


def test_every_format_escapes_names(tmp_path: Path) -> None:
    results = load(write(tmp_path, record(title=NASTY)))
    (table,) = tables(results, "few-shot", "measured")
    texts = {form: render(table, form) for form in [*FORMS, "terminal"]}
    assert "<b>" not in texts["markdown"] and "&lt;b&gt;\\|x\\|\\_50%" in texts["markdown"]
    assert "<b>" not in texts["html"] and "&lt;b&gt;|x|" in texts["html"]
    expected = r"\textless{}b\textgreater{}|x|\_50\%\_\{\$\}"
    expected += r"\textbackslash{}\&\#\textasciitilde{}\textasciicircum{}*`"
    assert expected in texts["latex"]
    assert NASTY in texts["terminal"]
    assert next(csv.DictReader(io.StringIO(texts["csv"])))["Method"] == NASTY


def test_a_narrow_terminal_shows_the_table_transposed(small: Path) -> None:
    (table,) = tables(load(small), "few-shot", "measured")
    lines = render(table, "terminal", width=60).splitlines()
    assert max(map(len, lines)) <= 60
    # The name of a column is now at the start of a line.
    assert any(line.split()[1:2] == ["Average"] for line in lines)


def test_an_unknown_format_gets_a_suggestion(small: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'latex'"):
        render(published.table(published.SOURCES[0]), "latx")


def test_a_table_says_where_classes_have_fewer_images_than_shots(tmp_path: Path) -> None:
    """16 shots of 4 classes are 64 images; one data set has 60."""
    sizes = {"toy-colors": 64, "toy-digits": 60, "toy-clocks": 0}  # 0: an early record, which does not say it
    records = [replace(with_outcomes(one), n_train=sizes[one.cell.dataset]) for one in grid(("zip",))]
    (table,) = tables(load(write(tmp_path, *records)), "few-shot", "measured")
    said = [note for note in table.notes if "training images" in note]
    assert said == [
        "toy-digits: some classes have fewer than 16 training images; there are 60 for 4 classes."
    ]


def test_few_test_images_are_said_under_every_table(tmp_path: Path) -> None:
    """Of 50 images, 40 right: Wilson's interval is 67.0 to 88.8 %, so its farther end is 13.0 points away."""
    few = [replace(one, n_test={"test": 50}) if one.cell.dataset == SETS[0] else one for one in grid()]
    for i, one in enumerate(few):
        if one.cell.dataset == SETS[0]:
            last = replace(one.trace[-1], accuracy={"test": 80.0})
            few[i] = replace(one, accuracy={"test": 80.0}, trace=(*one.trace[:-1], last))
    results = load(write(tmp_path, *few))
    whole = select(results)
    for table in (measured(whole), ranks_table(whole), efficiency_table(whole)):
        (said,) = [note for note in table.notes if note.startswith("Test sets of fewer than 200 images")]
        assert f"{SETS[0].removeprefix('toy-')} (50; up to 13.0 points)" in said and SETS[1] not in said
    plenty = measured(select(load(write(tmp_path / "plenty", *grid()))))
    assert not any("fewer than 200" in note for note in plenty.notes)
