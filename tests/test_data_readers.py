"""Every file format works in every protocol, and the error about any damage names it."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from fabricate_data import ALL, CLASSES, COUNTS, SPLIT, fabricate, picture, write_card
from PIL import Image

from bench.data.card import load_card
from bench.data.images import View, clean
from bench.data.inspection import inspect, missing
from bench.data.task import load_task
from bench.errors import UserError

TUNABLE = ("fab-json", "fab-mlai", "fab-fgvc", "fab-imagenet", "fab-folder")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    home = tmp_path_factory.mktemp("fabricated")
    fabricate(home / "data", home / "cards")
    return home


@pytest.fixture
def whole(pristine, monkeypatch):
    """All fabricated data sets, with the data folder set. Tests only read them."""
    monkeypatch.setenv("BENCH_DATASETS", str(pristine / "cards"))
    monkeypatch.setenv("BENCH_DATA", str(pristine / "data"))
    return pristine


@pytest.fixture
def one(pristine, tmp_path, monkeypatch):
    """A function from a name to the folder of a copy of that data set, which a test may damage."""
    monkeypatch.setenv("BENCH_DATASETS", str(tmp_path / "cards"))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))

    def make(name: str) -> Path:
        (tmp_path / "cards").mkdir()
        shutil.copy(pristine / "cards" / f"{name}.toml", tmp_path / "cards")
        return shutil.copytree(pristine / "data" / name, tmp_path / "data" / name)

    return make


@pytest.mark.parametrize("name", TUNABLE)
def test_few_shot(whole, name):
    task = load_task(name, "few-shot", seed=1, shots=2, view=View(24))
    assert len(task.classes) == 5 and len(task.train) == 10
    assert len(task.val) == (0 if name == "fab-imagenet" else 10)
    test = task.tests["test"]
    assert test.images.labels.bincount().tolist() == [COUNTS["test"]] * 5
    assert test.images.pixels(range(20)).shape == (20, 3, 24, 24)
    assert task.train.crops(range(10), torch.Generator().manual_seed(0)).shape == (10, 3, 24, 24)
    again = load_task(name, "few-shot", seed=1, shots=2, view=View(24))
    assert (again.train.key, again.split_hash, again.card_hash) == (
        task.train.key,
        task.split_hash,
        task.card_hash,
    )
    assert load_task(name, "few-shot", seed=2, shots=2, view=View(24)).train.key != task.train.key


def test_every_image_has_its_own_label(whole, tmp_path):
    task = load_task("fab-folder", "few-shot", seed=1, shots=6, view=View(24))  # a class has six images
    expected = set()
    for label in range(5):
        for number in range(COUNTS["train"]):
            picture(tmp_path / "it.png", label, number)
            expected.add((label, clean(Image.open(tmp_path / "it.png"), View(24)).numpy().tobytes()))
    pixels = (task.train.pixels(range(30)) * 255).round().to(torch.uint8)
    labels = task.train.labels.tolist()
    assert {(label, image.numpy().tobytes()) for label, image in zip(labels, pixels, strict=True)} == expected
    assert task.classes == ("Sea Urchin", "barn", "camera", "dragonfly", "emu bird")


def test_class_names_and_labels_of_each_format(whole):
    classes = {name: load_task(name, "few-shot", 1, 1, View(24)).classes for name in TUNABLE}
    assert classes["fab-json"] == ("Sea Urchin", "barn", "camera", "dragonfly", "emu")
    assert classes["fab-mlai"] == ("0", "1", "2", "3", "4")
    assert classes["fab-fgvc"] == ("707-320", "A300B4", "DHC-8-100", "F/A-18", "Model B200")
    assert classes["fab-imagenet"] == ("tench", "goldfish", "great white shark", "tiger shark", "ray")


@pytest.mark.parametrize("name", TUNABLE)
def test_base_to_new(whole, name):
    task = load_task(name, "base-to-new", seed=1, shots=2, view=View(24))
    every = load_task(name, "few-shot", seed=1, shots=2, view=View(24))
    assert task.classes == task.tests["base"].classes == every.classes[:3]
    assert task.tests["new"].classes == every.classes[3:]
    assert len(task.train) == 6 and task.train.labels.unique().tolist() == [0, 1, 2]
    assert task.tests["new"].images.labels.unique().tolist() == [0, 1]
    base = every.train.labels < 3
    assert torch.equal(task.train.pixels(range(6)), every.train.pixels(torch.arange(10)[base]))


def test_cross_dataset(whole):
    targets = ("fab-json", "fab-fgvc", "fab-mlai")
    task = load_task("fab-folder", "cross-dataset", seed=1, shots=2, view=View(24), targets=targets)
    assert tuple(task.tests) == targets and len(task.train) == 10
    assert task.tests["fab-mlai"].classes == ("0", "1", "2", "3", "4")
    alone = load_task("fab-folder", "few-shot", seed=1, shots=2, view=View(24))
    assert task.train.key == alone.train.key and task.split_hash != alone.split_hash


def test_out_of_distribution(whole):
    task = load_task("fab-imagenet", "ood", 1, 2, View(24), targets=("fab-imagenet-v2", "fab-imagenet-a"))
    assert task.tests["fab-imagenet-v2"].classes == task.classes
    assert task.tests["fab-imagenet-a"].classes == ("goldfish", "ray")  # scored only among its own classes
    assert task.tests["fab-imagenet-a"].images.labels.bincount().tolist() == [4, 4]


def test_scoring_on_the_validation_split(whole):
    task = load_task("fab-json", "few-shot", 1, 2, View(24), score="val")
    assert len(task.tests["test"].images) == 15  # the whole split, not the few-shot draw
    with pytest.raises(UserError, match="fab-imagenet has no validation images"):
        load_task("fab-imagenet", "few-shot", 1, 2, View(24), score="val")
    with pytest.raises(UserError, match="fab-imagenet-v2 has no training images"):
        load_task("fab-imagenet-v2", "few-shot", 1, 2, View(24))


@pytest.mark.parametrize("name", ALL)
def test_verify_finds_nothing_wrong_with_a_whole_data_set(whole, name):
    seen = []
    report = inspect(load_card(name), whole / "data", lambda done, total: seen.append((done, total)))
    assert report.problems == ()
    assert report.decoded == sum(report.counts.values()) == seen[-1][0] == seen[-1][1]
    assert missing(load_card(name), whole / "data") == ""


def edit(folder: Path, change) -> None:
    """Apply `change` to the JSON split and write it again."""
    path = folder / SPLIT
    split = json.loads(path.read_text())
    change(split)
    path.write_text(json.dumps(split))


def rename(split, label, name):
    for rows in split.values():
        for row in rows:
            if row[1] == label:
                row[2] = name


def leave(split):
    split["train"][0][0] = "../../../etc/passwd"


def take_out(split, part, label):
    split[part] = [row for row in split[part] if row[1] != label]


def leave_absolutely(split):
    split["test"][0][0] = "/etc/passwd"


def gap(split):
    for rows in split.values():
        for row in rows:
            row[1] += row[1] >= 2


DAMAGED_SPLITS = {
    "leaves": (leave, r"'images/\.\./\.\./\.\./etc/passwd' in train leaves the data set's folder.*again"),
    "absolute": (leave_absolutely, r"etc/passwd.*in test leaves the data set's folder.*again"),
    "no val": (lambda s: s.pop("val"), r"split_zhou_Fab\.json has no key 'val'.*Download it again"),
    "more keys": (
        lambda s: s.update(extra=[]),
        r"split_zhou_Fab\.json may have only the keys train, val and test",
    ),
    "bad row": (
        lambda s: s["train"].insert(0, ["a.jpg", "0", "x"]),
        r"train\[0\] is .* must be \[path, label",
    ),
    "label gap": (gap, "labels must be 0, 1, 2, ... without gaps, but 2 breaks.*again"),
    "two names": (
        lambda s: s["train"][0].__setitem__(2, "eel"),
        "label 3 has several class names: 'dragonfly, eel'.*again",
    ),
    "clash": (
        lambda s: rename(s, 4, "sea_urchin".title()),
        "labels 0 and 4 share the class name 'sea urchin'.*shared_names",
    ),
    "overlap": (
        lambda s: s["test"].__setitem__(0, s["train"][2]),
        r"1 image is both in train and in test, .*jpg.*again",
    ),
    "class without test images": (
        lambda s: take_out(s, "test", 3),
        "class 'dragonfly' has no test images: add images",
    ),
    "class without training images": (
        lambda s: take_out(s, "train", 0),
        "class 'Sea_Urchin' has no train images: add images",
    ),
    "count": (lambda s: s["test"].pop(), r"19 test images, but the card says 20.*datasets/fab-json\.toml"),
}


@pytest.mark.parametrize("damage", DAMAGED_SPLITS)
def test_a_damaged_split_gives_an_error_with_its_name(one, damage):
    change, message = DAMAGED_SPLITS[damage]
    folder = one("fab-json")
    edit(folder, change)
    with pytest.raises(UserError, match=message):
        load_task("fab-json", "few-shot", 1, 2, View(24))
    problems = inspect(load_card("fab-json"), folder.parent).problems
    assert any(re.search(message, problem) for problem in problems)


def test_a_missing_split_is_an_error(one):
    folder = one("fab-json")
    (folder / SPLIT).unlink()
    expected = (
        rf"{SPLIT} is missing. Its place is {folder / SPLIT}; download it from https://example.org/fabricated"
    )
    with pytest.raises(UserError, match=expected):
        load_task("fab-json", "few-shot", 1, 2, View(24))
    assert not (folder / SPLIT).exists()
    assert missing(load_card("fab-json"), folder.parent) == f"fab-json/{SPLIT}"


def test_a_split_with_another_checksum_is_refused(one, tmp_path):
    folder = one("fab-json")
    card = tmp_path / "cards" / "fab-json.toml"
    card.write_text(card.read_text() + f'sha256 = "{"0" * 64}"\n')
    with pytest.raises(UserError, match=rf"{folder / SPLIT} is not the published file.*again"):
        load_task("fab-json", "few-shot", 1, 2, View(24))


def test_a_split_that_is_not_json_gives_an_error_with_its_name(one):
    (one("fab-json") / SPLIT).write_text('{"train": [')
    with pytest.raises(UserError, match=r"split_zhou_Fab\.json is not valid JSON.*again"):
        load_task("fab-json", "few-shot", 1, 2, View(24))


def test_a_missing_folder_gives_an_error_with_its_name(one):
    shutil.rmtree(one("fab-json"))
    with pytest.raises(
        UserError, match=r"no folder .*fab-json: set --root or BENCH_DATA.*bench data get fab-json"
    ):
        load_task("fab-json", "few-shot", 1, 2, View(24))


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def replace(path: Path) -> None:
    path.write_text("<html>404 not found</html>")


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("name", ["fab-json", "fab-folder"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove, "is missing"),
        (truncate, "damaged or not an image|is a web page"),
        (replace, "damaged or not an image|is a web page"),
        (empty, "empty"),
    ],
)
def test_a_damaged_image_gives_an_error_with_its_name(one, damage, message, name):
    folder = one(name)
    image = folder / ("images/barn/0009.jpg" if name == "fab-json" else "test/barn/photo 9.png")
    damage(image)
    report = inspect(load_card(name), folder.parent)
    # A folder has no list of its files, so only the count shows that one is missing.
    if name == "fab-folder" and damage is remove:
        assert "19 test images, but the card says 20" in report.problems[0]
    else:
        assert (
            len(report.problems) == 1 and str(image) in report.problems[0] and "restore" in report.problems[0]
        )
        with pytest.raises(UserError, match=message):
            images = load_task(name, "few-shot", 1, 2, View(24)).tests["test"].images
            images.pixels(range(len(images)))


def test_damaged_fgvc_files(one):
    folder = one("fab-fgvc")
    lines = (folder / "images_variant_val.txt").read_text().splitlines()
    lines[2] = "0000099 Zeppelin NT"
    (folder / "images_variant_val.txt").write_text("\n".join(lines))
    with pytest.raises(
        UserError, match=r"images_variant_val\.txt, line 3: 'Zeppelin NT' is not a class of variants\.txt"
    ):
        load_task("fab-fgvc", "few-shot", 1, 2, View(24))
    (folder / "images_variant_val.txt").unlink()
    with pytest.raises(UserError, match=r"images_variant_val\.txt is missing.*archive again"):
        load_task("fab-fgvc", "few-shot", 1, 2, View(24))


def test_damaged_imagenet_files(one):
    folder = one("fab-imagenet")
    picture(folder / "images" / "train" / "n99999999" / "x.JPEG", 0, 99)
    with pytest.raises(UserError, match=r"classnames\.txt has no class name for the folder 'n99999999'"):
        load_task("fab-imagenet", "few-shot", 1, 2, View(24))
    shutil.rmtree(folder / "images" / "train" / "n99999999")
    names = folder / "classnames.txt"
    names.write_text(names.read_text().replace("tiger shark", "tench"))
    with pytest.raises(UserError, match="labels 0 and 3 share the class name 'tench'"):
        load_task("fab-imagenet", "few-shot", 1, 2, View(24))
    names.write_text(names.read_text().replace("n01491361 tench", "n01491361"))
    with pytest.raises(UserError, match=r"classnames\.txt, line 4: .* has no class name"):
        load_task("fab-imagenet", "few-shot", 1, 2, View(24))
    names.unlink()
    with pytest.raises(UserError, match=r"classnames\.txt is missing. Its place is"):
        load_task("fab-imagenet", "few-shot", 1, 2, View(24))


def test_two_classes_may_share_a_name_if_the_card_says_so(one, tmp_path):
    folder = one("fab-imagenet")
    names = folder / "classnames.txt"
    names.write_text(names.read_text().replace("tiger shark", "tench"))
    card = tmp_path / "cards" / "fab-imagenet.toml"
    card.write_text('shared_names = ["tench"]\n' + card.read_text())
    assert load_task("fab-imagenet", "few-shot", 1, 2, View(24)).classes.count("tench") == 2


def test_a_card_may_fix_the_classes_of_a_folder(one, tmp_path):
    one("fab-folder")
    order = ["emu bird", *CLASSES[:4]]
    layout = 'train = "train"\nval = "val"\ntest = "test"\n\n[names]\nemu = "emu bird"'
    write_card(tmp_path / "cards", "fab-folder", "folder", layout, classes=str(order).replace("'", '"'))
    task = load_task("fab-folder", "few-shot", 1, 2, View(24))
    assert task.classes[0] == "emu bird" and task.train.labels.bincount().tolist() == [2] * 5
    write_card(
        tmp_path / "cards",
        "fab-folder",
        "folder",
        layout.replace("emu bird", "ostrich"),
        classes='["a", "b"]',
    )
    with pytest.raises(UserError, match="the folder 'Sea_Urchin' is not a class of the card"):
        load_task("fab-folder", "few-shot", 1, 2, View(24))


def test_unconfirmed_counts_are_not_checked(one, tmp_path):
    folder = one("fab-json")
    edit(folder, lambda split: split["train"].pop())
    card = tmp_path / "cards" / "fab-json.toml"
    card.write_text(card.read_text().replace("test = 20 }", 'test = 20, unconfirmed = ["train"] }'))
    assert len(load_task("fab-json", "few-shot", 1, 6, View(24)).train) == 29


def test_a_class_name_for_a_missing_folder_is_refused(one, tmp_path):
    """Otherwise a typing error in [names] would leave the class with its folder's name."""
    one("fab-folder")
    card = tmp_path / "cards" / "fab-folder.toml"
    card.write_text(card.read_text().replace("emu =", "emuu ="))
    with pytest.raises(UserError, match=r"\[names\] has 'emuu', but there is no folder of this name"):
        load_task("fab-folder", "few-shot", 1, 2, View(24))
