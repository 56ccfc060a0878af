"""A rendered data set through all four protocols."""

import sys
import warnings
from types import ModuleType

import pytest
import torch

from bench.data.dataset import pictures_sha256
from bench.data.images import View
from bench.data.task import load_task
from bench.errors import UserError

CARD = """
title = "{name}"
reader = "mini"
template = "a photo of a {{}}."
classes = ["red_ball", "blue ball", "green ball", "black ball", "white ball"]
licence = "CC0"
sources = ["rendered"]
images = {{ train = 50, val = 20, test = 40 }}
"""


def render(name: str):
    """Images whose brightness is their number, so that a wrong choice is visible."""
    parts = {}
    for split, n in (("train", 50), ("val", 20), ("test", 40)):
        shade = torch.arange(n, dtype=torch.uint8)[:, None, None, None]
        parts[split] = (shade.expand(n, 8, 8, 3).numpy(), (torch.arange(n) % 5).numpy())
    return parts


@pytest.fixture
def mini(tmp_path, monkeypatch):
    world = ModuleType("bench.mini.world")
    world.render = render
    monkeypatch.setitem(sys.modules, "bench.mini.world", world)
    monkeypatch.setenv("BENCH_DATASETS", str(tmp_path))
    for name in ("mini-test-a", "mini-test-b"):
        (tmp_path / f"{name}.toml").write_text(CARD.format(name=name))
    return tmp_path


def test_few_shot(mini):
    task = load_task("mini-test-a", "few-shot", seed=1, shots=6, view=View(8))
    assert task.classes == ("red ball", "blue ball", "green ball", "black ball", "white ball")
    assert len(task.train) == 30 and len(task.val) == 20 and len(task.tests["test"].images) == 40
    pixels = task.train.pixels(range(30))
    assert pixels.shape == (30, 3, 8, 8) and pixels.dtype == torch.float32
    numbers = (pixels[:, 0, 0, 0] * 255).round().long()
    assert torch.equal(numbers % 5, task.train.labels) and len(set(numbers.tolist())) == 30
    again = load_task("mini-test-a", "few-shot", seed=1, shots=6, view=View(8))
    other = load_task("mini-test-a", "few-shot", seed=2, shots=6, view=View(8))
    assert again.train.key == task.train.key != other.train.key
    assert again.split_hash == other.split_hash == task.split_hash


def test_the_split_hash_depends_on_the_rendered_images(mini, monkeypatch):
    before = load_task("mini-test-a", "few-shot", 1, 2, View(8)).split_hash

    def darker(name: str):
        return {split: (images // 2, labels) for split, (images, labels) in render(name).items()}

    monkeypatch.setattr(sys.modules["bench.mini.world"], "render", darker)
    assert load_task("mini-test-a", "few-shot", 1, 2, View(8)).split_hash != before


def test_images_that_differ_from_the_cards_sha256_give_one_warning(mini):
    path, pins = mini / "mini-test-a.toml", {s: pictures_sha256(*p) for s, p in render("mini-test-a").items()}
    text = path.read_text().replace("images = {", "images = {{ sha256 = {pins},")
    table = "{{ train = '{train}', val = '{val}', test = '{test}' }}"
    path.write_text(text.replace("{{", "{").replace("{pins}", table.format(**pins)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_task("mini-test-a", "few-shot", 1, 2, View(8))
    path.write_text(path.read_text().replace(pins["val"], pins["train"]))
    with pytest.warns(UserWarning, match=r"renders other val images than .*mini-test-a.toml") as found:
        load_task("mini-test-a", "few-shot", 1, 2, View(8))
    assert len(found) == 1


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        ("{ tset = 'x' }", "images.sha256 names 'tset'.*'test'"),
        ("{ test = 'x' }", "test must be 64 hexadecimal"),
    ],
)
def test_a_malformed_sha256_is_a_user_error(mini, pins, message):
    path = mini / "mini-test-a.toml"
    path.write_text(path.read_text().replace("test = 40", f"test = 40, sha256 = {pins}"))
    with pytest.raises(UserError, match=message):
        load_task("mini-test-a", "few-shot", 1, 2, View(8))


def test_base_to_new(mini):
    task = load_task("mini-test-a", "base-to-new", seed=1, shots=6, view=View(8))
    whole = load_task("mini-test-a", "few-shot", seed=1, shots=6, view=View(8))
    assert task.classes == task.tests["base"].classes == whole.classes[:3]
    assert task.tests["new"].classes == whole.classes[3:]
    assert task.tests["new"].images.labels.unique().tolist() == [0, 1]
    assert len(task.tests["base"].images) == 24 and len(task.tests["new"].images) == 16
    kept = whole.train.labels < 3  # drawn before the classes are halved: the shots are those of the whole set
    assert torch.equal(task.train.pixels(range(18)), whole.train.pixels(range(30))[kept])


@pytest.mark.parametrize("protocol", ["cross-dataset", "ood"])
def test_transfer(mini, protocol):
    task = load_task(
        "mini-test-a", protocol, 1, 2, View(8), targets=("mini-test-b", "mini-test-a"), score="val"
    )
    assert list(task.tests) == ["mini-test-b", "mini-test-a"]
    assert len(task.tests["mini-test-b"].images) == 20
    with pytest.raises(UserError, match="at least one target"):
        load_task("mini-test-a", protocol, 1, 2, View(8))


def test_the_card_and_the_rendering_code_must_agree(mini):
    path = mini / "mini-test-a.toml"
    path.write_text(path.read_text().replace("test = 40", "test = 41"))
    with pytest.raises(UserError, match=r"promises 41 test images, but .* renders 40.*mini-test-a.toml"):
        load_task("mini-test-a", "few-shot", 1, 2, View(8))


def test_unknown_names(mini):
    with pytest.raises(UserError, match=r"no data set 'mini-test-c'.*Did you mean 'mini-test-"):
        load_task("mini-test-c", "few-shot", 1, 2, View(8))
    with pytest.raises(UserError, match=r"no protocol 'fewshot'.*Did you mean 'few-shot'"):
        load_task("mini-test-a", "fewshot", 1, 2, View(8))
    with pytest.raises(UserError, match="shots is 0"):
        load_task("mini-test-a", "few-shot", 1, 0, View(8))


def test_another_image_size(mini):
    task = load_task("mini-test-a", "few-shot", seed=1, shots=1, view=View(12))
    assert task.train.pixels([0, 1]).shape == (2, 3, 12, 12)
    assert task.train.crops([0, 1], torch.Generator().manual_seed(0)).shape == (2, 3, 12, 12)
