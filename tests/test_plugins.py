"""Plug-ins from ./methods, from installed packages and from a folder of images, each in a fresh process."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.commands.method import TEMPLATE
from bench.data.card import load_card
from bench.data.draft import Wish, card_text, draft, suggested
from bench.data.readers import read
from bench.errors import UserError
from bench.paths import HOME

CARD = """
title = "Spots"
reader = "folder"
template = "a photo of {}."
classes = 2
licence = "CC0"
sources = []
images = { train = 2, test = 2 }
layout = { folder = "spots", train = "train", test = "test" }
"""
SUITE = """
title = "Small"
backbone = "mini"
encoder = "mini"
shots = 2
batch_size = 4
seeds = [1]
budget = 20
augment = false
datasets = ["mini-digits"]
"""


def method(name: str) -> str:
    return TEMPLATE.format(name=name, title=name.capitalize())


def package(site: Path, name: str = "spotty", **groups: str) -> Path:
    """A package as pip leaves it: its folder, and beside it the metadata with its entry points."""
    (site / name / "methods").mkdir(parents=True)
    (site / name / "__init__.py").write_text("raise RuntimeError('nobody has to import this')\n")
    about = site / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    groups = groups or {kind: f"{name}.{kind}" for kind in ("methods", "datasets", "suites")}
    lines = [f"[bench.{kind}]\n{name} = {value}\n" for kind, value in groups.items()]
    (about / "entry_points.txt").write_text("\n".join(lines))
    return site / name


@pytest.fixture
def bench(tmp_path: Path):
    """Runs a bench command in an empty folder, with `site` on Python's path."""
    (tmp_path / "site").mkdir()
    (tmp_path / "work").mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
    clean["BENCH_CACHE"] = os.environ.get("BENCH_CACHE", str(tmp_path / "cache"))
    clean |= {"PYTHONPATH": os.pathsep.join([str(HOME), str(tmp_path / "site")]), "COLUMNS": "200"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bench", *arguments]
        return subprocess.run(command, cwd=tmp_path / "work", env=clean, capture_output=True, text=True)

    return run


def test_a_new_method_is_written_to_the_current_folder_and_found_from_there(bench, tmp_path: Path) -> None:
    made = bench("new-method", "mine")
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "work" / "methods" / "mine.py").is_file() and "wrote methods/mine.py" in made.stdout
    plan = bench("run", "--methods", "mine", "--datasets", "digits", "--dry-run")
    assert plan.returncode == 0 and "mine" in plan.stdout, plan.stderr
    again = bench("new-method", "mine")
    assert again.returncode == 2 and "exists already" in again.stderr


def test_a_package_adds_a_method_a_card_and_a_suite(bench, tmp_path: Path) -> None:
    home = package(tmp_path / "site")
    (home / "methods" / "spsa_mine.py").write_text(method("spsa_mine"))
    for kind, name, text in (("datasets", "spots", CARD), ("suites", "small", SUITE)):
        (home / kind).mkdir()
        (home / kind / f"{name}.toml").write_text(text)
    assert "spots" in bench("data", "list").stdout
    done = bench("run", "--suite", "small", "--methods", "spsa_mine", "--local")
    assert done.returncode == 0 and "Spsa_mine" in done.stdout, done.stderr
    assert (tmp_path / "work" / "runs" / "small").is_dir()


def test_what_is_broken_or_doubled_is_one_line_and_does_not_stop_the_rest(bench, tmp_path: Path) -> None:
    home = package(tmp_path / "site")
    (home / "methods" / "broken.py").write_text("import nothing_of_the_kind\n")
    (home / "methods" / "zip.py").write_text(method("zip"))
    package(tmp_path / "site", "gone", methods="gone.no.such")
    every = bench("run", "--methods", "all", "--datasets", "mini-digits", "--dry-run")
    assert every.returncode == 0 and "blackvip" in every.stdout, every.stderr
    (broken,) = (line for line in every.stderr.splitlines() if "broken.py" in line)
    assert "left out:" in broken and "ModuleNotFoundError" in broken
    (double,) = (line for line in every.stderr.splitlines() if "several methods are called 'zip'" in line)
    assert "left out:" in double
    assert str(home / "methods" / "zip.py") in double and str(HOME / "methods" / "zip.py") in double
    assert "the package gone states gone = 'gone.no.such' under bench.methods" in every.stderr
    asked = bench("run", "--methods", "zip", "--datasets", "mini-digits", "--dry-run")
    assert asked.returncode == 2 and "several methods are called 'zip'" in asked.stderr


def test_two_helpers_of_one_name_are_refused(bench, tmp_path: Path) -> None:
    for name in ("one", "two"):
        home = package(tmp_path / "site", name, methods=f"{name}.methods")
        (home / "methods" / "_shared.py").write_text("A = 1\n")
    (home / "methods" / "uses.py").write_text("from bench.methods._shared import A\n" + method("uses"))
    done = bench("run", "--methods", "uses", "--datasets", "mini-digits", "--dry-run")
    assert done.returncode == 2 and "imports '_shared', which is in two folders" in done.stderr


# bench new-dataset


def pictures(folder: Path, **classes: int) -> Path:
    """Folders of images, one for each class, each image of its own colour."""
    for i, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for j in range(count):
            colour = np.full((40, 40, 3), (60 * i + 20, 10 * j, 7 * j), dtype=np.uint8)
            Image.fromarray(colour).save(folder / name / f"{j:02}.png")
    return folder


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cards").mkdir()
    monkeypatch.setenv("BENCH_DATASETS", str(tmp_path / "cards"))
    return tmp_path / "data"


def test_a_new_data_set_runs_at_once(bench, tmp_path: Path) -> None:
    pictures(tmp_path / "My Spots", red_spot=10, blue_spot=10, big_dot=4)
    made = bench("new-dataset", "../My Spots")
    assert made.returncode == 0, made.stderr
    assert "3 classes; images: 12 train, 5 val, 7 test" in made.stdout
    assert "next: bench run --datasets my-spots" in made.stdout
    done = bench("run", "--methods", "manual", "--datasets", "my-spots", "--local")
    assert done.returncode == 0 and "my-spots" in done.stdout, done.stderr
    checked = bench("data", "verify", "my-spots")
    assert checked.returncode == 0 and "is as its card says" in checked.stdout
    assert sorted(path.name for path in (tmp_path / "My Spots").iterdir()) == [
        "big_dot",
        "blue_spot",
        "red_spot",
    ]


def test_images_are_divided_once_and_the_card_names_the_divisions_digest(data: Path, tmp_path: Path) -> None:
    folder = pictures(data / "spots", red=10, blue=10)
    card = draft(Wish(folder, "spots"), data).card
    assert load_card("spots") == card and card.layout is not None
    _, listing = read(card, data)
    assert {split: len(entries) for split, entries in listing.items()} == {"train": 10, "val": 4, "test": 6}
    assert len({entry.path for entries in listing.values() for entry in entries}) == 20
    # a new class leaves the others' division as it is
    more = draft(Wish(pictures(tmp_path / "more", red=10, blue=10, green=6), "more"), data).card
    _, others = read(more, data)
    for split in listing:
        mine = {entry.path for entry in listing[split]}
        theirs = {entry.path.removeprefix("images/") for entry in others[split] if entry.name != "green"}
        assert mine == theirs
    split_file = data / "spots" / card.layout.split
    split_file.write_text(split_file.read_text().replace("red/00.png", "red/01.png"))
    with pytest.raises(UserError, match="sha256 differs"):
        read(card, data)


def test_an_official_division_is_kept(data: Path) -> None:
    for split, count in (("train", 3), ("test", 2)):
        pictures(data / "mine" / split, red=count, blue=count)
    card = draft(Wish(data / "mine", "mine"), data).card
    assert (card.images.train, card.images.val, card.images.test) == (6, 0, 4)
    _, listing = read(card, data)
    assert {entry.path.split("/")[0] for entry in listing["test"]} == {"test"}


@pytest.mark.parametrize(
    ("classes", "said"),
    [({"red": 4}, "at least 2 folders"), ({"red": 4, "blue": 1}, "'blue' has 1 image, but needs at least 2")],
)
def test_a_folder_that_is_no_data_set_leaves_nothing_behind(
    classes: dict[str, int], said: str, data: Path, tmp_path: Path
) -> None:
    folder = pictures(tmp_path / "odd", **classes)
    with pytest.raises(UserError, match=said):
        draft(Wish(folder, "odd"), data)
    assert not data.exists() and not list((tmp_path / "cards").iterdir())


def test_a_damaged_image_leaves_nothing_behind(data: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "odd", red=4, blue=4)
    (folder / "red" / "01.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"01\.png is damaged"):
        draft(Wish(folder, "odd"), data)
    assert not data.exists() and not list((tmp_path / "cards").iterdir())


@pytest.mark.parametrize(("name", "said"), [("mini-digits", "exists already"), ("A b", "cannot be")])
def test_a_name_that_is_taken_or_no_name_is_refused(name: str, said: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        draft(Wish(pictures(tmp_path / "x", red=2, blue=2), name), data)


def test_words_of_any_language_are_in_the_card(data: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "Pilze", fliegenpilz=2, pfifferling=2)
    wish = Wish(folder, suggested(folder), 'ein "Bild" von {}', "Über Pilze", "CC-BY 4.0 \\ frei")
    card = draft(wish, data).card
    assert card.name == "pilze" and load_card("pilze") == card and "Über Pilze" in card_text(card)


def test_what_is_skipped_is_said_and_a_folder_may_have_a_dot(data: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "wood", **{"v1.0": 3, "oak": 3, ".cache": 2})
    (folder / "notes.txt").write_text("mine")
    (folder / "oak" / "raw.heic").write_bytes(b"x")
    (folder / "oak" / "more").mkdir()
    made = draft(Wish(folder, "wood"), data)
    assert made.card.n_classes == 2 and made.card.images.train + made.card.images.test == 6
    assert [line.partition(": ")[2] for line in made.skipped] == [
        "'.cache'",
        "'notes.txt'",
        "'oak/more'",
        "'oak/raw.heic'",
    ]
    assert "with a name that begins with a dot" in made.skipped[0] and ".jpg" in made.skipped[3]


@pytest.mark.parametrize("fault", ["damaged", "empty file", "empty folder", "same name"])
def test_the_advice_is_for_somebody_without_a_card_and_an_archive(
    fault: str, data: Path, tmp_path: Path
) -> None:
    folder = pictures(tmp_path / "odd", red=4, blue=4)
    if fault == "empty folder":
        (folder / "green").mkdir()
    elif fault == "same name":
        pictures(folder, Red=4)
    else:
        (folder / "red" / "01.png").write_bytes(b"no picture" if fault == "damaged" else b"")
    with pytest.raises(UserError) as error:
        draft(Wish(folder, "odd"), data)
    said = str(error.value)
    assert not any(word in said for word in ("archive", "card", "layout", "shared_names")), said
    assert any(advice in said for advice in ("remove it", "rename one of the folders")), said
    assert not data.exists()
