"""Tests that need a GPU or the published weights: `pytest -m gpu`, `pytest -m weights`."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from cells import SCRIPT, mini_cells
from click.testing import CliRunner

from bench.commands.main import main
from bench.lab import Settings
from bench.models import load_backbone, load_encoder
from bench.plugins import METHODS
from bench.runner import run_cell
from bench.store import Store


@pytest.mark.gpu
@pytest.mark.parametrize("method", sorted(METHODS.files()))
def test_a_cell_on_a_gpu_agrees_with_the_cpu(method: str) -> None:
    """Both draw the same numbers in the same order, so the first steps differ only by rounding."""
    (cell,) = mini_cells(method, datasets=["mini-digits"], budgets=[20])
    cpu, cuda = run_cell(cell, SCRIPT), run_cell(cell, replace(SCRIPT, device="cuda"))
    assert cuda.ok, cuda.error
    assert cuda.queries == cpu.queries and cuda.run.peak_gpu_memory_mib
    for here, there in zip(cpu.trace, cuda.trace, strict=True):
        assert there.accuracy["test"] == pytest.approx(here.accuracy["test"], abs=1.5)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16-images", "fp16-text", "fp16-text+bf16-images"])
def test_lower_precisions_on_a_gpu(precision: str) -> None:
    exact, low = (load_backbone("ViT-B-16/random", "cuda", p) for p in ("float32", precision))
    images = torch.rand(4, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert F.cosine_similarity(low.encode_clean(images), exact.encode_clean(images)).min() > 0.999
    context = 0.02 * torch.randn(1, 8, 512, generator=torch.Generator().manual_seed(0))
    one, two = (b.text_tower(["cat", "dog"]).encode(context.cuda())[0] for b in (low, exact))
    assert F.cosine_similarity(one, two).min() > 0.999


@pytest.mark.gpu
def test_the_memory_of_the_first_cell_decides_how_many_share_a_gpu(tmp_path: Path) -> None:
    arguments = ["--methods", "zip,bptvlm", "--datasets", "mini-digits,mini-colors", "--budget", "100"]
    done = CliRunner().invoke(main, ["run", *arguments, "--results", str(tmp_path)])
    assert done.exit_code == 0, done.output
    records = list(Store(tmp_path).records())
    assert len(records) == 6 and all(record.run.peak_gpu_memory_mib for record in records)


@pytest.mark.weights
@pytest.mark.parametrize("name", ["ViT-B-16", "ViT-B-32", "RN50", "RN101"])
def test_the_published_weights_tell_cats_from_dogs(name: str) -> None:
    """With OpenAI's weights, texts about one thing are nearer to each other than to texts about another."""
    backbone = load_backbone(f"{name}/openai")
    texts = ["a photo of a cat.", "a picture of a kitten.", "a photo of a truck.", "a picture of a lorry."]
    features = backbone.encode_texts(texts)
    near = features @ features.T
    assert near[0, 1] > near[0, 2] and near[2, 3] > near[0, 3]
    assert backbone.logit_scale == pytest.approx(100.0, rel=1e-3)


@pytest.mark.weights
def test_a_cell_with_the_published_weights() -> None:
    """Twelve classes of rendered shapes: the accuracy is far above chance before tuning."""
    (cell,) = mini_cells("zip", datasets=["mini-shapes"], budgets=[20], backbone="ViT-B-32/openai")
    record = run_cell(cell, Settings())
    assert record.ok, record.error
    assert record.trace[0].accuracy["test"] > 2 * 100 / 12


@pytest.mark.weights
def test_the_encoder_of_blackvip() -> None:
    encoder = load_encoder("vit_base_patch16_224.mae")
    features = encoder.encode_images(torch.rand(2, 3, 224, 224))
    assert encoder.embed_dim == 768 and features.shape == (2, 768) and features.isfinite().all()
