"""The leaderboard page: its content, that it is safe and loads nothing, and its behaviour in a browser."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from fabricate import grid, record, with_outcomes, write
from matplotlib.image import imread

from bench.code import code_hash
from bench.data.card import load_card
from bench.errors import UserError
from bench.paths import HOME
from bench.plugins import METHODS, method_hash
from bench.record import ChatLog, Record, Wired
from bench.report import board, charts, cost, stale
from bench.report.charts import Cost, front
from bench.report.dollars import Asked
from bench.report.frame import load, select
from bench.report.leaderboard import page
from bench.suite import load_suite

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NASTY = "</script><img src=x onerror=alert(1)>'\"&"


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    home = tmp_path_factory.mktemp("board")
    write(home / "results", *grid(("manual", "blackvip", "zip", "coop")), *grid(protocol="base-to-new"))
    write(home / "results", *grid(("mine",), title=NASTY))
    return page(load(home / "results"), home)


def section(html: str, index: int) -> str:
    return re.findall(r"<section.*?</section>", html, re.S)[index]


def test_the_page_states_the_verdict_in_words(html: str) -> None:
    said = re.search(r'<div class="headline">(.*?)</div>', section(html, 0), re.S)
    assert said
    for budget in ("500", "1,000", "5,000"):
        assert f"At {budget} queries on the toy suite, ZIP has the highest average:" in said[1]
    assert said[1].count("was not tested: a test needs at least 5 data sets") == 3
    assert said[1].count(">Not tested</span>") == 3


def test_two_charts_show_the_average_and_the_cost_with_its_front(html: str) -> None:
    curves, costs = re.findall(r"<figure>(.*?)</figure>", section(html, 0), re.S)
    assert 'class="line"' in curves and "queries</text>" in curves and "average accuracy (%)" in curves
    assert costs.count('class="front"') == 1 and "queries to tune</text>" in costs
    assert "from 0: Manual Prompt (" in costs and "ZIP (" in costs and "BlackVIP (" not in costs


def test_the_front_holds_what_nothing_as_cheap_beats() -> None:
    bought = {"a": [(10.0, 50.0), (100.0, 60.0)], "b": [(10.0, 55.0)], "c": [(200.0, 60.0), (300.0, 61.0)]}
    assert front(Cost("queries", bought)) == [(10.0, 55.0, "b"), (100.0, 60.0, "a"), (300.0, 61.0, "c")]
    assert front(Cost("queries", {})) == []


PRICE = '[price]\ndate = "2026-01-31"\nimage = 0.01\n'  # a query of 32 images: $0.32


def priced(folder: Path, text: str = PRICE, **asked: Any) -> Asked:
    file = folder / "clip.toml"
    file.write_text(text, encoding="utf-8")
    return Asked(file, **asked)


@pytest.fixture(scope="module")
def dollars(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The first tab of a page with prices."""
    home = tmp_path_factory.mktemp("dollars")
    write(home / "results", *grid(("manual", "blackvip", "zip", "coop")))
    return section(page(load(home / "results"), home, price=priced(home)), 0)


def dollar_rows(tab: str) -> list[list[str]]:
    """The lines of the table of dollars, with its heading first."""
    table = re.search(r'<table class="stack money".*?</table>', tab, re.S)
    assert table
    lines = re.findall(r"<tr.*?</tr>", table[0], re.S)
    return [[re.sub("<.*?>", "", one) for one in re.findall("<t[dh].*?</t[dh]>", row, re.S)] for row in lines]


def test_without_prices_one_line_says_how_to_get_dollars(html: str) -> None:
    for tab in (section(html, 0), section(html, 1)):
        assert tab.count("bench leaderboard --price FILE") == 1 and "docs/serve.md" in tab
        assert tab.count("Dollars") == 1 and "$" not in tab and tab.count("<figure>") == 2


def test_the_page_has_the_table_of_bench_table_cost(dollars: str, tmp_path: Path) -> None:
    results = select(load(write(tmp_path, *grid(("manual", "blackvip", "zip", "coop")))))
    table = cost.cost_table(results, cost.tariff(priced(tmp_path).file, results))
    heads, *rows = dollar_rows(dollars)
    assert heads == ["Method", "Runs on", *(column.name for column in table.columns)]
    want = {row.lead[0]: [row.lead[1], *(one.text for one in row.entries)] for row in table.blocks[0].rows}
    want["CoOp (white box)"] = want.pop("CoOp")
    assert {name: [unescape(one) for one in cells] for name, *cells in rows} == want
    assert [row[0] for row in rows] == ["ZIP", "BlackVIP", "Manual Prompt", "CoOp (white box)"]
    assert all(note in unescape(dollars) for note in table.notes)
    assert "bench leaderboard --price" not in dollars and "Dollars, after 5,000 queries" in dollars


def test_dollars_are_drawn_with_their_front(dollars: str) -> None:
    """ZIP's accuracies are those of the queries; 100, 500, 1,000 and 5,000 of them cost $0.32 each."""
    queries, drawn = re.findall(r"<figure>(.*?)</figure>", dollars, re.S)[1:]
    assert (
        drawn.count('class="front"') == 1 and ">dollars to tune</text>" in drawn and ">$100</text>" in drawn
    )
    bought = re.findall(r"<title>ZIP: (.*?) % after (.*?) to tune</title>", drawn)
    assert [amount for _, amount in bought] == ["$32.00", "$160.00", "$320.00", "$1,600.00"]
    assert [one for one, _ in bought] == re.findall(r"<title>ZIP: (.*?) % after", queries)
    assert "from $0.00: Manual Prompt (" in drawn and "; from $32.00: ZIP (" in drawn
    assert "BlackVIP (" not in drawn


def test_small_dollars_have_an_axis_of_their_own() -> None:
    drawn = charts.costs(Cost("dollars", {"zip": [(0.0, 40.0), (2e-5, 50.0), (3e-4, 60.0)]}, 6), {}, None)
    assert ">$0.0001</text>" in drawn and ">$1</text>" not in drawn


def test_the_page_says_where_prices_come_from(dollars: str, tmp_path: Path) -> None:
    said = "The prices are those of clip.toml, in dollars, as of 2026-01-31"
    assert f"{said}. The file does not say their source." in dollars
    results = load(write(tmp_path / "results", *grid()))
    named = page(results, tmp_path, price=priced(tmp_path, PRICE + 'source = "<b>https://a/b</b>"\n'))
    assert f"{said}, from &lt;b&gt;https://a/b&lt;/b&gt;." in named and "<b>https" not in named
    assert "Prices of 2026-01-31 (&lt;b&gt;https://a/b" in named


def test_what_dollars_lack_is_said(tmp_path: Path) -> None:
    """Calls of a language model without a price, missing cells, variants, and a price of nothing."""
    chat = ChatLog("x.chat.jsonl", "0", 9, "", 100, 50, 0, None, (), (), (), 9, 0)
    records = [*grid(), *grid(("llm",), overrides={"model": "m1"}, title="LLM", chat=chat)]
    records += [record("blackvip", seed=4), *grid(("zip",), overrides={"rank": 1})]
    results = load(write(tmp_path / "results", *records))
    tab = section(page(results, tmp_path, price=priced(tmp_path)), 0)
    assert "Not in the picture of dollars, for want of a price: LLM (model=m1)." in tab
    drawn = re.findall(r"<figure>(.*?)</figure>", tab, re.S)
    assert "<title>LLM" in drawn[1] and "<title>LLM" not in drawn[2]
    assert "This table is partial: " in tab and "--variants` ranks and prices them" in tab
    free = section(page(results, tmp_path, price=priced(tmp_path, PRICE.replace("0.01", "0.0"))), 0)
    assert "nothing costs anything" in free and free.count("<figure>") == 2 and len(dollar_rows(free)) == 5


def test_dollars_that_an_endpoint_was_paid_are_not_contradicted(tmp_path: Path) -> None:
    wired = [
        replace(
            one,
            cell=replace(one.cell, endpoint="oip+http://a/b"),
            run=replace(one.run, wire=Wired(dollars=2.5)),
        )
        for one in grid(pixels_8bit=True)
    ]
    results = load(write(tmp_path / "results", *wired))
    tab = section(page(results, tmp_path, price=priced(tmp_path)), 0)
    assert "Of these 27 runs, 27 asked an endpoint, and paid $67.50 in all" in tab
    assert "images of a request: 64." in tab  # as its dialect sends them


def test_dollars_need_a_sound_file(tmp_path: Path) -> None:
    results = load(write(tmp_path / "results", *grid()))
    for text, words in (("", "has no price"), (PRICE + "prompt = 2.0\nimage_tokens = 9\n", "by the token")):
        with pytest.raises(UserError, match=words):
            page(results, tmp_path, price=priced(tmp_path, text))
    with pytest.raises(UserError, match="nowhere"):
        page(results, tmp_path, price=Asked(tmp_path / "nowhere.toml"))


def test_base_and_new_have_columns(html: str) -> None:
    heads = re.findall(r'data-key="(.*?)"', section(html, 1).split("</thead>")[0])
    assert heads[:6] == ["rank", "method", "accuracy", "base", "new", "letters"]
    assert ">Harmonic (%)</th>" in section(html, 1) and 'data-key="base"' not in section(html, 0)


def test_an_opened_row_has_the_command_the_links_and_the_classes(tmp_path: Path) -> None:
    made = [with_outcomes(r) for r in grid(("zip",), ("mini-digits", "mini-colors"), suite="mini")]
    text = page(load(write(tmp_path / "results", *made)), tmp_path)
    row = text.split('<details class="row" data-row="zip">')[1]
    command = "bench run --suite mini --methods zip --datasets mini-colors,mini-digits --protocol few-shot"
    assert f"<code>{command} --seeds 1,2,3 --budget 5000 --shots 16 --backbone tiny</code>" in row
    assert 'href="https://openreview.net/forum?id=2OegVbwvY2"' in row and "methods/zip.py" in row
    links = re.findall(r'href="(results/[^"]*)"', row)
    assert len(links) == 6 and all((tmp_path / link).is_file() for link in links)
    assert "<b>digits</b>, all seeds, lowest first:" in row and "Most frequent confusions" in row


def test_an_opened_row_says_of_how_many_queries_it_is(tmp_path: Path) -> None:
    made = [with_outcomes(r) for r in grid(("zip",), ("mini-digits", "mini-colors"), suite="mini")]
    text = page(load(write(tmp_path / "results", *made)), tmp_path)
    row = text.split('<details class="row" data-row="zip">')[1]
    assert "<summary>Accuracy by class after 5,000 queries, at the end of the runs</summary>" in row
    assert "<summary>Records of runs of 5,000 queries</summary>" in row
    assert re.findall(r'class="reading" data-budget="(\d+)"', row) == ["100", "500", "1000", "5000"]
    assert "Classes are numbered because the card of mini-digits has another number of classes." in row


def test_stale_records_are_counted_at_the_top_and_marked_in_their_rows(tmp_path: Path) -> None:
    """BlackVIP's records are current, ZIP's are of another file, and of mine there is no file here."""
    sets = ("mini-digits", "mini-colors")
    suite = load_suite("mini").hash

    def made(name: str, **changes: str) -> list[Record]:
        file = {"method": method_hash(name)} if name in METHODS.files() else {}
        now = {"code": code_hash(), "suite": suite, **file, **changes}
        cards = {one: load_card(one).hash for one in sets}
        return [
            replace(one, hashes=replace(one.hashes, card=cards[one.cell.dataset], **now))
            for one in grid((name,), sets, suite="mini")
        ]

    current = [*made("blackvip"), *made("mine")]
    text = page(load(write(tmp_path / "a", *current)), tmp_path)
    assert "stale</span>" not in text and "Stale" not in text
    text = page(load(write(tmp_path / "b", *current, *made("zip", method="z" * 64))), tmp_path)
    said = "6 of 18 records; since they were made, these have changed: the method&#39;s file (6)"
    assert f"<strong>Stale records: {said}.</strong>" in text.split("<nav")[0]
    marked = re.findall(r'<tr class="ranked" data-row="(.*?)".*?</tr>', section(text, 0), re.S)
    heads = re.findall(r'<th scope="row".*?</th>', section(text, 0).split("Accuracy by data set")[0], re.S)
    assert [row for row, head in zip(marked, heads, strict=False) if "stale</span>" in head] == ["zip"]
    assert f"<dt>Stale</dt><dd>{said.replace('18', '6')}</dd>" in text
    for kind in ("code", "card", "suite"):
        old = [replace(one, hashes=replace(one.hashes, **{kind: "0"})) for one in made("zip")]
        text = page(load(write(tmp_path / kind, *old)), tmp_path)
        assert f"changed: {stale.WORDS[kind].replace(chr(39), '&#39;')} (6)." in text


def test_what_was_verified_is_a_column_only_if_something_was(tmp_path: Path) -> None:
    results = load(write(tmp_path, *grid()))
    assert ">Verified</th>" not in page(results, tmp_path)
    said = replace(results, cells=results.cells.assign(verified="rescore"))
    made = page(said, tmp_path)
    assert made.count(">Verified</th>") == 4 and ">9 of 9 read, 9 rescored</td>" in made


def test_own_data_sets_are_not_called_the_suite(tmp_path: Path) -> None:
    write(tmp_path, *grid(("zip", "manual"), ("mini-digits", "mini-colors"), suite="mini"))
    write(tmp_path, *grid(("zip", "manual"), ("birds",), suite="mini", n_test={"test": 50}))
    made = page(load(tmp_path), tmp_path)
    first, second = section(made, 0), section(made, 1)
    assert "on the mini suite, ZIP" in first and "birds" not in first
    assert "on the data set birds, ZIP" in second and "mini suite" not in second
    # 50 images and about 57 % right: Wilson's interval is about 27 points wide, of which seeds know nothing
    assert "Fewer than 200 test images: birds." in second
    assert re.search(r"images ± 1[34]\.\d", second)


def test_the_interval_of_few_images_stays_within_0_and_100() -> None:
    """Wilson's interval for 16 of 16: its lower end is n / (n + z^2) = 80.6 %."""
    cell = board._cell(100.0, 16)
    assert (cell.low, cell.high) == (pytest.approx(80.64, abs=0.01), pytest.approx(100))
    assert cell.off == pytest.approx(19.36, abs=0.01)
    assert board._cell(50.0, 200) == board.Cell(50.0)


def test_missing_values_are_empty_so_that_they_sort_last(html: str) -> None:
    coop = section(html, 0).split('data-row="coop"')[1].split("</tr>")[0]
    assert '<td data-value="">–</td>' in coop and "9999" not in html


def test_tabs_views_and_rows(html: str) -> None:
    assert re.findall(r'<a class="tab" .*?>(.*?)</a>', html) == [
        "toy · few-shot",
        "toy · base-to-new",
        "Published",
    ]
    assert re.findall(r'class="view" data-budget="(\d+)"', section(html, 0)) == ["100", "500", "1000", "5000"]
    last = section(html, 0).split('class="view" data-budget="5000"')[1]
    kinds = re.findall(r'<tr class="(.*?)" data-row="(.*?)"', last)
    assert kinds == [("ranked", r) for r in ("zip", "mine", "blackvip", "manual")] + [("white-box", "coop")]


def test_a_language_model_has_a_row_by_its_name_and_its_calls_are_said(tmp_path: Path) -> None:
    chat = ChatLog("x.chat.jsonl", "0", 100, "", 4000, 1000, 0, 0.125, ("2026-01-01",), ("m1",), (), 90, 10)
    asked = grid(("llm",), overrides={"model": "m1"}, title="LLM", chat=chat)
    other = grid(("llm",), overrides={"model": "m1", "tries": 3}, title="LLM", chat=chat)
    write(tmp_path / "results", *grid(), *asked, *other)
    text = page(load(tmp_path / "results"), tmp_path)
    assert '<tr class="ranked" data-row="llm (model=m1)"' in text
    assert '<tr class="variant" data-row="llm (model=m1, tries=3)"' in text
    said = "LLM (model=m1) made 900 calls of a language model in 9 runs (45,000 tokens, $1.12)"
    assert said in text and "They are no queries." in text


def test_names_are_escaped(html: str) -> None:
    assert "<img" not in html and html.count("</script>") == 3
    assert "&lt;/script&gt;&lt;img src=x" in html


def test_the_page_is_small_and_loads_nothing_from_the_network(html: str) -> None:
    assert len(html.encode()) < 2_000_000
    assert not re.search(r'src="|<link|<iframe', html) and "@import" not in html and "url(" not in html


def test_the_page_says_what_a_method_needs_and_which_rows_are_references(tmp_path: Path) -> None:
    records = grid(("zip", "manual", "coop", "adapter"), deploy_queries=7)
    made = page(load(write(tmp_path, *records)), tmp_path).split('data-budget="5000"')[1]
    rows = {
        row: [re.sub("<.*?>", "", cell) for cell in re.findall("<t[dh].*?</t[dh]>", text, re.S)]
        for row, text in re.findall(r'<tr [^>]*data-row="(.*?)"(.*?)</tr>', made, re.S)
    }
    assert rows["zip"][4:6] == ["5,000", "7"] and rows["manual"][4] == "0"
    assert rows["zip"][7:10] == ["soft context", "top", "a provider&#39;s consent"]
    assert rows["adapter"][1].startswith("Adapter with features") and rows["adapter"][0] == "–"
    assert rows["coop"][1].startswith("CoOp with gradients (white box)") and rows["coop"][0] == "–"


def test_each_level_of_answers_has_its_own_tab(tmp_path: Path) -> None:
    write(tmp_path, *grid(answers="label"), *grid(answers="probs:2"), *grid(pixels_8bit=True), *grid())
    made = page(load(tmp_path), tmp_path)
    tabs = re.findall(r'<a class="tab" .*?>(.*?)</a>', made)
    assert tabs == [
        "toy · few-shot (answers logits)",
        "toy · few-shot (answers logits, 8-bit pixels)",
        "toy · few-shot (answers label)",
        "toy · few-shot (answers probs:2)",
        "Published",
    ]
    assert made.count("The black box answered with label, not with logits.") == 1


def test_links_lead_to_the_repository_only_from_inside_it(tmp_path: Path) -> None:
    results = load(write(tmp_path / "results", record()))
    inside = page(results, HOME / "results")
    assert 'href="../methods/zip.py"' in inside and 'href="../docs/submit.md">How to submit</a>' in inside
    outside = page(results, tmp_path)
    assert "How to submit: docs/submit.md" in outside and 'methods/zip.py"' not in outside


def test_variants_are_listed_and_ranked_only_on_request(tmp_path: Path) -> None:
    write(tmp_path, *grid(("zip", "blackvip")), *grid(("zip",), overrides={"rank": 1}))
    listed, ranked = (page(load(tmp_path), tmp_path, variants=each) for each in (False, True))
    row = 'data-row="zip (rank=1)"'
    assert f'<tr class="variant" {row}' in listed and "variants (1)</label>" in listed
    assert f'<tr class="ranked" {row}' in ranked and "variants (" not in ranked
    assert "--set zip.rank=1" in listed


def test_where_there_are_only_variants_they_are_ranked(tmp_path: Path) -> None:
    write(tmp_path, *grid(("zip",), overrides={"rank": 1}), *grid(("manual",)))
    assert '<tr class="ranked" data-row="zip (rank=1)"' in page(load(tmp_path), tmp_path)


def test_a_papers_numbers_in_the_same_setting_are_a_reference(tmp_path: Path) -> None:
    write(tmp_path, *grid(("manual", "zip"), ("dtd", "svhn"), suite="zip", backbone="ViT-B-16/openai"))
    rows = re.findall(r'<tr class="published" data-row="(.*?)"', page(load(tmp_path), tmp_path))
    names = ("Manual Prompt", "BAR", "BlackVIP", "BPT-VLM", "ZIP")
    assert set(rows) == {f"published {name}" for name in names}


def test_incomplete_rows_are_left_out_and_listed(tmp_path: Path) -> None:
    made = page(load(write(tmp_path, *grid(("zip", "manual")), record("blackvip"))), tmp_path)
    assert '<tr class="ranked" data-row="blackvip"' not in made
    assert "8 cells are missing; rows without every data set are left out: blackvip / toy-clocks" in made


def test_without_records_there_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished records"):
        page(load(tmp_path), tmp_path)


GOLDEN = Path(__file__).parent / "golden"
DRIVER = (GOLDEN / "drive.js").read_text(encoding="utf-8")
INSPECTOR = (GOLDEN / "inspect.js").read_text(encoding="utf-8")
AXE = (resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
WIDTHS = (320, 1280, 2560)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--allow-file-access-from-files",
    "--window-size=1300,1000",
)


def browse(folder: Path, html: str, *flags: str) -> dict[str, Any]:
    """What the script in a page has found, after Chromium has loaded the page."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: the page is not tried in a browser")
    (folder / "page.html").write_text(html, encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder}/profile", *flags, "--dump-dom"]
    done = subprocess.run(
        [*command, f"file://{folder}/page.html"], capture_output=True, text=True, timeout=240
    )
    found = re.search(r'<pre id="found" hidden="">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stdout[:500] + done.stderr[-500:]
    return json.loads(unescape(found[1]))


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with everything: outcomes, variants, references, few images, long names, base and new, dollars.

    The dollars are so small and so large that the table has its widest numbers.
    """
    home = tmp_path_factory.mktemp("rich")
    methods = ("manual", "blackvip", "zip", "coop", "adapter", "bar", "bbt", "craft", "vp", "spsa", "mine")
    sets = (*(f"toy-{i}" for i in range(5)), "toy-with-a-long-name")
    made = [with_outcomes(r) for r in grid(methods, sets, n_test={"test": 150})]
    write(home, *made, *grid(("zip",), sets, overrides={"rank": 1}))
    write(home, *grid(methods[:4], protocol="base-to-new"))
    chat = ChatLog("x.chat.jsonl", "0", 100, "", 40_000_000, 1000, 0, 0.000125, (), ("m1",), (), 90, 10)
    write(home, *grid(("llm",), sets, overrides={"model": "m1"}, title="LLM", chat=chat, deploy_queries=9))
    return page(load(home), home, price=priced(home, sums=(0.001, 1.0, 100_000.0)))


@pytest.fixture(scope="module")
def browsed(html: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What a user sees after clicks and keys, and the screenshot."""
    folder = tmp_path_factory.mktemp("browser")
    driven = html.replace("</body>", f"<script>{DRIVER}</script></body>")
    return browse(folder, driven, f"--screenshot={folder}/page.png"), folder / "page.png"


def test_a_browser_sorts_filters_and_draws(browsed: tuple[dict[str, Any], Path]) -> None:
    got = browsed[0]
    assert got["start"] == ["zip", "mine", "blackvip", "manual", "coop"] and got["views"] == 1
    assert got["down"] == ["coop", "zip", "mine", "blackvip", "manual"] and got["up"] == got["down"][::-1]
    assert got["sorted"] == "ascending"
    assert [ranks[-1] for ranks in got["ranks"]] == ["coop", "coop"]  # a missing rank is last, up and down
    assert (got["filtered"], got["count"]) == (["zip"], "1 row")
    assert (got["nothing"], got["empty"]) == ([], True) and len(got["again"]) == 5
    assert got["pixels"] == ["blackvip"] and "coop" not in got["noReferences"]
    assert got["budget"] == "500"
    assert sorted(got["options"]) == ["", "class names", "pixels", "soft context"]
    assert set(got["column"]) <= set(got["options"])
    assert [c.split(":")[0] for c in got["charts"]] == ["average", "clocks", "colors", "digits"]
    assert got["line"] >= 4 and got["points"] >= 5 and {"queries", "accuracy (%)"} <= set(got["axes"])
    assert (got["expanded"], got["closed"]) == ("true", "false")
    for after, mark in (("500", "at500"), ("5,000", "at5000")):
        (reading,), caption, average = got[mark]
        assert reading.startswith(f"After{after} queries Average accuracy{average} % ")
        assert f"Queries to tune{after} " in reading and caption == f"average: {average} %"
    assert got["at500"][2] != got["at5000"][2]
    assert (got["tab"], got["focus"]) == ("toy-base-to-new", "toy-base-to-new-title")


def test_the_address_holds_what_is_shown(browsed: tuple[dict[str, Any], Path]) -> None:
    got = browsed[0]
    assert got["address"] == "#toy-few-shot?after=500&find=z&references=0&sort=tune.up&open=zip"
    assert got["restored"] == ["500", "z", False, ["zip"], "ascending", "true"]
    assert got["nonsense"] == 5


def test_a_browser_does_not_show_an_empty_page(browsed: tuple[dict[str, Any], Path]) -> None:
    pixels = imread(browsed[1])[..., :3]
    assert pixels.shape[:2] == (1000, 1300)
    assert 0.02 < (pixels.mean(axis=2) < 0.6).mean() < 0.5  # dark pixels on a light page


@pytest.mark.parametrize(("mode", "checked"), [("light", WIDTHS[:2]), ("dark", WIDTHS[1:2])])
def test_axe_finds_nothing_and_nothing_is_clipped(
    mode: str, checked: tuple[int, ...], rich: str, tmp_path: Path
) -> None:
    """The page in frames of three widths, with and without JavaScript. axe-core checks WCAG 2.1, A and AA."""
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy".*?>')
    for name, text in {"rich": rich, "still": rich.replace("<script>", '<script type="text/plain">')}.items():
        tried = policy.sub("", text).replace("</body>", f"<script>{AXE}</script></body>")
        (tmp_path / f"{name}.html").write_text(tried, encoding="utf-8")
    script = INSPECTOR.replace("WIDTHS", str(list(WIDTHS))).replace("CHECKED", str(list(checked)))
    scheme = f"--blink-settings=preferredColorScheme={0 if mode == 'dark' else 1}"
    got = browse(
        tmp_path,
        f"<!doctype html><body><script>{script}</script></body>",
        scheme,
        "--virtual-time-budget=60000",
    )
    assert got["dark"] == (mode == "dark")
    assert got["clipped"] == [] and got["violations"] == []
    for name in ("rich.html", "still.html"):
        said, column = got["costs"][f"{name} 320"]
        assert re.fullmatch(r"Queries to tune: [\d,]+\. To deploy a batch: 1\.", said) and not column
        assert got["costs"][f"{name} 1280"] == ["", True]
    assert got["passes"] > 20 and got["seen"] == 2 * len(WIDTHS)
