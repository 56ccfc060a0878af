"""The arithmetic of a model: its names, what is in force for a method, and scoring in float16."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from cells import mini_cells
from test_models import backbone, pixels
from toy import ToyBackbone, ToyLab, toy_trial

from bench.errors import UserError
from bench.lab import Settings
from bench.outcome import bits
from bench.plan import make_cells
from bench.precision import in_force, types_of
from bench.predictor import LocalPredictor
from bench.prompt import Prompt
from bench.record import Record
from bench.resolve import resolve
from bench.runner import run_cell
from bench.scorer import Scorer
from bench.suite import load_suite

ALL = "fp16-text+bf16-images+fp16-pixels+fp16-scores"


def test_parts_shorten_one_use_each() -> None:
    assert set(vars(types_of("float64")).values()) == {"float64"}
    types = types_of("bf16-images+fp16-scores")
    assert (types.model, types.text, types.kept) == ("float32", "float32", "bfloat16")
    assert (types.moved, types.scored) == ("float32", "float16")
    assert types_of("fp16-pixels").scored == "float16"  # scored as it was tuned
    with pytest.raises(UserError, match=r"no precision 'fp16-txt'\. Did you mean 'fp16-text'"):
        types_of("bf16-images+fp16-txt")
    with pytest.raises(UserError, match="no precision 'float32'"):
        types_of("fp16-text+float32")


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("zip", "fp16-text+bf16-images"),  # no prompt of it changes an image
        ("vp", "fp16-text+bf16-images+fp16-pixels"),  # and so it is scored in float16
        ("bar", "fp16-text+bf16-images+fp16-scores"),  # its differences are lost in float16
    ],
)
def test_what_is_in_force_depends_on_the_method(method: str, expected: str) -> None:
    suite = load_suite("mini")
    cells = make_cells(suite, [method], datasets=["mini-digits"], seeds=[1])
    mixed = "+".join(reversed(ALL.split("+")))
    found = {one.cell.method: one.precision for one in resolve(cells, suite, mixed)}
    assert found[method] == expected
    assert in_force("float64", ("pixels",), 24) == "float64"
    assert in_force("fp16-pixels", ("text context",), 11) == "float32"


@pytest.mark.parametrize("vision", ["vit", "resnet"])
def test_moved_and_scored_images_have_layers_of_their_own(vision: str) -> None:
    full = backbone(vision, "float32")
    images, tokens = pixels(full), 0.1 * torch.randn(2, 3, full.vision_width or 0)
    exact = full.encode_images(images), full.encode_trunk(full.trunk(images), tokens)
    tuned = backbone(vision, "fp16-pixels")
    assert tuned.rough is None
    scoring = backbone(vision, "fp16-scores").warm()
    rough = scoring.rough
    assert rough is not None and rough.weights_hash == scoring.weights_hash
    for b, same in ((tuned, False), (scoring, True), (rough, False)):
        got = b.encode_images(images), b.encode_trunk(b.trunk(images), tokens)
        for one, wanted in zip(got, exact, strict=True):
            assert torch.equal(one, wanted) is same
            assert F.cosine_similarity(one, wanted, dim=-1).min() > 0.999
        assert torch.equal(b.encode_clean(images), full.encode_clean(images))


def test_earlier_checkpoints_are_scored_roughly_and_what_changes_is_counted() -> None:
    exact, other = toy_trial(("pixels",)).scorer, ToyBackbone()
    other.W = other.W + 0.3 * other.W.flip(0)
    by_other = LocalPredictor(other, ToyLab())
    rough = Scorer(exact.predictor, exact.loader, exact.tests, exact.classes, rough=by_other)
    dark, plain = Prompt(pixels=lambda batch: 0.2 * batch.images), Prompt(pixels=lambda batch: batch.images)
    first, last = rough.score_all([dark, plain])
    assert last == exact.score(plain)
    alone = Scorer(by_other, exact.loader, exact.tests, exact.classes)
    assert first == alone.score(dark)
    one, two = bits(last["test"]), bits(alone.score(plain)["test"])
    assert exact.flipped is None and rough.flipped is not None
    assert rough.flipped >= 100 * (one != two).mean() > 0  # a wrong class can also become another wrong class


def run(method: str, precision: str) -> Record:
    """A run of one or two steps. Processors take long for convolutions in float16."""
    found = mini_cells(method, datasets=["mini-digits"], seeds=[1], budgets=[10])
    (cell,) = (one for one in found if one.cell.method == method)
    return run_cell(replace(cell, precision=precision), Settings())


def test_scoring_in_float16_changes_neither_the_tuning_nor_the_last_score() -> None:
    full, short = run("bar", "float32"), run("bar", "fp16-scores")
    assert short.ok, short.error
    assert full.run.flipped is None and short.run.flipped is not None
    assert 0 <= short.run.flipped < 2
    assert short.prompt == full.prompt and short.outcomes == full.outcomes
    assert short.accuracy == full.accuracy
    for one, other in zip(short.trace, full.trace, strict=True):
        assert one.queries == other.queries
        assert one.accuracy["test"] == pytest.approx(other.accuracy["test"], abs=2)


def test_a_method_can_be_tuned_in_float16() -> None:
    short = run("vp", "fp16-pixels")
    assert short.ok, short.error
    assert short.run.precision == "fp16-pixels" and short.run.flipped is None
    assert short.queries == 10 and short.trace[0].accuracy["test"] > 0
