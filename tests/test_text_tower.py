"""The fast text path equals open_clip's own for every shape; a model that it does not support is refused."""

import open_clip
import pytest
import torch
import torch.nn.functional as F
from tiny_clip import tiny_clip, tokenizer
from torch import nn

from bench.errors import UserError
from bench.models import Backbone, TextTower, dense, load_backbone
from bench.models.dense import Dense
from bench.models.fast import FastPath
from bench.models.text import pack

# One to six tokens with EOT and full stop. In some names the full stop becomes part of the last token.
NAMES = ["cat", "golden retriever", "U.S.", "St. Bernard", "x-ray", "2 cars", "o'clock", "dog", "a b c d"]


def contexts(k: int, m: int, d: int = 32, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return 0.5 * torch.randn(k, m, d, generator=torch.Generator().manual_seed(k + m), dtype=dtype)


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


@pytest.mark.parametrize("quick_gelu", [False, True], ids=["gelu", "quick-gelu"])
@pytest.mark.parametrize("k", [1, 10])
@pytest.mark.parametrize("m", [1, 4, 8, 16])
def test_equals_open_clip_in_float64(m: int, k: int, quick_gelu: bool) -> None:
    model, sent = tiny_clip(quick_gelu=quick_gelu), contexts(k, m)
    expected = TextTower(model, tokenizer(), NAMES).plain(sent)
    for block, max_tokens in [(128, 4096), (8, 4096), (1, 60), (128, 1)]:  # one sequence, several, each alone
        tower = TextTower(model, tokenizer(), NAMES, block=block, max_tokens=max_tokens)
        assert tower.fast
        assert relative(tower.encode(sent), expected) < 1e-10
    for block, max_tokens in [(8, None), (1, None), (8, 1), (128, None)]:
        tower = TextTower(model, tokenizer(), NAMES, block=block, max_tokens=max_tokens, stacked=True)
        assert relative(tower.encode(sent), expected) < 1e-10


def test_blocks_are_stacked_on_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stacked, the layers run once for all blocks; one block after the other, once for each."""
    calls: list[int] = []
    run = FastPath._run

    def counting(self: FastPath, x: torch.Tensor, *rest: object) -> object:
        calls.append(len(x))
        return run(self, x, *rest)

    monkeypatch.setattr(FastPath, "_run", counting)
    TextTower(tiny_clip(), tokenizer(), NAMES, block=4).encode(contexts(3, 2))
    blocks = len(calls) - 1  # SOS and context run first
    assert blocks > 2 and calls == [3] * (1 + blocks)
    calls.clear()
    TextTower(tiny_clip(), tokenizer(), NAMES, block=4, stacked=True).encode(contexts(3, 2))
    assert calls == [3, 3 * blocks]


def test_equals_open_clip_in_float32() -> None:
    tower = TextTower(tiny_clip(dtype=torch.float32), tokenizer(), NAMES)
    sent = contexts(10, 8, dtype=torch.float32)
    with torch.no_grad():
        assert relative(tower.encode(sent), tower.plain(sent)) < 2e-6


@pytest.mark.parametrize("name", ["ViT-B-16-quickgelu/random", "RN50/random"])
def test_equals_open_clip_at_full_size(name: str) -> None:
    """Text and image tower of the papers' backbones in float64 (random weights)."""
    backbone = load_backbone(name, precision="float64")
    tower = backbone.text_tower(["cat", "golden retriever", "St. Bernard"])
    sent = contexts(2, 4, backbone.text_width)
    with torch.inference_mode():
        assert relative(tower.encode(sent), tower.plain(sent)) < 1e-10
        image = torch.rand(1, 3, 224, 224, dtype=torch.float64)
        expected = backbone.model.encode_image(
            (image - backbone.pixel_mean) / backbone.pixel_std, normalize=True
        )
        assert relative(backbone.encode_images(image), expected) < 1e-10


@pytest.mark.slow
def test_stacked_blocks_equal_the_others_at_full_size() -> None:
    """150 classes are several blocks, the last one short."""
    backbone = load_backbone("ViT-B-16/random", precision="float64")
    names = [f"thing {i}" if i % 3 else f"a longer name {i}" for i in range(150)]
    sent = contexts(2, 8, backbone.text_width)
    with torch.inference_mode():
        one_by_one = backbone.text_tower(names).encode(sent)
        tower = TextTower(backbone.model, backbone.tokenizer, names, stacked=True)
        assert relative(tower.encode(sent), one_by_one) < 1e-12


@pytest.mark.parametrize(
    ("block", "stacked"), [(128, False), (8, False), (8, True)], ids=["one block", "several", "stacked"]
)
def test_gradients_equal_those_of_open_clip(block: int, stacked: bool) -> None:
    tower = TextTower(tiny_clip(quick_gelu=True), tokenizer(), NAMES, block=block, stacked=stacked)
    # The black box runs first. It must not leave tensors without gradient.
    with torch.inference_mode():
        tower.encode(contexts(2, 4))
    direction = torch.randn(2, len(NAMES), 16, dtype=torch.float64)
    gradients = []
    for encode in (tower.encode, tower.plain):
        sent = contexts(2, 4).requires_grad_()
        (encode(sent) * direction).sum().backward()
        gradients.append(sent.grad)
    assert gradients[1].norm() > 1e-3
    assert relative(*gradients) < 1e-10


def test_float32_gradients_do_not_use_the_product_that_has_none() -> None:
    tower = TextTower(tiny_clip(dtype=torch.float32), tokenizer(), NAMES)
    tower.encode(contexts(1, 4, dtype=torch.float32))
    gradients = []
    for encode in (tower.encode, tower.plain):
        sent = contexts(1, 4, dtype=torch.float32).requires_grad_()
        encode(sent)[0, 0, 0].backward()
        gradients.append(sent.grad)
    assert relative(*gradients) < 1e-4


def test_a_context_of_word_embeddings_equals_the_text_with_these_words() -> None:
    """The only test that does not use `plain`: open_clip encodes the whole texts."""
    backbone = Backbone("tiny", tiny_clip(), tokenizer(), precision="float64")
    words = backbone.embed_words("a photo of a")
    assert words.shape == (4, 32)
    got = backbone.text_tower(NAMES).encode(words[None])[0]
    texts = [f"a photo of a {name}." for name in NAMES]
    expected = F.normalize(backbone.model.encode_text(tokenizer()(texts)), dim=-1)
    assert relative(got, expected) < 1e-10
    assert relative(backbone.encode_texts(texts), expected) < 1e-10


def test_a_class_does_not_depend_on_the_other_classes() -> None:
    model, sent = tiny_clip(), contexts(3, 4)
    together = TextTower(model, tokenizer(), NAMES).encode(sent)
    for i, name in enumerate(NAMES):
        alone = TextTower(model, tokenizer(), [name]).encode(sent)[:, 0]
        assert relative(together[:, i], alone) < 1e-10


def test_the_error_for_a_name_that_is_too_long_gives_class_and_limit() -> None:
    tower = TextTower(tiny_clip(), tokenizer(), ["cat", "one two three four five six"])  # SOS + 8 of 24
    tower.encode(contexts(1, 15))
    with pytest.raises(UserError, match=r"16 tokens.*'one two three four five six'.*24.*leaves 15"):
        tower.encode(contexts(1, 16))
    with pytest.raises(UserError, match="leaves 0"):
        TextTower(tiny_clip(), tokenizer(), ["very " * 40]).encode(contexts(1, 1))
    with pytest.raises(UserError, match=r"\[candidates, tokens, 32\].*\[1, 4, 31\]"):
        tower.encode(contexts(1, 4, d=31))
    with pytest.raises(UserError, match="at least one class"):
        TextTower(tiny_clip(), tokenizer(), [])


def siglip() -> open_clip.CustomTextCLIP:
    """A tower that is not causal and reads the last token, like SigLIP's."""
    text = {
        "context_length": 16, "vocab_size": 64, "width": 32, "heads": 4, "layers": 2,
        "no_causal_mask": True, "pool_type": "last", "proj_bias": True,
    }  # fmt: skip
    vision = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 16}
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(embed_dim=16, vision_cfg=vision, text_cfg=text, init_logit_bias=-10)
    return model.eval().requires_grad_(False).double()


def letters(texts: list[str]) -> torch.Tensor:
    """A tokenizer without SOS: one token per letter, then padding, which also ends a text (like SigLIP's)."""
    tokens = torch.ones(len(texts), 16, dtype=torch.long)
    for row, text in zip(tokens, texts, strict=True):
        ids = [2 + ord(letter) % 60 for letter in text if letter != " "]
        row[: len(ids)] = torch.tensor(ids)
    return tokens


def test_a_tower_that_is_not_causal_uses_the_plain_path() -> None:
    model = siglip()
    with pytest.warns(UserWarning, match="TextTransformer is not a plain causal"):
        tower = TextTower(model, letters, ["cat", "zebra"])
    assert not tower.fast
    words = model.text.token_embedding(letters(["abc"])[0, :3])[None]
    expected = F.normalize(model.encode_text(letters(["abc cat.", "abc zebra."])), dim=-1)
    assert relative(tower.encode(words)[0], expected) < 1e-12
    with pytest.raises(UserError, match="'zebra'"):
        tower.encode(contexts(1, 10))


def test_a_block_of_another_kind_uses_the_plain_path() -> None:
    config = {
        "context_length": 24,
        "vocab_size": 49408,
        "width": 32,
        "heads": 4,
        "layers": 2,
        "ls_init_value": 0.5,
    }
    vision = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 16}
    model = open_clip.CLIP(16, vision, config).eval().double()
    with pytest.warns(UserWarning, match="CLIP is not a plain causal"):
        tower = TextTower(model, tokenizer(), NAMES)
    assert not tower.fast
    assert torch.equal(tower.encode(contexts(1, 4)), tower.plain(contexts(1, 4)))


def test_a_custom_text_clip_that_is_causal_uses_the_fast_path() -> None:
    model = open_clip.CustomTextCLIP(
        16,
        {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 16},
        {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 2},
    )
    tower = TextTower(model.eval().requires_grad_(False).double(), tokenizer(), NAMES)
    assert tower.fast
    assert relative(tower.encode(contexts(2, 4)), tower.plain(contexts(2, 4))) < 1e-10


def test_a_tower_without_token_embedding_is_refused() -> None:
    model = nn.Module()
    model.text = nn.Linear(2, 2)  # in place of a Hugging Face encoder
    with pytest.raises(UserError, match=r"Linear.*no token embedding"):
        TextTower(model, tokenizer(), ["cat"])


def test_fp16_text_keeps_the_direction() -> None:
    model, sent = tiny_clip(dtype=torch.float32), contexts(4, 4, dtype=torch.float32)
    half = TextTower(model, tokenizer(), NAMES, weights=pack(model, torch.float16)).encode(sent)
    full = TextTower(model, tokenizer(), NAMES).encode(sent)
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().max() < 5e-3
    assert F.cosine_similarity(half, full, dim=-1).min() > 0.9999


@pytest.mark.parametrize("activation", ["none", "gelu", "swish"])
def test_the_packed_product_equals_the_plain_product(activation: str) -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(96, 64), torch.randn(96), torch.randn(5, 7, 64)
    layer = Dense(weight, bias, activation)
    expected = dense.ACTIVATIONS[activation](F.linear(x.double(), weight.double(), bias.double()))
    assert relative(layer(x).double(), expected) < 1e-6
    asked = x.clone().requires_grad_()
    layer(asked).sum().backward()
    assert asked.grad is not None


def test_a_packed_product_that_disagrees_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias, x = torch.randn(8, 4), torch.randn(8), torch.randn(3, 4)
    monkeypatch.setattr(dense, "_product", lambda x, *_: torch.zeros(len(x), 8))
    assert relative(Dense(weight, bias)(x), F.linear(x, weight, bias)) < 1e-6
