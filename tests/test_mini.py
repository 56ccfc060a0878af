"""The embedded suite: pictures, cards, vocabulary, shipped weights."""

import csv
import shutil

import numpy as np
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer

from bench.data.card import load_card
from bench.errors import UserError
from bench.mini import files, glyphs, vocabulary, world
from bench.mini import model as mini
from bench.mini.evaluate import GENERIC, Evaluation, class_names
from bench.mini.scenes import sample
from bench.suites import load_suite

SUITE = load_suite("mini")
CARDS = {name: load_card(name) for name in world.names()}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    """A cache of this module's own, so that nothing is read that it did not render."""
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


def test_unknown_data_set_is_a_user_error():
    with pytest.raises(UserError, match="mini-colors"):
        world.render("mini-colours")


@pytest.mark.parametrize("name", world.names())
def test_pictures_match_the_card(name):
    card, splits = CARDS[name], world.render(name)
    for split, (images, labels) in splits.items():
        assert images.dtype == np.uint8 and images.shape == (len(labels), 32, 32, 3)
        assert len(labels) == getattr(card.images, split)
        assert set(labels.tolist()) == set(range(card.n_classes))
    assert np.bincount(splits["train"][1]).min() >= 32  # 16 shots leave other seeds something else to draw
    assert len(splits["test"][1]) >= 1000 and card.n_classes >= 8


def test_splits_and_pretraining_share_no_picture():
    streams = [world.stream(name)[0].random(4).tolist() for name in ("pretraining", "mini-shapes/train",
               "mini-shapes/val", "mini-shapes/test")]  # fmt: skip
    assert len({tuple(numbers) for numbers in streams}) == len(streams)
    seen = {image.tobytes() for images, _ in world.render("mini-shapes").values() for image in images}
    assert len(seen) == sum(len(labels) for _, labels in world.render("mini-shapes").values())


def test_shifted_sets_keep_the_names_of_their_source():
    assert SUITE.ood is not None and len(SUITE.ood.targets) >= 3
    for target in SUITE.ood.targets:
        assert CARDS[target].classes == CARDS[SUITE.ood.source].classes


def test_fixed_attributes_stay_fixed():
    scenes = sample(np.random.default_rng(0), 200, {"kind": "shape", "ground": 3, "count": 2})
    assert (scenes.ground == 3).all() and (scenes.count == 2).all()
    assert (scenes.ink != scenes.ground).all()


def test_tokenizer_splits_as_clip_does():
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
    import json

    assert json.loads(files.FILES["config"].read_text()) == mini.config()


def test_zero_shot_accuracy_is_the_logs():
    names = ["mini-colors", "mini-directions"]
    with files.FILES["log"].open() as file:
        last = [row for row in csv.DictReader(file) if row["network"] == "clip"][-1]
    scores = Evaluation("val", names).zero_shot(mini.load()[0])
    for name in names:
        # the weights are stored in half precision: a few of the 500 images may flip
        assert scores[name] == pytest.approx(float(last[name]), abs=1.5)


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
@pytest.mark.parametrize("name", ["clip", "encoder"])
def test_damaged_weights_are_a_user_error(name, damage, tmp_path, monkeypatch):
    path = tmp_path / files.FILES[name].name
    if damage != "missing":
        shutil.copy(files.FILES[name], path)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data if damage == "flipped" else data[:-100])
    monkeypatch.setitem(files.FILES, name, path)
    load = mini.load if name == "clip" else mini.load_encoder
    with pytest.raises(UserError, match=path.name):
        load()
