"""One verdict: sentence, letters, table, picture and page agree, and claim only what is established."""

import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fabricate import grid, record, write

from bench.record import Record
from bench.report.diagram import cd
from bench.report.drawing import save
from bench.report.frame import Results, load, select
from bench.report.leaderboard import page
from bench.report.summary import certainty, efficiency_table, ranks_table, savings, standing, verdict
from bench.report.tables import Form, measured

SIX = tuple(f"toy-{i}" for i in range(6))


def flat(method: str, dataset: str, seed: int, accuracy: float, **changes: Any) -> Record:
    """A record whose accuracy is the same at every checkpoint."""
    made = record(method, dataset, seed, **changes)
    scores = dict.fromkeys(made.accuracy, accuracy)
    trace = tuple(replace(point, accuracy=scores) for point in made.trace)
    return replace(made, accuracy=scores, trace=trace)


def noisy(seed: int, gaps: dict[str, float], sets: int = 6, protocol: str = "few-shot") -> list[Record]:
    """Three seeds of each method. The accuracy is 50 + the gap of the method + noise."""
    rng, made = random.Random(seed), []
    for method, gap in gaps.items():
        for dataset in SIX[:sets]:
            for run in (1, 2, 3):
                accuracy = round(50 + gap + rng.gauss(0, 2), 1)
                made.append(flat(method, dataset, run, accuracy, protocol=protocol))
    return made


def chosen(folder: Path, *records: Record, **wanted: Any) -> Results:
    return select(load(write(folder, *records)), **wanted)


def plain(html: str) -> str:
    """The words of a page, without the badges between its sentences."""
    return re.sub(r"<[^>]*>", "", re.sub(r'<span class="sure.*?</span> ', "", html)).replace("&#39;", "'")


def test_the_verdict_names_the_best_and_says_whether_it_is_real(tmp_path: Path) -> None:
    results = chosen(tmp_path, *grid(("manual", "blackvip", "zip", "coop"), SIX))
    said = verdict(standing(results), "the toy suite")
    assert said.startswith("At 5,000 queries on the toy suite, ZIP has the highest average:")
    assert (
        "over 6 data sets and 3 seeds. It leads BlackVIP by 8.0 points (95 % interval 8.0 to 8.0; p < 0.001"
        in said
    )
    assert "The difference is real" in said and "CoOp" not in said


def test_the_verdict_does_not_claim_what_chance_explains(tmp_path: Path) -> None:
    records = []
    for i, dataset in enumerate(SIX):
        for seed in (1, 2, 3):
            sign = 1 if i % 2 else -1
            records += [flat("zip", dataset, seed, 50.0 + sign), flat("blackvip", dataset, seed, 49.9 - sign)]
    s = standing(chosen(tmp_path, *records))
    assert s.comparison.tied("zip", "blackvip")
    said = verdict(s, "the toy suite")
    assert "The difference is not established: BlackVIP may be as good." in said
    # The differences are 2.1 and -1.9: sd 2.19, standard error 0.894; with 5 df delta is 3.51.
    assert "a lead has to be 3.1 points to be found with a probability of 80 %" in said


def test_a_real_lead_over_the_second_does_not_hide_a_third_that_may_be_as_good(tmp_path: Path) -> None:
    wild = (40, -40, 30, -30, 20, -25)
    records = [flat("zip", d, s, 60.0) for d in SIX for s in (1, 2, 3)]
    records += [flat("blackvip", d, s, 58.0 + 0.1 * i) for i, d in enumerate(SIX) for s in (1, 2, 3)]
    records += [flat("bar", d, s, 50.0 + w) for w, d in zip(wild, SIX, strict=True) for s in (1, 2, 3)]
    said = verdict(standing(chosen(tmp_path, *records)), "the toy suite")
    assert "That difference is real, but bar may be as good: their differences to it vary more." in said
    assert "The difference is real" not in said


def test_a_single_record_still_gets_a_verdict(tmp_path: Path) -> None:
    assert "the only method" in verdict(standing(chosen(tmp_path, record()), 500), "the toy suite")


def test_the_sentence_says_that_equal_averages_are_equal(tmp_path: Path) -> None:
    records = [flat(m, d, s, 50.0) for m in ("zip", "blackvip") for d in SIX for s in (1, 2, 3)]
    s = standing(chosen(tmp_path, *records))
    said = verdict(s, "the toy suite")
    assert said.endswith("ZIP has the same average. The difference is not established: ZIP may be as good.")
    assert s.ranks == {"blackvip": 1.5, "zip": 1.5}
    assert re.findall(r'<td data-value="(\d+)">', page(select(load(tmp_path)), tmp_path))[:2] == ["1", "1"]


@pytest.mark.parametrize(("sets", "seeds"), [(4, (1, 2, 3)), (6, (1, 2)), (1, (1,))])
def test_with_too_few_data_there_is_no_p_no_letter_and_no_verdict(
    tmp_path: Path, sets: int, seeds: tuple[int, ...]
) -> None:
    results = chosen(tmp_path, *grid(("blackvip", "zip"), SIX[:sets], seeds))
    s, table = standing(results), ranks_table(results)
    said = verdict(s, "the toy suite")
    assert s.comparison.differences == {} and s.comparison.letters == {}
    assert [row.lead[1] for row in table.blocks[0].rows] == ["–", "–"]
    printed = " ".join([said, *table.notes, *(e.text for row in table.blocks[0].rows for e in row.entries)])
    made = page(results, tmp_path)
    for claim in ("real", "established", "p =", "p <", "interval"):
        assert claim not in printed and claim not in re.sub(
            r"<[^>]*>", "", made.split("<main>")[1].split("All pairs of methods")[0]
        )
    assert "a test needs at least 5 data sets, and 3 seeds of each method" in said
    assert all("interval" not in sentence for sentence in savings(results))


def test_a_row_with_too_few_seeds_is_listed_and_does_not_change_the_others(tmp_path: Path) -> None:
    records = noisy(1, {"zip": 20.0, "blackvip": 0.0}) + [flat("mine", d, 1, 60.0) for d in SIX]
    results = chosen(tmp_path, *records)
    s = standing(results)
    assert s.order == ("zip", "mine", "blackvip") and s.tested == ["zip", "blackvip"]
    said = verdict(s, "the toy suite")
    assert (
        "Not tested because of too few seeds: mine (1); a test needs" in said
        and "Its lead over the others is real." in said
    )


def test_white_box_references_alone_get_no_sentence_about_saved_queries(tmp_path: Path) -> None:
    assert savings(chosen(tmp_path, *grid(("coop",), SIX))) == []


def test_the_hand_template_needs_one_seed(tmp_path: Path) -> None:
    records = noisy(1, {"zip": 20.0}) + [flat("manual", d, 1, 50.0) for d in SIX]
    assert standing(chosen(tmp_path, *records)).tested == ["zip", "manual"]


@pytest.mark.parametrize("seed", range(4))
def test_sentence_letters_table_picture_and_page_agree(tmp_path: Path, seed: int) -> None:
    gaps = {"zip": 3.0, "blackvip": 2.5, "bar": 1.0, "vp": -3.0, "bbt": -4.0}
    results = chosen(tmp_path / "results", *noisy(seed, gaps))
    s, table, made = standing(results), ranks_table(results), page(results, tmp_path)
    said = verdict(s, "the toy suite")
    assert table.notes[0] == said and said in plain(made)
    letters = s.comparison.letters
    assert {row.lead[0]: row.lead[1] for row in table.blocks[0].rows} == {
        s.labels[r]: letters[r] for r in s.order
    }
    last = made.split('data-budget="5000"')[1]
    rows = re.findall(
        r'data-row="(.*?)".*?\[(.*?)\].*?<b>(.*?)</b> <span class="range">\[(.*?)\]</span></td>'
        r"\s*<td>(.*?)</td>",
        last.split("<details")[0],
        re.S,
    )
    shown = [(row, f"{s.average[row]:.1f}", f"{s.spread[row]:.1f}", letters[row]) for row in s.order]
    assert [(row, average, letter) for row, _, average, _, letter in rows] == [
        (row, average, letter) for row, average, _, letter in shown
    ]
    # its intervals: of the rank, from the same comparison, and of the average, Student's over seeds
    assert {row: ranks for row, ranks, *_ in rows} == {
        row: "–".join(map(str, dict.fromkeys(s.comparison.rank_intervals[row]))) for row in s.order
    }
    half = {row: s.half_width[row] or 0.0 for row in s.order}
    assert {row: interval for row, _, _, interval, _ in rows} == {
        row: f"{s.average[row] - half[row]:.1f}, {s.average[row] + half[row]:.1f}" for row in s.order
    }
    # the table of the protocol prints the same averages and the same ±
    ends = {row.lead[0]: row.entries[-1].text for row in measured(results).blocks[0].rows}
    assert ends == {s.labels[row]: f"{average} ± {spread}" for row, average, spread, _ in shown}
    # Each bar of the picture is one letter, and each method with this letter is a dot on the bar.
    save(cd(results), tmp_path / "cd.svg")
    dotted = [line for line in cd(results).axes[0].lines if line.get_marker() == "o"]
    bars = [line for line in dotted if len(set(line.get_ydata())) == 1]  # a method's own line turns
    groups = [group for group in s.comparison.groups if len(group) > 1]
    assert [list(bar.get_xdata()) for bar in bars] == [[s.average[row] for row in group] for group in groups]
    # The methods that "may be as good" are those that share a letter with the best one.
    tied = [s.labels[r] for r in s.order[1:] if set(letters[r]) & set(letters[s.order[0]])]
    assert ("may be as good" in said) == bool(tied) and all(name in said for name in tied)
    assert certainty(s) == ("not established" if tied else "established")
    assert (s.comparison.rank_intervals[s.order[0]] == (1, 1)) == (not tied)


def test_base_to_new_has_one_number(tmp_path: Path) -> None:
    """Table, ranks, sentence and page show the same mean of the runs' harmonic means, and the same ±."""
    records = []
    for i, dataset in enumerate(SIX):
        for seed in (1, 2, 3):
            for method, gain in (("zip", 10.0), ("blackvip", 0.0)):
                made = record(method, dataset, seed, protocol="base-to-new")
                scores = {"base": 50.0 + 5 * i + gain, "new": 80.0 - 9 * i + seed}
                trace = tuple(replace(point, accuracy=scores) for point in made.trace)
                records.append(replace(made, accuracy=scores, trace=trace))
    results = chosen(tmp_path / "results", *records)
    runs = [
        [2 * b * n / (b + n) for i in range(6) for b, n in [(60.0 + 5 * i, 80.0 - 9 * i + s)]]
        for s in (1, 2, 3)
    ]
    mean = sum(map(sum, runs)) / 18
    text = f"{mean:.1f} ± {standing(results).spread['zip']:.1f}"
    whole = measured(results).blocks[-1].rows
    assert next(row.entries[-1].text for row in whole if row.lead[0] == "ZIP") == text
    ranks = ranks_table(results)
    assert ranks.blocks[0].rows[0].entries[0].text == text and f"average: {mean:.1f} %" in ranks.notes[0]
    last = page(results, tmp_path).split('data-budget="5000"')[1]
    row = [re.sub("<.*?>", "", cell) for cell in re.findall("<td.*?</td>", last, re.S)]
    assert row[1].startswith(f"{mean:.1f} [") and row[2:4] == ["72.5", f"{80.0 - 9 * 2.5 + 2:.1f}"]
    columns = [e.value for e in whole[0].entries[:-1]]
    assert sum(v for v in columns if v is not None) / 6 == pytest.approx(whole[0].entries[-1].value)


def test_no_report_depends_on_the_order_of_files(tmp_path: Path) -> None:
    records = noisy(3, {"zip": 3.0, "blackvip": 2.5, "bar": 1.0, "vp": -3.0})
    shuffled = random.Random(0).sample(records, len(records))
    made = []
    for name, each in (("a", records), ("b", shuffled)):
        for i, rec in enumerate(each):  # files are read in the order of their names
            write(tmp_path / name / f"{i:03}", rec)
        results = select(load(tmp_path / name))
        made.append((verdict(standing(results), "x"), ranks_table(results), savings(results)))
    assert made[0] == made[1]


def test_a_schedule_that_depends_on_the_budget_is_marked_where_a_longer_run_is_read(tmp_path: Path) -> None:
    records = noisy(1, {"zip": 5.0, "blackvip": 0.0})
    marked = [replace(r, schedule="budget" if r.cell.method == "zip" else "free") for r in records]
    results = chosen(tmp_path / "results", *marked)
    early, late = ranks_table(results, 500), ranks_table(results)
    assert [row.lead[0] for row in early.blocks[0].rows] == ["ZIP §", "BlackVIP"]
    assert any(note.startswith("§ read from a run of 5,000 queries") for note in early.notes)
    assert (
        "The schedule of ZIP depends on the budget, and these numbers are read from runs of 5,000"
        in early.notes[0]
    )
    assert "§" not in str(late)
    made = page(results, tmp_path)
    first, last = made.split('data-budget="5000"')[0], made.split('data-budget="5000"')[1]
    assert "ZIP §" in first and "§ read from" in first and "ZIP §" not in last.split("<script")[0]


def test_the_mark_is_in_the_other_tables_that_cut_runs(tmp_path: Path) -> None:
    records = grid(("zip",), SIX, schedule="budget") + grid(("manual",), SIX)
    results = chosen(tmp_path, *records)
    for table in (efficiency_table(results), measured(results, Form(images=7_000))):
        assert sorted(row.lead[0] for row in table.blocks[0].rows) == ["Manual Prompt", "ZIP §"]
        assert any(note.startswith("§") for note in table.notes)
    assert "§" not in str(measured(results, Form(images=10**9))) + str(measured(results))


def test_records_that_do_not_name_their_schedule_are_not_marked(tmp_path: Path) -> None:
    assert "§" not in str(ranks_table(chosen(tmp_path, *grid(("zip", "manual"), SIX)), 500))


def test_a_row_that_is_the_same_for_every_seed_has_no_spread(tmp_path: Path) -> None:
    zip_row, manual = ranks_table(chosen(tmp_path, *grid(("manual", "zip")))).blocks[0].rows
    assert "±" in zip_row.entries[0].text and "±" not in manual.entries[0].text
