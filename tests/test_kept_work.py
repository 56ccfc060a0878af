"""The benchmarks of speed and precision: what they compare is equal, and what they count is right."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from bench.models import load_backbone


def test_one_pass_scores_as_many_passes_do(kept_work: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    kept_work.scoring(images=40, method="vp", prompts=2)  # raises if an outcome differs
    assert "2 prompts" in capsys.readouterr().out


def test_a_text_for_every_batch_gives_the_same_records(
    kept_work: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_work, "ROUNDS", 1)
    kept_work.texts(queries=220, datasets=["mini-digits"], methods=["craft"])  # raises if a record differs
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| craft") for line in lines) == 2


def test_still_places_of_a_convolution(image_tower: ModuleType) -> None:
    conv = torch.nn.Conv2d(1, 1, 3, padding=1)
    assert image_tower.still_places(4, 28, conv, 32) == (5, 27, 32)  # a border of one place is lost
    assert image_tower.still_places(0, 32, conv, 32) == (1, 31, 32)  # padding counts as moved
    assert image_tower.still_places(10, 11, conv, 32) == (0, 0, 32)
    stride = torch.nn.Conv2d(1, 1, 3, stride=2, padding=1)
    assert image_tower.still_places(4, 28, stride, 32) == (3, 14, 16)


def test_still_places_are_those_that_a_border_does_not_move(image_tower: ModuleType) -> None:
    """The mini tower's first convolution, on two images that differ in VP's border."""
    visual = load_backbone("mini", precision="float64").model.visual
    one = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    other = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    other[..., 4:28, 4:28] = one[..., 4:28, 4:28]
    conv = visual.conv1
    low, high, side = image_tower.still_places(4, 28, conv, 32)
    with torch.no_grad():
        same = (conv(one) == conv(other)).all(1)[0]
    expected = torch.zeros(side, side, dtype=torch.bool)
    expected[low:high, low:high] = True
    assert torch.equal(same, expected)
    total, still = image_tower.resnet_products(visual, 32, (4, 28))
    assert 0 < still < 0.1 * total


@pytest.mark.slow
@pytest.mark.timeout(900)  # ViT-B/16 on one thread
def test_a_second_text_method_encodes_no_crop(kept_work: ModuleType) -> None:
    assert kept_work.crops("ViT-B-16/random", steps=1, batch=16) > 5


def test_no_benchmark_hides_a_module_of_the_standard_library() -> None:
    """Python looks beside the script first, so a name of the library would stop the other scripts."""
    names = {path.stem for path in (Path(__file__).parents[1] / "benchmarks").glob("*.py")}
    assert names and not names & sys.stdlib_module_names


def test_the_same_candidates_are_answered_with_fewer_bits(precision: ModuleType) -> None:
    found = precision.losses("vp", "mini", steps=1, images=2)
    assert [sorted(one) for one in found] == [[8, 11, 24, 53]]
    exact = precision.differences(found, 53)
    errors = {bits: (precision.differences(found, bits) - exact).norm() for bits in (24, 11, 8)}
    assert exact.shape == (10,) and 0 < errors[24] < errors[11] < errors[8]
