"""Clean pixels equal open_clip's, crops follow torchvision's distribution, and both can be reproduced."""

import os

import numpy as np
import pytest
import torch
from open_clip.transform import image_transform
from PIL import Image
from torch.nn.functional import interpolate
from torchvision.transforms import RandomResizedCrop

from bench.data import crop, images
from bench.data.images import FileImages, MemoryImages, View, clean
from bench.data.split import Item
from bench.errors import UserError


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("view", [View(32), View(32, "squash", "bicubic"), View(24, "shortest", "bilinear")])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "RGBA", "1", "LA"])
@pytest.mark.parametrize("size", [(40, 61), (97, 30), (32, 32), (7, 9)])
def test_clean_pixels_equal_open_clips_transform(mode, size, view):
    picture = noise(*size).convert(mode)
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    theirs = image_transform(view.size, False, mean, std, view.resize_mode, view.interpolation)(picture)
    assert torch.equal(clean(picture, view).float() / 255, theirs)


def test_an_unsupported_preprocessing_is_refused():
    with pytest.raises(UserError, match=r"cannot be resized as this backbone wants \(longest, bicubic\)"):
        View(32, "longest")


@pytest.fixture
def files(tmp_path):
    for i, size in enumerate([(40, 61), (97, 30), (32, 32), (50, 50)]):
        noise(*size, seed=i).save(tmp_path / f"{i}.png")
    return tmp_path, [Item(f"{i}.png", i % 2) for i in range(4)]


@pytest.mark.parametrize("keep", [True, False])
def test_images_in_files(files, keep):
    folder, items = files
    images = FileImages(folder, items, View(32), keep)
    theirs = image_transform(32, is_train=False, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    expected = torch.stack([theirs(Image.open(folder / f"{i}.png")) for i in (2, 0, 2)])
    assert torch.equal(images.pixels([2, 0, 2]), expected)
    assert torch.equal(images.pixels(torch.tensor([2, 0, 2])), expected)
    assert images.labels.tolist() == [0, 1, 0, 1] and len(images) == 4
    (folder / "0.png").unlink()
    if keep:  # decoded once
        assert torch.equal(images.pixels([0]), expected[1:2])
    else:
        with pytest.raises(UserError, match=r"0\.png is missing"):
            images.pixels([0])


def test_no_pixels_are_kept_in_memory_above_the_limit(files, monkeypatch):
    monkeypatch.setattr(images, "KEEP_BYTES", 3 * 32 * 32)
    folder, items = files
    some = FileImages(folder, items, View(32), keep=True)
    some.pixels([0, 1, 2])
    assert len(some._held) == 1


def test_the_key_depends_on_content_and_size(files):
    folder, items = files
    key = FileImages(folder, items, View(32), True).key
    assert key == FileImages(folder, items, View(32), False).key
    assert key != FileImages(folder, items, View(48), True).key
    assert key != FileImages(folder, items[::-1], View(32), True).key
    noise(41, 61).save(folder / "0.png")
    assert key != FileImages(folder, items, View(32), True).key


def test_the_key_changes_when_an_image_of_the_same_size_replaces_another(files):
    folder, items = files
    key = FileImages(folder, items, View(32), True).key
    os.utime(folder / items[0].image, (1, 1))
    assert FileImages(folder, items, View(32), True).key != key


def test_the_key_of_images_in_memory_depends_on_their_bytes():
    raw = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).reshape(2, 3, 4, 4)
    key = MemoryImages(raw, torch.tensor([0, 1]), View(4)).key
    assert key == MemoryImages(raw.clone(), torch.tensor([0, 1]), View(4)).key
    assert key != MemoryImages(raw, torch.tensor([1, 0]), View(4)).key
    assert key != MemoryImages(raw + 1, torch.tensor([0, 1]), View(4)).key


@pytest.mark.parametrize("box", [(0, 0, 50, 70), (3, 11, 20, 44), (10, 5, 7, 9), (0, 69, 50, 1)])
def test_resampling_equals_interpolate_with_antialias(box):
    image = torch.randint(0, 256, (1, 3, 50, 70), dtype=torch.uint8, generator=stream())
    top, left, height, width = box
    part = image[:, :, top : top + height, left : left + width].double() / 255
    theirs = interpolate(part, (32, 32), mode="bicubic", antialias=True).clamp(0, 1).float()
    ours = crop.resample(image, torch.tensor([box]), torch.tensor([False]), 32)
    torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)
    mirrored = crop.resample(image, torch.tensor([box]), torch.tensor([True]), 32)
    torch.testing.assert_close(mirrored, theirs.flip(3), atol=2e-6, rtol=0)
    for flip, batched in ((False, ours), (True, mirrored)):
        one = crop.resample_one(image[0], torch.tensor(box), torch.tensor(flip), 32, torch.device("cpu"))
        torch.testing.assert_close(one, batched[0], atol=2e-6, rtol=0)


def test_a_batch_gives_the_same_as_its_images_one_by_one():
    image = torch.randint(0, 256, (5, 3, 20, 30), dtype=torch.uint8, generator=stream())
    draws = crop.draw(5, stream())
    boxes, mirrored = crop.rectangles(draws, 20, 30), crop.flips(draws)
    together = crop.resample(image, boxes, mirrored, 16)
    for i in range(5):
        one = crop.resample(image[i : i + 1], boxes[i : i + 1], mirrored[i : i + 1], 16)
        torch.testing.assert_close(one, together[i : i + 1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", [None, (0.5, 1.0)])
@pytest.mark.parametrize("size", [(300, 400), (64, 64), (30, 200)])
def test_crop_rectangles_have_torchvisions_distribution(size, scale):
    height, width = size
    boxes = crop.rectangles(crop.draw(1500, stream()), height, width, scale).double()
    top, left, tall, wide = boxes.T
    assert (top >= 0).all() and (left >= 0).all() and (tall >= 1).all() and (wide >= 1).all()
    assert (top + tall <= height).all() and (left + wide <= width).all()
    torch.manual_seed(0)
    blank = Image.new("L", (width, height))
    theirs = torch.tensor(
        [RandomResizedCrop.get_params(blank, list(scale or (0.08, 1)), [3 / 4, 4 / 3]) for _ in range(1500)],
        dtype=torch.float64,
    )
    unit = torch.tensor([height, width, height, width])
    spread = theirs.std(0) / unit
    assert ((boxes.mean(0) - theirs.mean(0)).abs() / unit < 0.15 * spread + 1e-9).all()
    assert ((boxes.std(0) / unit - spread).abs() < 0.15 * spread + 1e-9).all()


def test_an_extreme_shape_falls_back_to_a_central_crop():
    assert crop.rectangles(crop.draw(3, stream()), 4, 1000).tolist() == [[0, 497, 4, 5]] * 3
    assert crop.rectangles(crop.draw(3, stream()), 1000, 3).tolist() == [[498, 0, 4, 3]] * 3


def test_crops_depend_only_on_the_generator(files):
    folder, items = files
    kept, streamed = FileImages(folder, items, View(32), True), FileImages(folder, items, View(32), False)
    index = [3, 1, 1]
    one = kept.crops(index, stream(7))
    assert one.shape == (3, 3, 32, 32) and one.dtype == torch.float32 and one.min() >= 0 and one.max() <= 1
    assert torch.equal(one, kept.crops(index, stream(7)))
    assert torch.equal(one, streamed.crops(torch.tensor(index), stream(7)))
    assert not torch.equal(one, kept.crops(index, stream(8)))
    assert not torch.equal(one[1], one[2])  # the same image twice, cropped twice
    used, other = stream(7), stream(7)
    kept.crops(index, used)
    MemoryImages(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), torch.zeros(3).long(), View(32)).crops(
        range(3), other
    )
    assert torch.equal(used.get_state(), other.get_state())  # images of any size draw as many numbers


def test_another_size_is_resampled_directly_from_the_originals(files):
    """Not from the images at the view's size. A crop shows the same part of the image at every size."""
    folder, items = files
    images, small = FileImages(folder, items, View(32), True), FileImages(folder, items, View(12), True)
    assert torch.equal(images.pixels([0, 2], 12), small.pixels([0, 2]))
    assert torch.equal(images.crops([0, 2], stream(7), 12), small.crops([0, 2], stream(7)))
    assert images.pixels([0]).shape[-1] == 32  # images kept at one size are not returned for another
    raw = torch.arange(3 * 3 * 16 * 16).view(3, 3, 16, 16).to(torch.uint8)
    held, tiny = (MemoryImages(raw, torch.zeros(3).long(), View(size)) for size in (16, 12))
    assert torch.equal(held.pixels([1], 12), tiny.pixels([1]))
    assert torch.equal(held.crops([1], stream(7), 12), tiny.crops([1], stream(7)))


def test_half_of_the_crops_are_mirrored():
    assert 0.45 < crop.flips(crop.draw(2000, stream())).double().mean() < 0.55


@pytest.mark.gpu
def test_crops_on_a_gpu_equal_those_on_the_cpu(files):
    folder, items = files
    for make in (
        lambda device: FileImages(folder, items, View(32), True, device),
        lambda device: MemoryImages(
            torch.arange(4 * 3 * 64 * 64).to(torch.uint8).view(4, 3, 64, 64),
            torch.zeros(4).long(),
            View(32),
            device,
        ),
    ):
        here, there = make("cpu").crops(range(4), stream()), make("cuda").crops(range(4), stream())
        assert there.device.type == "cuda"
        torch.testing.assert_close(there.cpu(), here, atol=2e-3, rtol=0)  # a GPU may use TF32
        assert torch.equal(make("cuda").pixels(range(4)).cpu(), make("cpu").pixels(range(4)))
