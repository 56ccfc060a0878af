"""The leaderboard page: its content, that it is safe and loads nothing, and its behaviour in a browser."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fabricate import grid, record, write

from bench.errors import UserError
from bench.record import ChatLog
from bench.report.frame import load
from bench.report.leaderboard import page

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
    for budget in ("500", "5,000"):
        assert f"At {budget} queries on the toy suite, ZIP has the highest average:" in said[1]
    assert said[1].count("was not tested: a test needs at least 5 data sets") == 2


def test_tabs_views_and_rows(html: str) -> None:
    assert re.findall(r'role="tab" .*?>(.*?)</a>', html) == [
        "toy · few-shot",
        "toy · base-to-new",
        "Published",
    ]
    assert re.findall(r'data-budget="(\d+)"', section(html, 0)) == ["100", "500", "1000", "5000"]
    last = section(html, 0).split('data-budget="5000"')[1]
    kinds = re.findall(r'<tr class="(.*?)" data-row="(.*?)"', last)
    assert kinds == [("ranked", r) for r in ("zip", "mine", "blackvip", "manual")] + [("white-box", "coop")]


def test_a_language_model_has_a_row_by_its_name_and_its_calls_are_said(tmp_path: Path) -> None:
    chat = ChatLog("x.chat.jsonl", "0", 100, "", 4000, 1000, 0, 0.125, ("2026-01-01",), ("m1",), (), 90, 10)
    asked = grid(("llm",), overrides={"model": "m1"}, title="LLM", chat=chat)
    other = grid(("llm",), overrides={"model": "m1", "tries": 3}, title="LLM", chat=chat)
    write(tmp_path / "results", *grid(), *asked, *other)
    text = page(load(tmp_path / "results"), tmp_path)
    assert 'data-row="llm (model=m1)"' in text and "tries=3" not in text
    said = "LLM (model=m1) made 900 calls of a language model in 9 runs (45,000 tokens, $1.12)"
    assert said in text and "They are no queries." in text


def test_names_are_escaped(html: str) -> None:
    assert "<img" not in html and html.count("</script>") == 3
    assert "&lt;/script&gt;&lt;img src=x" in html


def test_the_page_is_small_and_loads_nothing_from_the_network(html: str) -> None:
    assert len(html.encode()) < 2_000_000
    assert not re.search(r'(src|href)="(https?:)?//', html) and "@import" not in html and "url(" not in html


def test_the_page_says_what_a_method_needs_and_which_rows_are_references(tmp_path: Path) -> None:
    records = grid(("zip", "manual", "coop", "adapter"), deploy_queries=7)
    made = page(load(write(tmp_path, *records)), tmp_path).split('data-budget="5000"')[1]
    rows = {
        row: [re.sub("<.*?>", "", cell) for cell in re.findall("<t[dh].*?</t[dh]>", text)]
        for row, text in re.findall(r'data-row="(.*?)"(.*?)</tr>', made, re.S)
    }
    assert rows["zip"][5:7] == ["5,000", "7"] and rows["manual"][5] == "0"
    assert rows["zip"][9:12] == ["soft context", "top", "a provider's consent".replace("'", "&#39;")]
    assert rows["adapter"][1] == "Adapter with features" and rows["adapter"][0] == "–"
    assert rows["coop"][1] == "CoOp with gradients (white box)" and rows["coop"][0] == "–"


def test_each_level_of_answers_has_its_own_tab(tmp_path: Path) -> None:
    write(tmp_path, *grid(answers="label"), *grid(answers="probs:2"), *grid(pixels_8bit=True), *grid())
    made = page(load(tmp_path), tmp_path)
    tabs = re.findall(r'role="tab" .*?>(.*?)</a>', made)
    assert tabs == [
        "toy · few-shot (answers logits)",
        "toy · few-shot (answers logits, 8-bit pixels)",
        "toy · few-shot (answers label)",
        "toy · few-shot (answers probs:2)",
        "Published",
    ]
    assert made.count("The black box answered with label, not with logits.") == 1


def test_links_lead_to_the_records(html: str, tmp_path: Path) -> None:
    assert 'href="results/toy/few-shot"' in html
    one = page(load(write(tmp_path / "results", record())), tmp_path)
    (link,) = set(re.findall(r'href="(results/[^"]*)"', one))
    assert (tmp_path / link).is_file()


def test_variants_are_on_the_page_only_on_request(tmp_path: Path) -> None:
    write(tmp_path, *grid(("zip", "blackvip")), *grid(("zip",), overrides={"rank": 1}))
    assert "rank=1" not in page(load(tmp_path), tmp_path)
    assert "ZIP (rank=1)" in page(load(tmp_path), tmp_path, variants=True)


def test_a_papers_numbers_in_the_same_setting_are_a_reference(tmp_path: Path) -> None:
    write(tmp_path, *grid(("manual", "zip"), ("dtd", "svhn"), suite="zip", backbone="ViT-B-16/openai"))
    rows = re.findall(r'<tr class="published" data-row="(.*?)"', page(load(tmp_path), tmp_path))
    assert set(rows) == {"Manual Prompt", "BAR", "BlackVIP", "BPTVLM", "ZIP"}


def test_incomplete_rows_are_left_out_and_listed(tmp_path: Path) -> None:
    made = page(load(write(tmp_path, *grid(("zip", "manual")), record("blackvip"))), tmp_path)
    assert 'data-row="blackvip"' not in made
    assert "8 cells are missing; rows without every data set are left out: blackvip / toy-clocks" in made


def test_without_records_there_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished records"):
        page(load(tmp_path), tmp_path)


DRIVER = (Path(__file__).parent / "golden" / "drive.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browsed(html: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The DOM of the page after clicks and keys of a user, and its screenshot."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: the page is not tried in a browser")
    folder = tmp_path_factory.mktemp("browser")
    (folder / "page.html").write_text(
        html.replace("</body>", f"<script>{DRIVER}</script></body>"), encoding="utf-8"
    )
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]
    flags += [
        "--disable-component-update",
        "--disable-sync",
        "--disable-quic",
        f"--user-data-dir={folder}/profile",
    ]
    command = [CHROMIUM, *flags, "--window-size=1100,1000", "--dump-dom", f"--screenshot={folder}/page.png"]
    done = subprocess.run(
        [*command, f"file://{folder}/page.html"], capture_output=True, text=True, timeout=120
    )
    return done.stdout, folder / "page.png"


def test_a_browser_sorts_filters_and_draws(browsed: tuple[str, Path]) -> None:
    found = re.search(r'<pre id="found" hidden="">(.*?)</pre>', browsed[0], re.S)
    assert found, browsed[0][:500]
    got = json.loads(found[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    assert got["start"] == ["zip", "mine", "blackvip", "manual", "coop"] and got["views"] == 1
    assert got["down"] == ["coop", "zip", "mine", "blackvip", "manual"] and got["up"] == got["down"][::-1]
    assert got["sorted"] == "ascending"
    assert (got["filtered"], got["count"]) == (["zip"], "1 row")
    assert got["pixels"] == ["blackvip"] and "coop" not in got["noReferences"]
    assert got["budget"] == "500"
    assert [c.split(":")[0] for c in got["charts"]] == ["average", "clocks", "colors", "digits"]
    assert got["line"] >= 4 and got["points"] >= 5
    assert (got["expanded"], got["closed"]) == ("true", "false")
    assert (got["tab"], got["focus"]) == ("panel-1", "tab-1")


def test_a_browser_does_not_show_an_empty_page(browsed: tuple[str, Path]) -> None:
    from matplotlib.image import imread

    pixels = imread(browsed[1])[..., :3]
    assert pixels.shape[:2] == (1000, 1100)
    assert 0.02 < (pixels.mean(axis=2) < 0.6).mean() < 0.5  # dark pixels on a light page
