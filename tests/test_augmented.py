"""Features of crops are computed once for all methods of a stream; no record depends on what is kept."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cells import mini_cells
from tiny_clip import tiny_clip, tokenizer

from bench import cache
from bench.contract import lasting
from bench.lab import Lab, Settings
from bench.models import Backbone
from bench.models.augmented import AugmentedFeatures
from bench.paths import cache_dir
from bench.record import Record
from bench.resolve import Resolved
from bench.runner import run_cell

LIMIT = 1 << 24  # bytes


class Crops:
    """A batch of random crops that counts how often it is read."""

    read = 0

    def __init__(self, key: str = "one", rows: int = 5) -> None:
        self.key, self.rows = key, rows

    @property
    def images(self) -> torch.Tensor:
        Crops.read += 1
        seed = sum(map(ord, self.key))
        return torch.rand(self.rows, 3, 32, 32, generator=torch.Generator().manual_seed(seed))

    def twin(self) -> "Crops":
        return Crops(self.key, self.rows)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cache").mkdir()
    pictures = cache_dir() / "mini"
    pictures.mkdir(parents=True, exist_ok=True)
    (tmp_path / "cache" / "mini").symlink_to(pictures.absolute())  # they take long to draw
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "augmented"


def model(precision: str = "float32") -> Backbone:
    return Backbone("tiny", tiny_clip(dtype=torch.float32), tokenizer(), precision=precision)


def kept(*keys: str, limit: int = LIMIT) -> None:
    """Compute and write the features of these batches, as a cell does."""
    table, backbone = AugmentedFeatures(limit), model()
    for key in keys:
        table.get(backbone, Crops(key))
    table.write()


def test_what_one_process_wrote_the_next_one_reads(folder: Path) -> None:
    backbone, table = model(), AugmentedFeatures(LIMIT)
    first = table.get(backbone, Crops())
    assert torch.equal(table.get(backbone, Crops()), first)  # within the cell, too
    assert not folder.exists()  # nothing is written while a method runs
    table.write()
    Crops.read = 0
    again = AugmentedFeatures(LIMIT).get(model(), Crops())
    assert Crops.read == 0 and torch.equal(again, first)
    assert torch.equal(first, backbone.encode_images(Crops().images))  # plain precision: today's numbers


def test_crops_weights_and_precision_are_part_of_the_key(folder: Path) -> None:
    kept("one", "two")
    low, table = model("bf16-images"), AugmentedFeatures(LIMIT)
    rounded = table.get(low, Crops())
    table.write()
    assert len(list(folder.iterdir())) == 3
    exact = model().encode_images(Crops().images)
    assert not torch.equal(rounded, exact) and torch.allclose(rounded, exact, atol=0.02)
    assert torch.equal(low.encode_images(Crops().images), exact)  # images that a method changes
    other = tiny_clip(dtype=torch.float32)
    other.visual.proj += 1
    Crops.read = 0
    AugmentedFeatures(LIMIT).get(Backbone("tiny", other, tokenizer()), Crops())
    assert Crops.read == 1


def test_a_damaged_file_is_computed_and_written_again(folder: Path) -> None:
    kept("one")
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    table = AugmentedFeatures(LIMIT)
    found = table.get(model(), Crops())
    assert torch.equal(found, model().encode_images(Crops().images))
    table.write()
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_used_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match=r"cannot write the augmented cache .*BENCH_CACHE"):
        kept("one")
    monkeypatch.delenv("BENCH_CACHE")

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.warns(UserWarning, match="cannot write the augmented cache"):
        kept("one")


def test_the_files_used_longest_ago_make_room(folder: Path) -> None:
    kept("one", "two", "three")
    paths = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    size = paths[0].stat().st_size
    for age, path in enumerate(paths):
        os.utime(path, ns=(age, age))
    assert AugmentedFeatures(LIMIT).get(model(), Crops("one")) is not None  # used now: no longer the oldest
    kept("four", limit=3 * size + cache.OVERHEAD)
    left = set(folder.iterdir())
    assert len(left) == 3
    assert sum(path.stat().st_size for path in left) <= 3 * size + cache.OVERHEAD
    Crops.read = 0
    for key in ("one", "four"):
        AugmentedFeatures(LIMIT).get(model(), Crops(key))
    assert Crops.read == 0


def test_more_than_the_limit_is_never_written(folder: Path) -> None:
    kept("one", "two", "three", limit=2 * (5 * 16 * 4 + cache.OVERHEAD))
    assert len(list(folder.iterdir())) == 2
    kept("four", limit=100)
    assert len(list(folder.iterdir())) <= 2
    cache.keep_all("augmented", {"large": np.zeros(10)}, 80)
    assert not (folder / "large.npy").exists()


def test_features_that_a_method_disturbed_are_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, backbone = AugmentedFeatures(LIMIT), model()
    with monkeypatch.context() as patch:
        patch.setattr(Backbone, "encode_crops", lambda self, images: torch.zeros(len(images), 16))
        for key in "abc":
            table.get(backbone, Crops(key))
    with pytest.warns(UserWarning, match="other ones when they were computed again"):
        table.write()
    assert not folder.exists()


# Cells


def augmented(method: str, budget: int = 40, **what: Any) -> Resolved:
    (one,) = mini_cells(method, datasets=["mini-digits"], budgets=[budget], **what)
    return replace(one, cell=replace(one.cell, augment=True))


def run(one: Resolved, limit: int = LIMIT) -> Record:
    record = run_cell(one, Settings(), Lab(Settings(cache_limit=limit)))
    assert record.ok, record.error
    return record


def test_records_do_not_depend_on_what_is_kept(folder: Path) -> None:
    plain = lasting(run(augmented("spsa"), limit=0))
    assert not folder.exists()
    run(augmented("zip"))  # 4 steps of 10 queries
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(written) == 4
    assert lasting(run(augmented("spsa"))) == plain
    assert set(folder.iterdir()) == set(written)  # nothing new, and all of it was used
    assert all(path.stat().st_mtime_ns > before for path, before in written.items())
    run(augmented("zip", seeds=[2]))
    assert len(list(folder.iterdir())) == 8


def test_the_features_of_the_callers_encoder_have_files_of_their_own(folder: Path) -> None:
    run(augmented("zip", 10))
    first = lasting(run(augmented("blackvip", 10)))
    assert len(list(folder.iterdir())) == 2  # of one batch
    assert lasting(run(augmented("blackvip", 10))) == first
