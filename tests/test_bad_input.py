"""Made-up bad input, over flags, cards, suites, splits and records: an error of one line, or a result.

`HYPOTHESIS_PROFILE=large pytest tests/test_bad_input.py` tries fifty times as much.
"""

import csv
import json
import os
import re
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest
from click.testing import CliRunner, Result
from fabricate import grid, record, write
from fabricate_data import SPLIT, fabricate
from hypothesis import given
from hypothesis import strategies as st

from bench.commands.main import main
from bench.data.card import load_card
from bench.data.dataset import open_dataset
from bench.data.inspection import inspect
from bench.errors import UserError
from bench.plan import make_cells
from bench.record import dump
from bench.report import summary
from bench.report.frame import Results, load, select
from bench.report.render import FORMS, render
from bench.report.table import Block, Column, Entry, Row, Table
from bench.report.tables import Form, tables
from bench.resolve import resolve
from bench.suite import load_suite

WORDS = (
    "", " ", ",", "nan", "inf", "-inf", "1e400", "-1e400", "9" * 100, "9" * 100_000, "²", "1-100000000000",
    "5-1", "-1", "0", "0x10", "1_000", "\0", "a\0b", "../..", "/dev/null/x", "a=b", "=cmd()", "*", "{}",
    "[dim]",
    "%s", "zip.rank=inf", "zip.rank=1e400", "zip.rank=" + "9" * 100_000, "zip.rank=-1", "zip.=", "nope.a=1",
    "zip.init=\x1b[2J", "cmaes.population=1", "blackvip.channels=x", "blackvip.channels=1e9", "True", "none",
    "probs:0", "top:99999999999999999999", "é" * 300, "\x1b[31m", "‮", "~nobody/x",
)  # fmt: skip
WORD = st.sampled_from(WORDS) | st.text(st.characters(codec="utf-8"), max_size=20)
ODD = st.sampled_from(
    [None, True, -1, 0, 2**31, 2**63, 10**400, 1.5, -0.0, 1e308, -1e308, [], {}, [[]], "", " ", "=1+1",
     "x" * 5000,
     "\x1b[31m", "\0", "‮", "/etc/passwd", {"a": 1}, [None], [1, "a"], "nan"]
)  # fmt: skip


def refused_or_done(result: Result) -> Result:
    """The outcome of a command, which is a result or one line about each fault, and no traceback."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 1, 2) and "Traceback" not in result.output
    if result.exit_code == 2 and "Usage:" not in result.stderr:
        assert all(len(line) < 2000 for line in result.stderr.splitlines())
    return result


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all that a JSON value holds."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(way for key, item in inner for way in paths(item, (*path, key)))]


@st.composite
def damaged(draw: st.DrawFn, whole: Any) -> Any:
    """A copy of a JSON value in which up to three parts are missing, of another type, or doubled."""
    copy = deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        way = draw(st.sampled_from(paths(copy)[1:] or [()]))
        if not way:
            break
        place = copy
        for key in way[:-1]:
            place = place[key]
        kind = draw(st.sampled_from(["odd", "odd", "odd", "gone", "twice", "other key"]))
        if kind == "odd":
            place[way[-1]] = draw(ODD)
        elif kind == "gone":
            del place[way[-1]]
        elif isinstance(place, list):
            place.insert(0, deepcopy(place[way[-1]]))
        else:
            place[draw(st.sampled_from(["", "test", "x\n", "=a", "queries"]))] = place.pop(way[-1])
    return copy


# Flags


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good records of two protocols."""
    home = tmp_path_factory.mktemp("good")
    kinds, sets = ("manual", "blackvip", "zip"), ("toy-colors", "toy-digits")
    few = grid(kinds, sets, (1,), budget=50)
    return write(home / "runs", *few, *grid(kinds, sets, (1,), budget=50, protocol="base-to-new"))


REPORTS = (
    ("table", "few-shot"), ("table", "ranks"), ("table", "efficiency"), ("plot", "ablation", "zip.rank"),
    ("results", "verify"), ("results", "export"), ("data", "verify"), ("data", "get"), ("new-method",),
)  # fmt: skip


def options_of(names: tuple[str, ...]) -> list[str]:
    """The options of a command that take a value, but for the places that it writes to."""
    command: click.Command | None = main
    for name in names:
        if isinstance(command, click.Group):
            command = command.get_command(click.Context(command), name)
    assert command is not None
    return [
        option.opts[0]
        for option in command.params
        if isinstance(option, click.Option) and not option.is_flag and "-o" not in option.opts
    ]


@given(st.data())
def test_no_value_of_a_flag_is_a_traceback(good: Path, data: st.DataObject) -> None:
    command = data.draw(st.sampled_from(REPORTS))
    arguments = list(command)
    if command in (("results", "verify"), ("data", "verify"), ("data", "get"), ("new-method",)):
        word = data.draw(WORD.filter(lambda text: not text.isidentifier() and not text.startswith("-")))
        arguments.append(word)
    elif command == ("results", "export"):
        arguments += [
            data.draw(st.sampled_from(["\0.csv", "/dev/null/x.csv", "x", ""])),
            "--results",
            str(good),
        ]
    else:
        flags = data.draw(st.lists(st.sampled_from(options_of(command)), max_size=2, unique=True))
        arguments += ["--results", str(good)] if "--results" not in flags else []
        arguments += [f"{flag}={data.draw(WORD)}" for flag in flags]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.chdir(folder)
        refused_or_done(CliRunner().invoke(main, arguments))


PLANNED = [name for name in options_of(("run",)) if name not in ("--results", "--ray-address")]


@given(st.dictionaries(st.sampled_from(PLANNED), WORD, min_size=1, max_size=3))
def test_no_value_of_a_runs_flag_is_a_traceback(given_flags: dict[str, str]) -> None:
    flags = {"--methods": "manual,zip,cmaes", "--datasets": "mini-digits"} | given_flags
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.chdir(folder)
        arguments = [f"{name}={value}" for name, value in flags.items()]
        refused_or_done(CliRunner().invoke(main, ["run", "--dry-run", "--results=r", *arguments]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--set", "zip.rank=inf"], "zip.rank takes an integer"),
        (["run", "--set", "zip.rank=1e400"], "zip.rank takes an integer"),
        (["run", "--set", "zip.rank=" + "9" * 100_000], "zip.rank takes an integer"),
        (["run", "--set", "zip.rank=-1"], "zip.rank must be at least 0"),
        (["run", "--set", "zip.a=-0.1"], "zip.a must be at least 0"),
        (["run", "--methods", "cmaes", "--set", "cmaes.population=1"], "at least 2 candidates"),
        (["run", "--methods", "craft", "--set", "craft.sigma=0"], "must be above 0"),
        (["run", "--seeds", "²"], "--seeds takes whole numbers"),
        (["run", "--seeds", "1-100000000000"], "at most 100,000 numbers"),
        (["run", "--seeds", "9" * 100_000], "--seeds takes whole numbers"),
        (["run", "--backbone", ""], "--backbone is empty"),
        (["run", "--gpus-per-cell", "nan"], "no finite number"),
        (["run", "--results", ""], "is no path"),
        (["table", "efficiency", "--targets", "50,nan"], "--targets takes numbers"),
        (["plot", "curves", "--width", "nan"], "no finite number"),
        (["plot", "curves", "--width", "inf"], "not in the range"),
    ],
)
def test_a_wrong_value_is_said_with_its_flag(arguments: list[str], said: str, good: Path) -> None:
    result = refused_or_done(CliRunner().invoke(main, arguments))
    assert result.exit_code == 2 and said in result.stderr
    assert len(result.stderr) < 1000


# Cards and suites


CARD = {
    "title": '"T"', "reader": '"json"', "template": '"a photo of a {}."', "classes": "5", "licence": '"CC0"',
    "sources": '["https://example.org"]', "images": "{ train = 30, val = 15, test = 20 }", "version": "1",
    "shared_names": "[]", "layout": '{ folder = "fab-json", images = "images", split = "s.json" }',
    "names": "{}",
    "download": "[]",
}  # fmt: skip
SUITE = {
    "title": '"T"', "backbone": '"mini"', "encoder": '"mini"', "shots": "16", "batch_size": "32",
    "seeds": "[1, 2]",
    "budget": "100", "augment": "false", "datasets": '["mini-digits"]', "precision": '"float32"',
    "cross": '{ source = "mini-digits" }', "methods": "{ zip = { rank = 2 } }",
}  # fmt: skip
TOML = st.sampled_from(
    ["", "1", "-1", "0", "1.5", "nan", "inf", "1e400", "9" * 30, "9" * 5000, '""', '" "', '"\\u0000"',
     '"{} {}"',
     '"\\u001b[2J"', "[]", "{}", "[[]]", "[" * 3000, "{ a = " * 2000, "true", "2020-01-01", '["a", "a"]',
     '["Cat", "cat"]',
     '{ test = 1e400 }', '{ test = 99999999999999999999 }', '{ folder = "a\\u0000b" }',
     '{ folder = "../.." }',
     '{ zip = { rank = -1 } }', '{ zip = { datasets = 3 } }', '{ zip = { rank = { a = 1 } } }',
     '{ nope = {} }',
     '{ zip = { datasets = { mini-digits = 3 } } }', '{ zip = { rank = 2020-01-01 } }', "\x00", '"\ud800"',
     "x = 1\ny"]
)  # fmt: skip


def as_toml(fields: dict[str, str], changes: dict[str, str]) -> bytes:
    lines = [f"{name} = {value}" for name, value in (fields | changes).items() if value]
    return "\n".join(lines).encode(errors="surrogatepass")


@given(st.dictionaries(st.sampled_from(sorted(CARD)), TOML, min_size=1, max_size=2) | st.binary(max_size=60))
def test_no_card_is_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, str] | bytes
) -> None:
    folder = tmp_path_factory.mktemp("cards")
    (folder / "odd.toml").write_bytes(changes if isinstance(changes, bytes) else as_toml(CARD, changes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DATASETS", str(folder))
        for arguments in (["data", "list"], ["data", "get", "odd"], ["data", "verify", "odd"]):
            refused_or_done(CliRunner().invoke(main, [*arguments, "--root", str(folder)]))


@given(st.dictionaries(st.sampled_from(sorted(SUITE)), TOML, min_size=1, max_size=2) | st.binary(max_size=60))
def test_no_suite_is_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, str] | bytes
) -> None:
    path = tmp_path_factory.mktemp("suites") / "odd.toml"
    path.write_bytes(changes if isinstance(changes, bytes) else as_toml(SUITE, changes))
    try:
        suite = load_suite(str(path))
        resolve(make_cells(suite, ["manual", "zip"]), suite)
    except UserError as error:
        assert len(str(error)) < 2000


def test_a_suite_says_what_it_names_and_what_is_not_there(tmp_path: Path) -> None:
    for value, said in (
        ("{ nope = {} }", r"\[methods.nope\] names no method"),
        ("{ cmaes = { rank = -1 } }", "cmaes.rank must be at least 0"),  # although it does not run
        ("{ zip = { init = { a = 1 } } }", "zip.init takes a line"),
    ):
        (tmp_path / "odd.toml").write_bytes(as_toml(SUITE, {"methods": value}))
        with pytest.raises(UserError, match=said):
            make_cells(load_suite(str(tmp_path / "odd.toml")), ["manual"])


# Splits


@pytest.fixture(scope="module")
def fab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("fab")
    fabricate(home, home / "cards", ("fab-json", "fab-fgvc", "fab-imagenet", "fab-folder"))
    return home


SPLIT_FILE = {
    name: [[f"c{label}/{name}{i}.jpg", label, f"c{label}"] for label in range(5) for i in range(2)]
    for name in ("train", "val", "test")
}
BYTES = st.sampled_from(
    [b"", b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000, b"\xff\xfe\x00", b"\xef\xbb\xbf{}", b"NaN",
     b'{"train": NaN}',
     b'{"train": [["a", 1e400, "b"]], "val": [], "test": []}',
     b'{"train": [["\\ud800", 0, "b"]], "val": [], "test": []}',
     b'{"train": [["a\\u0000b", 0, "\\u0000"]], "val": [], "test": []}',
     b"version https://git-lfs.github.com/spec/v1",
     b'{"train": [["a", 99999999999, "b"]], "val": [], "test": []}']
)  # fmt: skip


@given(damaged(SPLIT_FILE).map(lambda value: json.dumps(value).encode()) | BYTES | st.binary(max_size=50))
def test_no_split_file_is_a_traceback(fab: Path, content: bytes) -> None:
    opened(fab, "fab-json", SPLIT, content)


TEXT_FILES = [
    ("fab-fgvc", "variants.txt"), ("fab-fgvc", "images_variant_val.txt"), ("fab-imagenet", "classnames.txt")
]  # fmt: skip


@given(st.sampled_from(TEXT_FILES), BYTES | st.binary(max_size=50) | st.text(max_size=50).map(str.encode))
def test_no_list_of_names_is_a_traceback(fab: Path, file: tuple[str, str], content: bytes) -> None:
    opened(fab, *file, content)


def opened(home: Path, name: str, file: str, content: bytes) -> None:
    """Inspect and open a data set whose file holds this; then the file is as it was."""
    path = home / name / file
    whole = path.read_bytes()
    path.write_bytes(content)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BENCH_DATASETS", str(home / "cards"))
            card = load_card(name)
            assert all("\n" not in problem for problem in inspect(card, home).problems)
            try:
                open_dataset(card, home)
            except UserError as error:
                assert "\n" not in str(error) and len(str(error)) < 2000
    finally:
        path.write_bytes(whole)


# Records


WHOLE = json.loads(dump(record("mine", budget=50)))
RAW = st.sampled_from(
    [b"", b"{}", b"[]", b"[" * 100_000, b'{"a":' * 100_000, b"NaN", b"1e400", b"\xff", b"null", b"9" * 5000]
)


def text_of(value: Any) -> bytes:
    return json.dumps(value).replace("1e+308", "1e400").encode()


def reported(results: Results) -> None:
    """What the report commands work out of records; a UserError is an answer, too."""
    for protocol in ("few-shot", "base-to-new"):
        for make in (
            lambda: tables(results, protocol, "measured", Form(partial=True)),  # noqa: B023
            lambda: summary.ranks_table(select(results, protocol=protocol), None, True),  # noqa: B023
            lambda: summary.efficiency_table(select(results, protocol=protocol), partial=True),  # noqa: B023
        ):
            try:
                make()
            except UserError as error:
                assert len(str(error)) < 5000


@given(damaged(WHOLE).map(text_of) | RAW | st.binary(max_size=50))
def test_no_record_is_a_traceback(good: Path, content: bytes) -> None:
    path = good / "odd.json"
    path.write_bytes(content)
    said: list[str] = []
    try:
        results = load(good, said.append)
        if not results.damaged:  # else they are the good ones
            reported(results)
    finally:
        path.unlink()
    assert all("\n" not in line and len(line) < 1000 for line in said)
    assert len(said) == len(results.damaged) and set(results.cells["method"]) >= {"manual", "blackvip", "zip"}


BAD = {
    "empty": b"", "binary": bytes(range(256)), "deep": b"[" * 100_000, "huge": b"9" * 5000,
    "infinite": json.dumps(WHOLE | {"accuracy": {"test": 1e308}}).replace("1e+308", "1e400").encode(),
    "too good": json.dumps(WHOLE | {"accuracy": {"test": 100.5}}).encode(),
    "surrogate": json.dumps(WHOLE | {"title": "\ud800"}).encode(),
    "escape": json.dumps(WHOLE | {"title": "\x1b[2J"}).encode(),
    "formula": json.dumps(WHOLE | {"n_params": "=1+1"}).encode(),
    "silent failure": json.dumps(WHOLE | {"status": "failed", "error": " "}).encode(),
    "other tests": json.dumps(WHOLE | {"accuracy": {"no": 5.0}}).encode(),
}  # fmt: skip
COMMANDS = (
    ("table", "few-shot"), ("table", "ranks"), ("table", "efficiency"), ("table", "base-to-new"),
    ("plot", "curves"), ("plot", "efficiency"), ("plot", "cd"), ("plot", "params"), ("leaderboard",),
    ("results", "export", "x.csv"), ("results", "verify"),
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_bad_records_among_good_ones_are_named_and_skipped(
    command: tuple[str, ...], good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each bad one is named once, and the result is that of the good ones."""
    monkeypatch.chdir(tmp_path)
    extra = {"plot": ["-o", "x.svg"], "leaderboard": ["-o", "x.html"]}.get(command[0], [])
    where = [str(good)] if command[-1] == "verify" else ["--results", str(good)]
    arguments = [*command, *extra, *where]
    clean = refused_or_done(CliRunner().invoke(main, arguments))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    bad = [good / f"{name}.json" for name in (*BAD, "pipe", "link")]
    try:
        for path, content in zip(bad, BAD.values(), strict=False):
            path.write_bytes(content)
        os.mkfifo(bad[-2])
        bad[-1].symlink_to("nowhere")
        result = refused_or_done(CliRunner().invoke(main, arguments))
    finally:
        for path in bad:
            path.unlink(missing_ok=True)
    for path in bad:
        assert sum(f"{path}:" in line for line in result.output.splitlines()) == 1, path.name
    if command[-1] != "verify":
        assert (result.exit_code, result.stdout) == (clean.exit_code, clean.stdout)
        after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert after == before or command[0] == "leaderboard"  # the page lists what it skipped
        assert not any(b"Infinity" in data for data in after.values())


# What is written for other programs


def test_formulas_and_dollar_signs_in_names_are_text_everywhere(tmp_path: Path) -> None:
    """A spreadsheet computes what starts with =, + , - or @; matplotlib typesets what stands between $."""
    title = "=HYPERLINK($x^$)"
    folder = write(tmp_path / "runs", *grid(("manual",)), *grid(("mine",), title=title))
    for arguments in (
        ["table", "few-shot", "-o", "t.csv"], ["results", "export", "x.csv"],
        ["plot", "curves", "-o", "c.svg"], ["plot", "params", "-o", "p.svg"],
    ):  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            result = refused_or_done(CliRunner().invoke(main, [*arguments, "--results", str(folder)]))
            assert result.exit_code == 0, result.output
    for name in ("t.csv", "x-cells.csv", "x-traces.csv"):
        rows = list(csv.reader((tmp_path / name).read_text().splitlines()))
        cells = [cell for row in rows for cell in row]
        assert any("HYPERLINK" in cell for cell in cells)
        assert not any(cell.startswith(("=", "+", "@", "\t")) for cell in cells)
    for name in ("c.svg", "p.svg"):
        texts = [node.text for node in ElementTree.parse(tmp_path / name).iter() if node.tag.endswith("text")]
        assert title in texts


def test_no_control_character_leaves_a_table(tmp_path: Path) -> None:
    row = Row(("bad\x1b[2J\x07",), (Entry(1.0),))
    table = Table("t\x00", ("Method",), (Column("c\x9b"),), (Block("b\x1b]0;x", (row,)),), ("n\x08\nm",))
    for form in (*FORMS, "terminal"):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", render(table, form))


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_plug_ins_that_are_no_files_are_one_line(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, name in (
        ("BENCH_METHODS", "odd.py"), ("BENCH_DATASETS", "odd.toml"), ("BENCH_SUITES", "odd.toml")
    ):  # fmt: skip
        path = tmp_path / variable / name
        path.parent.mkdir()
        if kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("nowhere")
        monkeypatch.setenv(variable, str(path.parent))
    for arguments in (["-m", "odd"], ["-d", "odd"], ["-s", "odd"]):
        result = refused_or_done(CliRunner().invoke(main, ["run", "--dry-run", *arguments]))
        assert result.exit_code == 2 and "is no file, or a link to nothing" in result.stderr
    every = CliRunner().invoke(main, ["run", "--dry-run", "-m", "all", "-d", "mini-digits"])
    assert every.exit_code == 0 and "zip" in every.stdout, every.output
    assert re.search("left out: .*odd.py is no file, or a link to nothing", every.stderr)
    assert "is no file" in " ".join(CliRunner().invoke(main, ["data", "list"]).output.split())
