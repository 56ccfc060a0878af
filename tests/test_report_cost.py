"""What accuracy costs, on records whose dollars can be computed by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fabricate import SETS, grid, record, write

from bench.commands.main import main
from bench.errors import UserError
from bench.record import ChatLog, Wired
from bench.remote import Price
from bench.report import cost, plots
from bench.report.frame import Results, load, points, select
from bench.report.render import FORMS, render

CENT = Price("2026-01-31", image=0.01)  # a query of 32 images: $0.32
METHODS = ("manual", "blackvip", "zip", "coop")
COMMANDS = (["table", "cost"], ["plot", "cost"], ["leaderboard"])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return select(load(write(tmp_path_factory.mktemp("r"), *grid(METHODS))))


@pytest.fixture
def price(tmp_path: Path) -> Path:
    file = tmp_path / "price.toml"
    file.write_text('[price]\ndate = "2026-01-31"\nimage = 0.01\n')
    return file


def test_dollars_are_images_and_requests(results: Results) -> None:
    price = Price("2026-01-31", image=0.01, request=0.5)
    for at_once, requests in ((64, 1), (32, 1), (10, 4), (1, 32)):
        frame = cost.priced(results, cost.Tariff(price, at_once))
        at = frame[(frame["row"] == "zip") & (frame["at"] == 100)]
        assert at["dollars"].tolist() == pytest.approx([100 * (0.32 + 0.5 * requests)] * 9)
    assert len(frame) == len(points(results))


def test_the_cost_of_a_method_by_hand(results: Results) -> None:
    """ZIP gains 10.8, 12 and 13.2 points in 5,000 queries, and sqrt(share) of them before."""
    found = cost.costs(results, cost.Tariff(CENT, 64), sums=(1, 32, 10_000))
    one = found["zip"]
    assert one.dollars == pytest.approx(1600)
    assert one.gain == pytest.approx(12.0, abs=0.05)
    assert one.per_point == pytest.approx(1600 / 12, rel=0.01)
    start = found["manual"].final.average
    # $1 pays for 3 queries, and the last checkpoint is at 2; $32 pays for 100
    gains = [scores.average - start for scores in one.bought]
    assert gains == pytest.approx([12 * (2 / 5000) ** 0.5, 12 * (100 / 5000) ** 0.5, 12], abs=0.06)
    assert one.deploy == (10.0, 10.0)
    assert (found["manual"].dollars, found["manual"].gain, found["manual"].per_point) == (0, None, None)


def test_seeds_are_averaged_before_data_sets(tmp_path: Path) -> None:
    """Seed 1 of one data set stopped after 2,500 queries: its set costs 0.75 of the others."""
    records = grid(("manual", "zip"))
    for i, one in enumerate(records):
        if (one.cell.method, one.cell.dataset) == ("zip", SETS[0]) and one.cell.seed < 3:
            half = replace(one.trace[-1], spent=2500, image_queries=80_000)
            records[i] = replace(one, trace=(*one.trace[:-1], half))
    found = cost.costs(select(load(write(tmp_path, *records))), cost.Tariff(CENT))
    assert found["zip"].dollars == pytest.approx(1600 * (2 / 3 + 2 + 0) / 3)


def test_deployment_costs_what_the_prompt_sends(tmp_path: Path) -> None:
    records = grid(("manual",)) + [record("zip", d, s, deploy_queries=s - 1) for d in SETS for s in (1, 2, 3)]
    results = select(load(write(tmp_path, *records)))
    price = Price("2026-01-31", image=0.01, request=1.0)
    assert cost.costs(results, cost.Tariff(price, 64))["zip"].deploy == (0.0, 2 * (10.0 + 16.0))
    table = cost.cost_table(results, cost.Tariff(price, 64))
    assert table.blocks[0].rows[1].entries[-1].text == "52.00 (from 0.00)"


def talk(dollars: float | None) -> ChatLog:
    return ChatLog("a.chat.jsonl", "0" * 64, 9, "", 100, 50, 0, dollars, (), (), (), 9, 0)


def test_a_language_model_is_paid_as_well(tmp_path: Path) -> None:
    records = [replace(one, chat=talk(2.0)) if one.cell.method == "zip" else one for one in grid()]
    results = select(load(write(tmp_path, *records)))
    one = cost.costs(results, cost.Tariff(CENT))["zip"]
    assert (one.llm_dollars, one.llm_tokens, one.unpriced) == (2.0, 150.0, False)
    assert one.dollars == pytest.approx(1602)
    # the first query is paid for together with all calls
    frame = cost.priced(results, cost.Tariff(CENT))
    zips = frame[frame["row"] == "zip"]
    assert zips.loc[zips["at"] == 0, "dollars"].tolist() == [0.0] * 9
    assert zips.loc[zips["at"] == 1, "dollars"].tolist() == pytest.approx([2.32] * 9)
    table = cost.cost_table(results, cost.Tariff(CENT))
    assert [column.name for column in table.columns][-3:-1] == ["LLM $", "LLM tokens"]


def test_calls_without_a_price_are_said(tmp_path: Path) -> None:
    records = [replace(one, chat=talk(None)) if one.cell.method == "zip" else one for one in grid()]
    table = cost.cost_table(select(load(write(tmp_path, *records))), cost.Tariff(CENT))
    assert any(note.endswith("are not in the dollars: ZIP.") for note in table.notes)


def test_the_table_names_the_best_for_each_sum(results: Results) -> None:
    table = cost.cost_table(results, cost.Tariff(CENT), sums=(1.0, 1000.0))
    heads = ["Accuracy", "Seeds", "$ to tune", "$ per point", "for $1", "for $1,000", "$ per 1,000 images"]
    assert [column.name for column in table.columns] == heads
    assert table.notes[1].startswith("With a provider's consent") and "$1,000 buys at best" in table.notes[1]
    rows = {row.lead[0]: [entry.text for entry in row.entries] for row in table.blocks[0].rows}
    assert rows["Manual Prompt"][1:4] == ["–", "0.00", "–"]
    assert rows["ZIP"][1:3] == ["3", "1,600.00"]
    assert {row.lead[0]: row.group for row in table.blocks[0].rows}["CoOp"] == "white box"
    for form in FORMS:
        assert "1,600.00" in render(table, form) or "1600" in render(table, form)


@pytest.mark.parametrize("protocol", ["base-to-new", "cross-dataset"])
def test_other_protocols_have_their_cost(tmp_path: Path, protocol: str) -> None:
    tests = {"cross-dataset": ("toy-digits", "DTD")}.get(protocol)
    sets = (SETS[0],) if tests else SETS
    results = select(load(write(tmp_path, *grid(("manual", "zip"), sets, protocol=protocol, tests=tests))))
    one = cost.costs(results, cost.Tariff(CENT))["zip"]
    assert one.dollars == pytest.approx(1600)
    assert one.gain is not None and one.gain > 10


def test_what_an_endpoint_was_paid_is_told_apart(tmp_path: Path) -> None:
    wired = [replace(one, run=replace(one.run, wire=Wired(dollars=0.5))) for one in grid()[:26]]
    table = cost.cost_table(select(load(write(tmp_path, *wired))), cost.Tariff(CENT), partial=True)
    said = [note for note in table.notes if "run.wire.dollars" in note]
    assert len(said) == 1 and "Of these 26 runs, 26 asked an endpoint, and paid $13.00 in all" in said[0]


def test_the_source_of_prices_is_said(results: Results) -> None:
    price = replace(CENT, source="https://a/prices")
    notes = cost.cost_table(results, cost.Tariff(price)).notes
    assert any(note.startswith("Prices of 2026-01-31 (https://a/prices): $0.01 an image") for note in notes)


def test_small_sums_keep_two_digits(results: Results) -> None:
    table = cost.cost_table(results, cost.Tariff(Price("2026-01-31", image=1e-7)))
    assert table.blocks[0].rows[0].entries[-1].text == "0.00010"


def test_missing_cells_are_refused(tmp_path: Path) -> None:
    results = select(load(write(tmp_path, *grid(("manual", "blackvip")), record("zip"))))
    with pytest.raises(UserError, match="8 cells are missing"):
        cost.cost_table(results, cost.Tariff(CENT))
    with pytest.raises(UserError, match="8 cells are missing"):
        plots.cost(results, cost.Tariff(CENT))
    partial = cost.cost_table(results, cost.Tariff(CENT), partial=True)
    assert [row.lead[0] for row in partial.blocks[0].rows] == ["Manual Prompt", "BlackVIP"]


def test_the_curve_is_what_a_sum_buys(results: Results) -> None:
    """The picture and the table read the same number."""
    frame = cost.priced(results, cost.Tariff(CENT))
    line = cost.curve(frame[frame["row"] == "zip"])
    found = cost.costs(results, cost.Tariff(CENT), sums=(32.0,))["zip"].bought[0]
    at = line[line["dollars"] <= 32.0 + 1e-9].iloc[-1]
    assert at["mean"] == pytest.approx(found.average)
    assert at["std"] == pytest.approx(found.average_by_seed.std())
    axis = plots.cost(results, cost.Tariff(CENT)).axes[0]
    assert axis.get_xscale() == "log"
    with pytest.raises(UserError, match="nothing costs anything"):
        plots.cost(results, cost.Tariff(Price("2026-01-31")))


def test_the_axis_of_dollars_has_labels_between_powers_of_ten(tmp_path: Path) -> None:
    """The rows' checkpoints cost from $2.56 to $6.40, where there is no power of ten."""
    made = [
        replace(one, trace=tuple(p for p in one.trace if p.queries in (0, 2000, 5000)))
        for one in grid(("zip",))
    ]
    results = select(load(write(tmp_path, *made)))
    axis = plots.cost(results, cost.Tariff(Price("2026-01-31", image=4e-5)), sums=()).axes[0]
    axis.figure.draw_without_rendering()
    low, high = axis.get_xlim()
    labels = [
        tick.label1.get_text() for tick in axis.xaxis.get_major_ticks() if low <= tick.get_loc() <= high
    ]
    assert labels == ["$3", "$4", "$5", "$6", "$7"]


def test_the_dialect_says_how_many_images_a_request_holds(tmp_path: Path, results: Results) -> None:
    file, price = tmp_path / "p.toml", '[price]\ndate = "2026-01-31"\nimage = 0.01\n'
    for text, at_once in (("", 1), ('dialect = "oip"\n', 64), ('url = "http://a/b"\ndialect = "hf"\n', 1)):
        file.write_text(text + price)
        assert cost.tariff(file, results) == cost.Tariff(CENT, at_once)
    file.write_text(price)
    asked = replace(results, cells=results.cells.assign(endpoint="rank+http://a/rank"))
    assert cost.tariff(file, asked).at_once == 64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no price"),
        ("[price]\nimage = 0.1", "date"),
        ('[price]\ndate = "2026-01-31"\nprompt = 2.0\nimage_tokens = 9', "by the token"),
        ('[price]\ndate = "2026-01-31"\nprompt = 2.0', "needs image_tokens"),
        ('[prices]\ndate = "2026-01-31"', "unknown key"),
    ],
)
def test_a_wrong_price_is_one_line(tmp_path: Path, results: Results, text: str, words: str) -> None:
    file = tmp_path / "p.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=words) as error:
        cost.tariff(file, results)
    assert "\n" not in str(error.value)


def test_the_commands(tmp_path: Path, price: Path) -> None:
    folder = write(tmp_path / "runs", *grid(METHODS))

    def bench(*arguments: str) -> Any:
        return CliRunner().invoke(main, [*arguments, "--results", str(folder)])

    for ending in ("md", "csv", "tex"):
        out = tmp_path / f"cost.{ending}"
        made = bench("table", "cost", "--price", str(price), "--sums", "2,500", "-o", str(out))
        assert made.exit_code == 0, made.output
        assert "ZIP" in out.read_text() and "500" in out.read_text()
    out = tmp_path / "cost.svg"
    made = bench("plot", "cost", "--price", str(price), "-o", str(out))
    assert made.exit_code == 0, made.output
    assert ">ZIP<" in out.read_text() and ">$100<" in out.read_text()
    out = tmp_path / "board.html"
    made = bench("leaderboard", "--price", str(price), "--sums", "2,500", "-o", str(out))
    assert made.exit_code == 0, made.output
    assert ">for $500</span>" in out.read_text() and "those of price.toml" in out.read_text()
    refused = [bench(*one, "--price", str(folder / "no.toml")) for one in COMMANDS]
    assert {one.exit_code for one in refused} == {2} and len({one.output for one in refused}) == 1
    assert "more than 0" in bench("leaderboard", "--price", str(price), "--sums", "0,1").output
    for command in COMMANDS[:2]:
        assert "need --price FILE" in bench(*command).output
        assert "more than 0" in bench(*command, "--price", str(price), "--sums", "0,1").output


MANY = ("digits", "colors", "scenes", "flags", "shapes")


def bought(results: Results, sums: tuple[float, ...]) -> list[str]:
    """The sentences that name what each sum should buy."""
    notes = cost.cost_table(results, cost.Tariff(CENT), sums).notes
    return [
        note for note in notes if note.startswith(("From an API", "With a provider", "A test", "The test"))
    ]


def test_the_best_that_is_sold_stands_apart_from_the_best_with_consent(results: Results) -> None:
    """ZIP sends a soft context, which no API that is sold takes; three data sets are too few for a test."""
    sold, consent, test = bought(results, (1, 10_000))
    assert "$10,000 buys at best" in sold and "(BlackVIP;" in sold and "ZIP" not in sold
    assert (
        "$10,000 buys at best" in consent
        and "(ZIP;" in consent
        and "ahead of BlackVIP, not tested" in consent
    )
    assert test.startswith("A test of these differences needs at least 5 data sets")


def test_the_test_says_whether_a_lead_is_decided(tmp_path: Path) -> None:
    """ZIP's lead over BlackVIP is about the same on five data sets, and then nothing on four of them."""
    for spoiled, verdict in ((0, "decided by the test"), (4, "not decided by the test")):
        records = [record(method, one, seed) for method in METHODS for one in MANY for seed in (1, 2, 3)]
        kept = {(one.cell.dataset, one.cell.seed): one for one in records if one.cell.method == "blackvip"}
        for i, one in enumerate(records):
            if one.cell.method == "zip" and one.cell.dataset in MANY[:spoiled]:
                other = kept[one.cell.dataset, one.cell.seed]
                records[i] = replace(one, accuracy=other.accuracy, trace=other.trace)
        found = select(load(write(tmp_path / str(spoiled), *records)))
        _, consent, test = bought(found, (10_000,))
        assert f"ahead of BlackVIP, {verdict}" in consent
        assert test.startswith("The test: paired t tests over data sets")


def test_without_a_method_that_is_sold_the_table_says_so(results: Results) -> None:
    only = select(results, methods=("zip", "coop"))
    assert (
        bought(only, (1, 10))[0]
        == "From an API that is sold: none takes what the methods of this table send."
    )
