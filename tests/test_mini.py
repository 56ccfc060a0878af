"""The embedded suite: pictures, cards, vocabulary, shipped files."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer

from bench.data.card import load_card
from bench.data.dataset import pictures_sha256
from bench.data.images import View
from bench.data.task import load_task
from bench.errors import UserError
from bench.mini import files, glyphs, vocabulary, world
from bench.mini import model as mini
from bench.mini.captions import plural
from bench.mini.evaluate import GENERIC, Evaluation, class_names
from bench.mini.paint import _normal
from bench.mini.scenes import COLOR_NAMES, NUMBERS, TEXTURES, THINGS, Scenes, sample
from bench.mini.tasks import TASKS
from bench.suite import load_suite

SUITE, MANY = load_suite("mini"), load_suite("mini-many")
CARDS = {name: load_card(name) for name in world.names()}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    """A cache for this module alone, so that it reads only what it rendered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(
        np.array_equal(x, y) for split in a for x, y in zip(a[split], b[split], strict=True)
    )


@pytest.mark.parametrize("name", ["mini-colors", "mini-landcover", "mini-digits"])
def test_rendering_is_the_same_every_time_and_from_the_cache(name):
    fresh = world.draw(name)
    assert same(fresh, world.draw(name))
    assert same(fresh, world.render(name))  # writes the cache
    assert same(fresh, world.render(name))  # reads it


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    return tmp_path / "mini"


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "missing", "swapped"])
def test_a_damaged_image_cache_is_rendered_again(folder, damage, recwarn):
    expected = world.render("mini-directions")
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    path = max(whole)
    data = bytearray(whole[path])
    data[len(data) // 2] ^= 1
    path.write_bytes({"cut": data[:-5000], "flipped": data}.get(damage, b""))
    if damage == "missing":
        path.unlink()
    if damage == "swapped":  # whole, and of another split
        path.write_bytes(whole[min(whole)])
    assert same(world.render("mini-directions"), expected)
    assert {path: path.read_bytes() for path in folder.iterdir()} == whole
    assert not recwarn.list


def test_an_image_cache_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match=r"cannot write the mini cache .*BENCH_CACHE"):
        splits = world.render("mini-directions")
    assert len(splits["test"][1]) == CARDS["mini-directions"].images.test


@pytest.mark.parametrize("what", ["code", "masks", "torch"])
def test_the_name_of_cached_images_depends_on_all_code_that_draws_them(what, monkeypatch):
    before = world.key()
    read, version = Path.read_bytes, world.version
    end = {"code": "paint.py", "masks": "masks.png"}.get(what)
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"." * (path.name == end))
    monkeypatch.setattr(world, "version", lambda name: version(name) + "." * (name == what))
    assert world.key.__wrapped__() != before
    monkeypatch.undo()
    assert world.key.__wrapped__() == before


def test_unknown_data_set_is_a_user_error():
    with pytest.raises(UserError, match="mini-colors"):
        world.render("mini-colours")


@pytest.mark.parametrize("name", world.names())
def test_pictures_match_the_card(name):
    card, splits = CARDS[name], world.render(name)
    for split, (images, labels) in splits.items():
        assert images.dtype == np.uint8 and images.shape == (len(labels), 32, 32, 3)
        assert len(labels) == getattr(card.images, split)
        assert pictures_sha256(images, labels) == card.images.sha256[split], (
            f"{split}: if that is meant, benchmarks/same_bytes.py --renew writes the card anew"
        )
        assert set(labels.tolist()) == set(range(card.n_classes))
    assert np.bincount(splits["train"][1]).min() >= 32  # so that other seeds draw other images with 16 shots
    assert len(splits["test"][1]) >= 1000 and card.n_classes >= 8


@pytest.mark.parametrize(
    "kernels",
    [
        {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "1"},
        {"ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "2"},
    ],
)
def test_other_kernels_render_the_same_bytes(kernels):
    """On the validation splits; benchmarks/same_bytes.py has all splits and all settings."""
    script = """
import json
from bench.data.dataset import pictures_sha256
from bench.mini import world
found = {name: pictures_sha256(*world._rendered(name, "val")) for name in world.TASKS}
found["mini-digits"] = pictures_sha256(*world.draw("mini-digits")["val"])
print(json.dumps(found))
"""
    environment = {**os.environ, **kernels, "PYTHONPATH": str(files.HERE.parents[1])}
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert json.loads(found) == {name: card.images.sha256["val"] for name, card in CARDS.items()}


@pytest.mark.parametrize("name", ["mini-textures", "mini-landcover", "mini-shapes-outlined", "mini-groups"])
def test_pictures_do_not_depend_on_the_last_digits(name, same_bytes, monkeypatch):
    def shaken() -> str:
        with same_bytes.Shaken():
            return pictures_sha256(*world._rendered(name, "val"))

    assert shaken() == CARDS[name].images.sha256["val"]
    monkeypatch.setattr(same_bytes, "SHAKE", 1e-6)  # as float32 would
    assert shaken() != CARDS[name].images.sha256["val"]


def test_no_value_is_near_a_rounding_boundary(same_bytes):
    with same_bytes.Margins() as margins:
        world._rendered("mini-shapes-checkered", "val")
        world._rendered("mini-textures", "val")
    assert set(margins.least) == {"round", "lt", "gt"}  # grey levels, dark grounds, woven threads
    assert min(margins.least.values()) > 1e-10  # kernels differ by 1e-12


@pytest.mark.parametrize("n", [1, 15, 16, 17, 48, 1001])
def test_normal_numbers_are_those_of_torch_with_more_digits(n):
    ours = _normal([n], torch.Generator().manual_seed(n))
    theirs = torch.randn(max(n, 16), generator=torch.Generator().manual_seed(n))
    assert ours.dtype == torch.float64 and ours.shape == (n,)
    if n >= 16:  # PyTorch uses another algorithm for fewer
        assert (ours - theirs).abs().max() < 1e-5


def test_drawn_masks_are_the_shipped_ones():
    """Equal to the byte where a formula draws; letters as far as versions of FreeType and Pillow agree."""
    drawn, bank = glyphs.draw(), glyphs.bank()
    assert drawn.shape == bank.masks.shape and drawn.dtype == bank.masks.dtype == np.uint8
    assert (drawn != bank.masks).mean() < 0.01
    formulas = ["circle", "square", "cross", "heart", "diamond", "ring", "crescent", "arch"]
    things = [("shape", glyphs.SHAPES.index(name)) for name in formulas]
    for thing in [*things, *(("clock", hour) for hour in range(12))]:
        rows = list(bank.rows[thing])
        assert np.array_equal(drawn[rows], bank.masks[rows]), thing


def test_masks_read_from_a_file_equal_the_masks_written(tmp_path, monkeypatch):
    monkeypatch.setattr(glyphs, "draw", lambda: glyphs.bank().masks)
    glyphs.write_masks(tmp_path / "masks.png")
    monkeypatch.setitem(files.FILES, "masks", tmp_path / "masks.png")
    monkeypatch.setattr(glyphs, "check", lambda path: None)  # another compression gives other bytes
    assert np.array_equal(glyphs.bank.__wrapped__().masks, glyphs.bank().masks)


def test_splits_and_pretraining_share_no_picture():
    streams = [world.stream(name)[0].random(4).tolist() for name in ("pretraining", "mini-shapes/train",
               "mini-shapes/val", "mini-shapes/test")]  # fmt: skip
    assert len({tuple(numbers) for numbers in streams}) == len(streams)
    seen = {image.tobytes() for images, _ in world.render("mini-shapes").values() for image in images}
    assert len(seen) == sum(len(labels) for _, labels in world.render("mini-shapes").values())


def words_for(name: str, scenes: Scenes, i: int) -> str:
    """What a person would call scene i, in the words of the data set's classes."""
    shape, color = THINGS["shape"], COLOR_NAMES[scenes.ink[i]]
    match name:
        case "mini-figures":
            return f"{color} {shape[scenes.thing[i]]}"
        case "mini-tiles":
            return f"{color} {TEXTURES[scenes.thing[i]]}"
        case "mini-groups":
            return f"{NUMBERS[scenes.count[i]]} {plural(shape[scenes.thing[i]])}"
    raise AssertionError(name)


@pytest.mark.parametrize(
    ("name", "classes", "zero_shot"),
    [("mini-figures", 96, 44.8), ("mini-tiles", 80, 54.6), ("mini-groups", 84, 46.8)],
)
def test_sets_of_many_classes(name, classes, zero_shot):
    card = CARDS[name]
    scenes, labels = TASKS[name].scenes(np.random.default_rng(0), 2 * classes)
    assert card.n_classes == TASKS[name].classes == classes == len(set(card.classes))
    assert [card.classes[label] for label in labels] == [
        words_for(name, scenes, i) for i in range(len(labels))
    ]
    used = re.findall(r"[a-z]+", " ".join((card.template, *card.classes)))
    assert set(used) <= set(vocabulary.words())
    scores = Evaluation("test", [name]).zero_shot(mini.load()[0])
    assert scores[name] == pytest.approx(zero_shot, abs=0.5)


@pytest.mark.parametrize(("name", "slow"), [("mini-figures", 0), ("mini-tiles", 0), ("mini-groups", 1)])
def test_many_classes_have_halves_that_share_one_attribute(name, slow):
    task = load_task(name, "base-to-new", seed=1, shots=16, view=View(32))
    base, new = ([c.split() for c in task.tests[half].classes] for half in ("base", "new"))
    assert task.tests["base"].classes == task.classes and len(task.train) == 16 * len(base)
    assert len(base) == len(new) == CARDS[name].n_classes / 2
    assert not {c[slow] for c in base} & {c[slow] for c in new}
    assert {c[1 - slow] for c in base} == {c[1 - slow] for c in new}


def test_many_classes_take_minis_values():
    assert set(MANY.datasets).isdisjoint(SUITE.datasets)
    same = (
        "backbone",
        "encoder",
        "shots",
        "batch_size",
        "seeds",
        "budget",
        "augment",
        "precision",
        "methods",
    )
    for name in same:
        assert getattr(MANY, name) == getattr(SUITE, name), name
    assert MANY.hash != SUITE.hash


def test_shifted_sets_keep_the_names_of_their_source():
    assert SUITE.ood is not None and len(SUITE.ood.targets) >= 3
    for target in SUITE.ood.targets:
        assert CARDS[target].classes == CARDS[SUITE.ood.source].classes


def test_fixed_attributes_stay_fixed():
    scenes = sample(np.random.default_rng(0), 200, {"kind": "shape", "ground": 3, "count": 2})
    assert (scenes.ground == 3).all() and (scenes.count == 2).all()
    assert (scenes.ink != scenes.ground).all()


def test_the_tokenizer_splits_like_clips():
    ours, clip = vocabulary.tokenizer(files.FILES["merges"]), SimpleTokenizer()
    texts = {t.format(name) for c in CARDS.values() for name in class_names(c) for t in (c.template, GENERIC)}
    for text in texts | set(vocabulary.words()):
        split = [[t.decoder[i] for i in t.encode(text)] for t in (ours, clip)]
        assert split[0] == split[1], text
    for name in {name for card in CARDS.values() for name in class_names(card)}:
        assert 1 + 16 + len(ours.encode(f"{name}.")) + 1 <= vocabulary.CONTEXT_LENGTH
    assert ours.decode(ours.encode("xylophone Ünïcode 42")).split() == ["xylophone", "ünïcode", "4", "2"]


def test_merges_file_is_reproducible(tmp_path):
    vocabulary.write_merges(tmp_path / "merges.txt.gz")
    assert (tmp_path / "merges.txt.gz").read_bytes() == files.FILES["merges"].read_bytes()


def test_weights_load_and_are_small():
    model, tokens = mini.load()
    assert not model.training and model.logit_scale.dtype == torch.float32
    assert tokens(["a photo of a star."]).shape == (1, model.context_length)
    encoder = mini.load_encoder()
    assert encoder(torch.rand(2, 3, 32, 32)).shape == (2, encoder.width)
    assert sum(files.FILES[name].stat().st_size for name in files.CHECKED) <= 8e6


def test_shipped_config_is_the_one_the_code_writes():
    assert json.loads(files.FILES["config"].read_text()) == mini.config()


def test_zero_shot_accuracy_is_that_of_the_training_log():
    names = ["mini-colors", "mini-directions"]
    with files.FILES["log"].open() as file:
        last = [row for row in csv.DictReader(file) if row["network"] == "clip"][-1]
    scores = Evaluation("val", names).zero_shot(mini.load()[0])
    for name in names:
        # the weights are stored in half precision: a few of the 500 images may flip
        assert scores[name] == pytest.approx(float(last[name]), abs=1.5)


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
@pytest.mark.parametrize("name", ["clip", "encoder", "masks"])
def test_damaged_files_are_a_user_error(name, damage, tmp_path, monkeypatch):
    path = tmp_path / files.FILES[name].name
    if damage != "missing":
        shutil.copy(files.FILES[name], path)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data if damage == "flipped" else data[:-100])
    monkeypatch.setitem(files.FILES, name, path)
    load = {"clip": mini.load, "encoder": mini.load_encoder, "masks": glyphs.bank.__wrapped__}[name]
    with pytest.raises(UserError, match=path.name):
        load()
