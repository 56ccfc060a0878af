"""Backbones: images in two exact halves, names, weights files, offline mode, precisions, encoders."""

import os
import pickle
import socket
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.transformer import QuickGELU
from safetensors.torch import save_file
from tiny_clip import tiny_clip, tiny_config, tokenizer
from torch import nn
from torchvision.transforms import Normalize

from bench.errors import UserError
from bench.mini import model as mini
from bench.models import Backbone, load_backbone, load_encoder, weights
from bench.models.vision import PlainTower, ResNetTower, ViTTower


def backbone(vision: str = "vit", precision: str = "float64", quick_gelu: bool = False) -> Backbone:
    model = tiny_clip(vision, quick_gelu, torch.float64 if precision == "float64" else torch.float32)
    return Backbone("tiny", model, tokenizer(), precision=precision)


def pixels(b: Backbone, n: int = 3) -> torch.Tensor:
    return torch.rand(n, 3, b.image_size, b.image_size, generator=torch.Generator().manual_seed(0))


def normalised(b: Backbone, images: torch.Tensor) -> torch.Tensor:
    return (images.to(b.dtype) - b.pixel_mean) / b.pixel_std


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


@pytest.fixture
def tiny_arch(monkeypatch: pytest.MonkeyPatch) -> str:
    """An architecture that open_clip knows during one test."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", tiny_config())
    return "tiny"


# ---- images


@pytest.mark.parametrize("vision", ["vit", "resnet"])
def test_images_are_encoded_as_open_clip_encodes_them(vision: str) -> None:
    for precision, tolerance in [("float64", 1e-10), ("float32", 2e-6)]:
        b = backbone(vision, precision, quick_gelu=True)
        images = pixels(b)
        expected = b.model.encode_image(normalised(b, images), normalize=True)
        got = b.encode_images(images)
        assert got.dtype == b.dtype and got.shape == (3, b.embed_dim)
        assert relative(got, expected) < tolerance
        assert relative(b.encode_trunk(b.trunk(images))[0], expected) < tolerance


def test_an_image_does_not_depend_on_its_batch() -> None:
    for vision in ("vit", "resnet"):
        b = backbone(vision, "float32")
        images = pixels(b, 7)
        alone = torch.cat([b.encode_images(image[None]) for image in images])
        assert relative(b.encode_images(images), alone) < 2e-6


def test_visual_tokens_of_a_vit_come_after_the_patches_and_before_the_norm() -> None:
    b = backbone("vit")
    images, tokens = pixels(b), torch.randn(4, 5, b.vision_width, dtype=torch.float64)
    got = b.encode_trunk(b.trunk(images), tokens)
    assert got.shape == (4, 3, b.embed_dim)
    for candidate, features in zip(tokens, got, strict=True):
        # open_clip's own forward, with the tokens inserted before its pre-norm
        def append(_: nn.Module, args: tuple[torch.Tensor], more: torch.Tensor = candidate) -> torch.Tensor:
            return torch.cat([args[0], more.expand(len(args[0]), -1, -1)], dim=1)

        with b.model.visual.ln_pre.register_forward_pre_hook(append):
            expected = b.model.encode_image(normalised(b, images), normalize=True)
        assert relative(features, expected) < 1e-10
        assert relative(b.encode_images(images, candidate), expected) < 1e-10
    assert relative(got[0], b.encode_images(images)) > 1e-3


def test_visual_tokens_of_a_resnet_join_the_attention_pool() -> None:
    b = backbone("resnet")
    images, tokens = pixels(b), torch.randn(4, 5, b.vision_width, dtype=torch.float64)
    got = b.encode_trunk(b.trunk(images), tokens)
    visual, pool = b.model.visual, b.model.visual.attnpool
    x = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(normalised(b, images))))))
    x = x.flatten(2).permute(2, 0, 1)
    x = torch.cat([x.mean(0, keepdim=True), x]) + pool.positional_embedding[:, None]
    for candidate, features in zip(tokens, got, strict=True):
        longer = torch.cat([x, candidate[:, None].expand(-1, len(images), -1)])
        pooled, _ = F.multi_head_attention_forward(
            longer, longer, longer, b.vision_width, pool.num_heads, None,
            torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]), None, None, False, 0.0,
            pool.c_proj.weight, pool.c_proj.bias, training=False, need_weights=False,
            use_separate_proj_weight=True, q_proj_weight=pool.q_proj.weight, k_proj_weight=pool.k_proj.weight,
            v_proj_weight=pool.v_proj.weight,
        )  # fmt: skip
        assert relative(features, F.normalize(pooled[0], dim=-1)) < 1e-10
    assert relative(got[0], b.encode_images(images)) > 1e-3


def test_visual_tokens_of_another_shape_or_tower_are_refused() -> None:
    b = backbone("vit")
    with pytest.raises(UserError, match=r"\[candidates, tokens, 48\].*\[1, 5, 47\]"):
        b.encode_images(pixels(b), torch.zeros(5, 47))
    whole = PlainTower(nn.Conv2d(3, 2, 1), torch.float32)
    with pytest.raises(UserError, match=r"Conv2d.*no visual tokens"):
        whole.finish(torch.zeros(1, 2), torch.zeros(1, 5, 48))


def test_the_kind_of_a_tower_is_recognised() -> None:
    assert isinstance(backbone("vit")._images, ViTTower)
    assert isinstance(backbone("resnet")._images, ResNetTower)
    model = tiny_clip("vit")
    model.visual.pool_type = "avg"  # the two halves do not support this: the tower runs whole, without tokens
    b = Backbone("average", model, tokenizer(), precision="float64")
    assert isinstance(b._images, PlainTower) and b.vision_width is None
    images = pixels(b)
    assert (
        relative(b.encode_images(images), model.encode_image(normalised(b, images), normalize=True)) < 1e-12
    )


def test_statistics_for_the_projections() -> None:
    b = backbone("vit")
    assert b.token_std == pytest.approx(b.model.token_embedding.weight.std().item())
    assert b.patch_mean == pytest.approx(b.model.visual.conv1.weight.mean().item())
    assert b.patch_std == pytest.approx(b.model.visual.conv1.weight.std().item())
    r = backbone("resnet")
    assert r.patch_std == pytest.approx(r.model.visual.attnpool.positional_embedding.std().item())
    assert r.vision_width == 8 * 32
    assert b.logit_scale == pytest.approx(b.model.logit_scale.exp().item())


# ---- names and weights


def test_random_weights_are_always_the_same_and_do_not_use_the_global_generator(tiny_arch: str) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two = load_backbone("tiny/random"), load_backbone("tiny/random", precision="float64")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert one.weights_hash == two.weights_hash and len(one.weights_hash) == 64
    assert not any(parameter.requires_grad for parameter in one.model.parameters()) and not one.model.training
    assert one.image_size == 32 and one.interpolation == "bicubic" and one.resize_mode == "shortest"


def test_the_hash_depends_on_the_weights() -> None:
    one, other = backbone(precision="float32"), backbone(precision="float32")
    assert one.weights_hash == other.weights_hash
    other = backbone(precision="float32")
    other.model.ln_final.bias[0] += 1e-6
    assert one.weights_hash != other.weights_hash


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B16/openai", "no backbone 'ViT-B16'.*Did you mean ViT-B-16"),
        ("ViT-B-16/opena", "no weights 'opena'.*Did you mean 'openai'"),
        ("ViT-B-16", "does not name its weights.*openai"),
        ("ViT-B-16-quickgelu/laion400m_e32", "no weights 'laion400m_e32'"),  # trained with GELU
        ("coca_ViT-B-32/random", "no text tower"),
        ("ViT-B-16/./no/such/file.pt", r"no weights file no/such/file.pt: correct the path after ViT-B-16/"),
    ],
)
def test_the_error_for_an_unknown_name_lists_the_known_ones(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_backbone(name)


def test_unknown_precisions_and_devices(tiny_arch: str) -> None:
    with pytest.raises(UserError, match="Did you mean 'float32'"):
        load_backbone("tiny/random", precision="float23")
    with pytest.raises(UserError, match="use cpu, cuda"):
        load_backbone("tiny/random", device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"no device .*on this machine"):
            load_backbone("tiny/random", device="cuda")


def test_local_checkpoints(tiny_arch: str, tmp_path: Path) -> None:
    state = {name: tensor.float().contiguous() for name, tensor in tiny_clip().state_dict().items()}
    save_file(state, tmp_path / "a.safetensors")
    torch.save(
        {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "b.pt"
    )
    expected = backbone(precision="float32").weights_hash
    assert load_backbone(f"tiny/{tmp_path}/a.safetensors").weights_hash == expected
    assert load_backbone(f"tiny/{tmp_path}/b.pt").weights_hash == expected


class Published(nn.Module):
    """A model as in OpenAI's archives: half precision, and three numbers besides the weights."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name, tensor in model.half().state_dict().items():
            *path, leaf = name.split(".")
            home: nn.Module = self
            for part in path:
                if part not in home._modules:
                    home.add_module(part, nn.Module())
                home = home._modules[part]
            home.register_buffer(leaf, tensor)
        for fact in weights.OPENAI_FACTS:
            self.register_buffer(fact, torch.tensor(7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_the_archive_of_openai_needs_quick_gelu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, quick in (("tiny", False), ("tiny-quickgelu", True)):
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, tiny_config(quick_gelu=quick))
    file = tmp_path / "ViT-B-16.pt"
    torch.jit.script(Published(tiny_clip(quick_gelu=True))).save(file)
    with pytest.raises(UserError, match=rf"trained with QuickGELU: use tiny-quickgelu/{file}"):
        load_backbone(f"tiny/{file}")
    found = load_backbone(f"tiny-quickgelu/{file}", precision="float64")
    images = pixels(found)
    assert relative(found.encode_images(images), backbone(quick_gelu=True).encode_images(images)) < 1e-2
    assert any(isinstance(module, QuickGELU) for module in found.model.modules())


class Poison:
    def __reduce__(self) -> tuple:
        return (os.system, ("true",))


def test_the_error_for_a_bad_checkpoint_names_the_file_and_what_to_do(tiny_arch: str, tmp_path: Path) -> None:
    state = {name: tensor.float().contiguous() for name, tensor in tiny_clip().state_dict().items()}
    save_file(state, tmp_path / "short.safetensors")
    torch.save(state, tmp_path / "short.pt")
    for name in ("short.safetensors", "short.pt"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "text.pt").write_text("not weights")
    (tmp_path / "text.safetensors").write_text("not weights")
    (tmp_path / "poison.pt").write_bytes(pickle.dumps({"state_dict": Poison()}, protocol=2))
    torch.save(Poison(), tmp_path / "poison2.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({}, tmp_path / "nothing.pt")
    save_file({**state, "ln_final.bias": torch.zeros(31)}, tmp_path / "shape.safetensors")
    save_file({"ln_final.bias": torch.zeros(32)}, tmp_path / "few.safetensors")
    for file in sorted(tmp_path.iterdir()):
        with pytest.raises(UserError, match=rf"{file}.*(download it again|name the architecture)"):
            load_backbone(f"tiny/{file}")


def test_the_pretrained_tag_decides_quick_gelu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """open_clip 3 only warns when OpenAI's weights go into a model with GELU; here this is impossible."""
    config = tiny_config()
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-16", config)
    save_file(
        {k: v.float().contiguous() for k, v in tiny_clip().state_dict().items()}, tmp_path / "w.safetensors"
    )
    monkeypatch.setattr(weights, "download_pretrained", lambda tag: str(tmp_path / "w.safetensors"))
    for tag, quick in [("openai", True), ("laion400m_e32", False)]:
        b = load_backbone(f"ViT-B-16/{tag}", precision="float64")
        assert any(isinstance(module, QuickGELU) for module in b.model.modules()) is quick
        assert any(isinstance(module, nn.GELU) for module in b.model.modules()) is not quick
        images = pixels(b)
        assert relative(b.encode_images(images), backbone(quick_gelu=quick).encode_images(images)) < 1e-6


@pytest.mark.parametrize(
    "name", ["ViT-B-16/openai", "ViT-B-32/laion2b_s34b_b79k", "vit_base_patch16_224.mae"]
)
def test_offline_never_uses_the_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_arch: str
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("the network was used")

    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    with pytest.raises(UserError, match=f"{name}.*network"):
        load_encoder(name, offline=True) if "mae" in name else load_backbone(name, offline=True)
    assert before == constants.HF_HUB_OFFLINE
    load_backbone("tiny/random", offline=True)  # what needs no network works


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(tag: dict) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(weights, "download_pretrained", down)
    with pytest.raises(UserError, match=r"cannot be downloaded \(no route to host\).*ViT-B-16//path/to/file"):
        load_backbone("ViT-B-16/openai")


# ---- precisions


def test_lower_precisions_are_close_and_keep_float32_features() -> None:
    full = backbone(precision="float32")
    images, sent = pixels(full), 0.5 * torch.randn(2, 4, 32)
    for precision in ("bf16-images", "fp16-text", "fp16-text+bf16-images"):
        b = backbone(precision=precision)
        assert b.weights_hash == full.weights_hash
        got, text = b.encode_clean(images), b.text_tower(["cat", "dog"]).encode(sent)
        assert got.dtype == text.dtype == torch.float32
        assert F.cosine_similarity(got, full.encode_images(images), dim=-1).min() > 0.999
        assert F.cosine_similarity(text, full.text_tower(["cat", "dog"]).encode(sent), dim=-1).min() > 0.9999
        assert torch.equal(got, full.encode_clean(images)) is ("bf16" not in precision)
        # Images that a method changes are always computed in full precision.
        assert torch.equal(b.encode_images(images), full.encode_images(images))
    resnet = backbone("resnet", "bf16-images")
    exact = backbone("resnet", "float32").encode_images(pixels(resnet))
    assert F.cosine_similarity(resnet.encode_clean(pixels(resnet)), exact, dim=-1).min() > 0.99


@pytest.mark.gpu
def test_the_same_features_on_a_gpu(tiny_arch: str) -> None:
    cpu, gpu = load_backbone("tiny/random"), load_backbone("tiny/random", device="cuda")
    images, sent = pixels(cpu), 0.5 * torch.randn(2, 4, 32)
    assert relative(gpu.encode_images(images).cpu(), cpu.encode_images(images)) < 1e-5
    towers = [b.text_tower(["cat", "golden retriever"]) for b in (gpu, cpu)]
    assert relative(towers[0].encode(sent).cpu(), towers[1].encode(sent)) < 1e-5


# ---- encoders


def test_an_encoder_is_the_class_token_before_the_last_layer_norm() -> None:
    encoder = load_encoder("vit_tiny_patch16_224:random")
    images = torch.rand(2, 3, 224, 224)
    vit, blocks = encoder.module.vit, []
    vit.blocks[-1].register_forward_hook(lambda module, given, output: blocks.append(output))
    vit.forward_features(Normalize(OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)(images))
    expected = blocks[0][:, 0]  # the output of the last block, for images normalised for CLIP
    assert encoder.embed_dim == expected.shape[1] == 192
    assert torch.allclose(encoder.encode_images(images), expected, atol=1e-5)
    # Images of another size are resized to the size of the encoder.
    assert encoder.encode_images(torch.rand(2, 3, 64, 64)).shape == (2, 192)
    again = load_encoder("vit_tiny_patch16_224:random")
    assert torch.equal(again.encode_images(images), encoder.encode_images(images))


def test_unknown_encoders() -> None:
    with pytest.raises(UserError, match=r"Did you mean .*vit_base_patch16_224"):
        load_encoder("vit_base_patch16_225")
    with pytest.raises(UserError, match="no weights 'imagenet'"):
        load_encoder("vit_tiny_patch16_224:imagenet")
    with pytest.raises(UserError, match="no class token"):
        load_encoder("resnet18:random")


@pytest.mark.skipif(not mini.FILES["clip"].exists(), reason="the mini suite's weights are not here")
def test_the_mini_models() -> None:
    b, encoder = load_backbone("mini", offline=True), load_encoder("mini", offline=True)
    images = pixels(b)
    assert (
        relative(b.encode_images(images), b.model.encode_image(normalised(b, images), normalize=True)) < 2e-6
    )
    tower = b.text_tower(["red", "dark blue"])
    assert tower.fast
    sent = 0.02 * torch.randn(10, 8, b.text_width)
    assert relative(tower.encode(sent), tower.plain(sent)) < 2e-6
    assert encoder.encode_images(images).shape == (3, encoder.embed_dim)
