"""The feature cache: features are computed once, keyed by content, and computed again if a file is damaged.

Two processes that write at the same time leave whole files.
"""

import multiprocessing
import os
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clip import tiny_clip, tokenizer

from bench import cache
from bench.models import Backbone, features


class Images:
    """Random images that count how often they are read."""

    def __init__(self, n: int = 11, seed: int = 0, key: str = "images") -> None:
        self.images = torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        self.key, self.asked = key, 0

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, index: torch.Tensor) -> torch.Tensor:
        self.asked += len(index)
        return self.images[index]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone("tiny", tiny_clip(dtype=torch.float32), tokenizer())


def test_computed_once_and_equal_to_the_backbone(backbone: Backbone, folder: Path) -> None:
    images = Images()
    first = features(backbone, images, batch=4)
    assert images.asked == 11 and first.shape == (11, 16)
    assert torch.allclose(first, backbone.encode_images(images.images), atol=1e-6)
    again = features(backbone, images)
    assert images.asked == 11 and torch.equal(first, again)
    assert [path.suffix for path in folder.iterdir()] == [".npy"]
    again += 1  # a copy: the file on disk does not change
    assert torch.equal(features(backbone, images), first)


def test_keyed_by_images_weights_and_precision(backbone: Backbone, folder: Path) -> None:
    features(backbone, Images())
    features(backbone, Images(key="other images", seed=1))
    features(Backbone("tiny", tiny_clip(dtype=torch.float32), tokenizer(), precision="bf16-images"), Images())
    other = tiny_clip(dtype=torch.float32)
    other.visual.proj += 1
    features(Backbone("tiny", other, tokenizer()), Images())
    assert len(list(folder.iterdir())) == 4
    same = Backbone("another name", tiny_clip(dtype=torch.float32), tokenizer())
    features(same, images := Images())
    assert images.asked == 0


def cut(data: bytes) -> bytes:
    return data[:-40]


def flip(data: bytes) -> bytes:
    return data[:200] + bytes([data[200] ^ 1]) + data[201:]


def empty(data: bytes) -> bytes:
    return b""


def other_shape(data: bytes) -> bytes:
    return data.replace(b"(11, 16)", b"(16, 11)")


@pytest.mark.parametrize("damage", [cut, flip, empty, other_shape])
def test_a_damaged_file_is_computed_again(damage, backbone: Backbone, folder: Path) -> None:
    expected = features(backbone, Images()).clone()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    images = Images()
    assert torch.equal(features(backbone, images), expected) and images.asked == 11
    assert path.read_bytes() == whole


def _race(path: Path, seed: int, failures) -> None:
    array = np.full((500, 64), seed, dtype=np.float32)
    for _ in range(40):
        cache.write(path, array)
        kept = cache.read(path)
        if kept is None or len(set(kept[:, 0].tolist())) != 1:
            failures.put(seed)


def test_two_processes_writing_at_once_leave_whole_files(folder: Path) -> None:
    context = multiprocessing.get_context("fork")  # the children use only NumPy and the disk
    failures = context.Queue()
    path = folder / "raced.npy"
    racers = [context.Process(target=_race, args=(path, seed, failures)) for seed in (1, 2)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert failures.empty()
    assert [p.name for p in folder.iterdir()] == ["raced.npy"]  # no temporary file is left
    assert cache.read(path).shape == (500, 64)


def test_without_a_usable_cache_the_run_goes_on(backbone: Backbone, tmp_path: Path, monkeypatch) -> None:
    expected = features(backbone, Images()).clone()
    (tmp_path / "file").touch()
    for variable, value in (("BENCH_CACHE", str(tmp_path / "file")), ("BENCH_CACHE", "a\udcff" * 200)):
        monkeypatch.setenv(variable, value)
        with pytest.warns(UserWarning, match=r"cannot write the features cache .*BENCH_CACHE"):
            assert torch.equal(features(backbone, Images()), expected)
    monkeypatch.delenv("BENCH_CACHE")
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.warns(UserWarning, match=r"no place for the features cache"):
        assert torch.equal(features(backbone, Images()), expected)


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("seed", range(200))
def test_no_damage_to_a_cached_array_gives_other_numbers(seed: int, folder: Path) -> None:
    """Bits flipped, parts cut, doubled or zeroed, another array under this name."""
    rng = random.Random(seed)
    array = np.random.default_rng(seed).normal(size=(rng.randrange(1, 9), 5))
    first = cache.kept("features", "key", array.copy)
    other = cache.kept("features", "other", (array + 1).copy)
    path, stranger = folder / "key.npy", folder / "other.npy"
    data = bytearray(path.read_bytes())
    a, b = sorted(rng.choices(range(len(data) + 1), k=2))
    b += a == b
    kind = ("flip", "cut", "double", "zero", "swap", "pipe", "folder")[seed % 7]
    if kind == "flip":
        data[a % len(data)] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[a:b]
    elif kind == "double":
        data[a:a] = data[a:b]
    elif kind == "zero":
        data[a:b] = bytes(b - a)
    elif kind == "swap":
        data = bytearray(stranger.read_bytes())
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if kind == "folder" else "error")
        again = cache.kept("features", "key", array.copy)
    assert np.array_equal(again, first) and np.array_equal(first, array) and not np.array_equal(again, other)
    if kind != "folder":
        assert np.array_equal(cache.read(path), array)
