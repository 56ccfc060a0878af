"""The feature cache: features are computed once, keyed by content, and computed again if a file is damaged.

Two processes that write at the same time leave whole files.
"""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clip import tiny_clip, tokenizer

from bench.errors import UserError
from bench.models import Backbone, features, trunks
from bench.models.features import _read, _write


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
        _write(path, array)
        kept = _read(path, array.shape)
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
    assert _read(path, (500, 64)) is not None


def test_a_cache_folder_that_cannot_be_written(backbone: Backbone, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write the feature cache .*BENCH_CACHE"):
        features(backbone, Images())


def test_trunks_stay_in_memory_within_a_limit(backbone: Backbone, folder: Path) -> None:
    images = Images()
    kept = trunks(backbone, images, batch=4)
    assert kept is not None and not folder.exists()
    assert torch.allclose(backbone.encode_trunk(kept)[0], backbone.encode_images(images.images), atol=1e-6)
    assert trunks(backbone, images, limit=kept.nbytes) is not None
    assert trunks(backbone, images, limit=kept.nbytes - 1) is None
