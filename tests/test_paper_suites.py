"""A papers' suite from images on disk to a table: real file formats, ViT-B/16 with random weights, on CPU."""

import json
from pathlib import Path

import fabricate_papers
import pytest
from click.testing import CliRunner
from fabricate_data import ALL, fabricate

from bench.commands.main import main
from bench.suite import load_suite

SUITE = """
title = "Fabricated"
backbone = "ViT-B-16/random"
encoder = "vit_tiny_patch16_224:random"
shots = 2
batch_size = 4
seeds = [1]
budget = 10
augment = true
datasets = ["fab-json", "fab-mlai", "fab-fgvc", "fab-imagenet", "fab-folder"]

[cross]
source = "fab-imagenet"

[ood]
source = "fab-imagenet"
targets = ["fab-imagenet-v2", "fab-imagenet-a"]
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("papers")
    fabricate(folder / "data", folder / "cards", tuple(ALL))
    (folder / "fabricated.toml").write_text(SUITE)
    return folder


def run(world: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    monkeypatch.setenv("BENCH_DATASETS", str(world / "cards"))
    monkeypatch.setenv("BENCH_SUITES", "")  # monkeypatch restores what the command sets
    places = ["--root", str(world / "data"), "--results", str(world / "runs"), "--local", "--offline"]
    done = CliRunner().invoke(main, ["run", "--suite", str(world / "fabricated.toml"), *places, *arguments])
    return done.exit_code, done.output


def test_the_plan_of_a_users_own_suite(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = run(world, monkeypatch, "--methods", "zip,blackvip", "--seeds", "1,2,3", "--dry-run")
    assert code == 0, output
    assert "45 of 45 cells to run: at most 300 queries" in output  # 3 methods x 5 data sets x 3 seeds


def test_one_error_lists_everything_that_is_missing(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (world / "data" / "fab-json").rename(world / "data" / "gone")
    code, output = run(world, monkeypatch, "--backbone", "ViT-B-16/openai")
    (world / "data" / "gone").rename(world / "data" / "fab-json")
    assert code == 2
    assert "ViT-B-16/openai" in output and "fab-json" in output
    assert not (world / "runs").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)  # ViT-B/16 on one thread
@pytest.mark.parametrize("protocol", ["few-shot", "base-to-new", "cross-dataset", "ood"])
def test_all_formats_and_protocols_end_to_end(
    protocol: str, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = 50 if protocol == "few-shot" else 10  # BPT-VLM's first generation: 15 prompts, 3 batches each
    methods = {"few-shot": "zip,bptvlm", "base-to-new": "zip", "cross-dataset": "bar", "ood": "blackvip"}[
        protocol
    ]
    code, output = run(
        world, monkeypatch, "--methods", methods, "--protocol", protocol, "--budget", str(budget)
    )
    assert code == 0, output
    records = [json.loads(path.read_text()) for path in (world / "runs").glob(f"*/{protocol}/*/*/*.json")]
    rows = len(methods.split(",")) + 1  # and the manual prompt
    assert len(records) == rows * (1 if protocol in ("cross-dataset", "ood") else 5)
    tests = {
        "few-shot": {"test"},
        "base-to-new": {"base", "new"},
        "cross-dataset": {"fab-json", "fab-mlai", "fab-fgvc", "fab-imagenet", "fab-folder"},
        "ood": {"fab-imagenet", "fab-imagenet-v2", "fab-imagenet-a"},
    }[protocol]
    for record in records:
        least = 0 if record["cell"]["method"] == "manual" else 1
        assert record["status"] == "ok" and least <= record["queries"] <= budget
        assert set(record["accuracy"]) == tests
        params = {"zip": 417, "bar": 37_620, "bptvlm": 4_000}
        assert record["n_params"] == params.get(record["cell"]["method"], record["n_params"])


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All data sets of both suites at full size: 1.9 million names of a few files. It takes half a minute."""
    root = tmp_path_factory.mktemp("full")
    zip_, craft = load_suite("zip"), load_suite("craft")
    assert craft.ood is not None
    names = (*zip_.datasets, *craft.datasets, *craft.ood.targets)
    fabricate_papers.fabricate(root, tuple(dict.fromkeys(names)))
    return root


PLANS = {  # arguments -> cells, queries of a dry run
    "--suite zip --methods zip,blackvip,bar,bptvlm,manual --seeds 1,2,3": (195, "780,000"),
    "--suite craft --methods craft": (22, "88,000"),
    "--suite zip --methods zip,bar --protocol base-to-new": (39, "130,000"),
    "--suite zip --methods zip --protocol cross-dataset": (2, "5,000"),
    "--suite craft --methods zip --protocol ood": (2, "8,000"),
}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", PLANS)
def test_the_papers_suites_on_full_size_data(arguments: str, papers: Path, tmp_path: Path) -> None:
    """Layouts, counts and splits of every card at real size. What is missing is listed and not downloaded."""
    flags = [*arguments.split(), "--root", str(papers), "--results", str(tmp_path), "--dry-run"]
    done = CliRunner().invoke(main, ["run", *flags])
    assert done.exit_code == 0, done.output
    cells, queries = PLANS[arguments]
    assert f"{cells} of {cells} cells to run: at most {queries} queries" in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_one_image_fewer_than_the_card_says_gives_an_error(papers: Path, tmp_path: Path) -> None:
    gone = next((papers / "imagenet" / "images" / "val").rglob("*.JPEG"))
    gone.unlink()
    flags = ["--suite", "zip", "--root", str(papers), "--results", str(tmp_path), "--dry-run"]
    done = CliRunner().invoke(main, ["run", *flags])
    assert done.exit_code == 2
    assert "imagenet: 49999 test images, but the card says 50000" in done.output
