"""Few-shot sampling draws the same images as CoOp; base and new classes."""

import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.data.card import load_card
from bench.data.split import Item, Split, base_and_new, few_shot, loader_shuffles, only

GOLDEN = Path(__file__).parent / "golden"
PUBLISHED = json.loads((GOLDEN / "few_shot_draws.json").read_text())
SVHN = json.loads((GOLDEN / "authors" / "svhn.json").read_text())

# Classes appear in the order c, a, b in train and a, c, b in val; b has 3 images in train, c has 3 in val.
TRAIN = [Item(f"{c}{i}", l) for i in range(7) for c, l in (("c", 2), ("a", 0), ("b", 1)) if c != "b" or i < 3]
VAL = [Item(f"{c}v{i}", l) for i in range(5) for c, l in (("a", 0), ("c", 2), ("b", 1)) if c != "c" or i < 3]

# What Dassl's generate_fewshot_dataset returned for these lists after random.seed(seed).
EXPECTED = {
    1: ("c1 c4 c0 c2 a0 a3 a5 a4 b0 b1 b2", "av3 av1 av0 av4 cv0 cv1 cv2 bv0 bv3 bv1 bv4"),
    2: ("c6 c0 c5 c4 a2 a1 a6 a4 b0 b1 b2", "av4 av1 av2 av0 cv0 cv1 cv2 bv4 bv1 bv3 bv2"),
    3: ("c1 c4 c5 c6 a2 a4 a3 a0 b0 b1 b2", "av4 av0 av1 av2 cv0 cv1 cv2 bv4 bv1 bv0 bv3"),
}


@pytest.mark.parametrize("seed", EXPECTED)
def test_few_shot_draws_are_those_of_coop(seed):
    train, val = few_shot(TRAIN, VAL, shots=4, seed=seed)
    assert (" ".join(i.image for i in train), " ".join(i.image for i in val)) == EXPECTED[seed]


def by_runs(runs: Sequence[Sequence[int]]) -> list[Item]:
    """The list of a split file, from its runs [label, count]. The name of an item is its position."""
    labels = [label for label, count in runs for _ in range(count)]
    return [Item(str(position), label) for position, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("name", "draw"), [(name, draw) for name in PUBLISHED for draw in PUBLISHED[name]["draws"]]
)
def test_few_shot_draws_what_was_published(name, draw):
    """Seven real split files, 1 to 16 shots, three seeds: number and sha256 of the drawn positions."""
    published = PUBLISHED[name]
    lists = by_runs(published["train_labels"]), by_runs(published["val_labels"])
    shots, seed = map(int, draw.split("-"))
    for part, items in zip(("train", "val"), few_shot(*lists, shots, seed), strict=True):
        digest = hashlib.sha256(",".join(item.image for item in items).encode()).hexdigest()
        assert [len(items), digest] == published["draws"][draw][part]


@pytest.mark.parametrize("draw", SVHN["draws"], ids=lambda draw: f"{draw['shots']}-{draw['seed']}")
def test_the_svhn_draw_is_that_of_the_official_loader(draw):
    train, val, test = (by_runs(list(enumerate(SVHN[part]))) for part in ("train", "val", "test"))
    split = Split(("0", "1", "2"), tuple(train), tuple(val), tuple(test))
    drawn = few_shot(train, val, draw["shots"], draw["seed"], loader_shuffles(split))
    for part, items in zip(("train", "val"), drawn, strict=True):
        assert [int(item.image) for item in items] == draw[part]
    assert drawn != few_shot(train, val, draw["shots"], draw["seed"])


def test_only_the_card_of_svhn_is_shuffled_before_the_draw():
    assert load_card("svhn").shuffled
    assert not load_card("eurosat").shuffled


def test_one_shot_takes_one_validation_image():
    train, val = few_shot(TRAIN, VAL, shots=1, seed=1)
    assert [i.image for i in train] == ["c1", "a4", "b0"]
    assert [i.image for i in val] == ["av2", "cv0", "bv3"]


def test_many_shots_take_at_most_four_validation_images():
    train, val = few_shot(TRAIN, VAL, shots=16, seed=1)
    assert sorted(train) == sorted(TRAIN)  # every class has fewer than 16 images, so all are drawn
    assert len(val) == 4 + 3 + 4


def test_the_global_generator_is_not_used():
    random.seed(5)
    before = random.getstate()
    few_shot(TRAIN, VAL, 2, 1)
    assert random.getstate() == before


def test_base_takes_the_larger_half():
    assert base_and_new(5) == (range(0, 3), range(3, 5))
    assert base_and_new(4) == (range(0, 2), range(2, 4))
    assert only([Item("x", 4), Item("y", 1), Item("z", 3)], range(3, 5)) == (Item("x", 1), Item("z", 0))


def test_the_split_hash_depends_on_names_labels_and_order():
    one = Split(("a", "b", "c"), tuple(TRAIN), tuple(VAL), ())
    assert one.hash == Split(("a", "b", "c"), tuple(TRAIN), tuple(VAL), ()).hash
    assert one.hash != Split(("a", "b", "d"), tuple(TRAIN), tuple(VAL), ()).hash
    assert one.hash != Split(("a", "b", "c"), tuple(TRAIN[::-1]), tuple(VAL), ()).hash
    assert one.hash != Split(("a", "b", "c"), tuple(TRAIN), (), tuple(VAL)).hash
