"""Loads the open_clip model and weights that a backbone's name means.

mini                     the mini suite's model, which is part of the package
ViT-B-16/openai          an open_clip architecture and pretrained tag; downloaded once and kept
ViT-B-16//data/file.pt   an open_clip architecture and a local file: safetensors, torch.save, or OpenAI's own
                         archive. The path follows the first slash and starts with "/", "./", "../" or "~".
                         OpenAI's weights need the name ViT-B-16-quickgelu//data/file.pt. Their archive is
                         refused under another name; a state dict saved from it cannot be recognised.
ViT-B-16/random          random weights from a fixed seed, for tests and measurements of speed
"""

import hashlib
import pickle
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.factory import load_checkpoint, load_state_dict
from open_clip.pretrained import download_pretrained, get_pretrained_cfg
from open_clip.transform import PreprocessCfg
from open_clip.transformer import QuickGELU
from safetensors import SafetensorError
from torch import Tensor, nn

from bench.errors import BRIEF, NotHere, UserError, brief, did_you_mean
from bench.files import refusing, stand_in
from bench.models.block import OpenClip
from bench.paths import expanded

RANDOM_SEED = 0
# Tables that open_clip stretches to the model's size without a word; the model is then another one.
POSITIONS = {
    "positional_embedding": "context length",
    "text.positional_embedding": "context length",
    "visual.positional_embedding": "image size",
    "visual.trunk.pos_embed": "image size",
}
OPENAI_FACTS = ("input_resolution", "context_length", "vocab_size")  # entries that are not weights


@dataclass(frozen=True)
class Loaded:
    """A frozen model (float32, CPU, evaluation mode), its tokenizer, and how it wants its images."""

    model: OpenClip
    tokenizer: Callable[[list[str]], Tensor]
    preprocess: PreprocessCfg


def load_model(name: str, offline: bool = False) -> Loaded:
    """The model with this name (see above).

    Raises UserError for an unknown architecture or tag, for a file that is missing, damaged or of another
    architecture, for weights that cannot be downloaded, and, with `offline`, for weights that are not on this
    machine.
    """
    if name == "mini":
        from bench.mini.model import load  # imported only if it is needed

        model, tokenizer = load()
        return Loaded(_freeze(model), tokenizer, _preprocess(model, {}))
    arch, _, rest = name.partition("/")
    config = _config(arch)
    if rest == "random":
        model = _freeze(_build(config))
        return Loaded(model, _tokenizer(arch, offline), _preprocess(model, {}))
    if rest.startswith(("/", "./", "../", "~")):
        model = _build(config)
        read_checkpoint(model, expanded(rest), arch)
        return Loaded(_freeze(model), _tokenizer(arch, offline), _preprocess(model, {}))
    tag = _tag(arch, rest)
    # OpenAI's weights and some others were trained with QuickGELU. The tag knows that, so it decides.
    config["quick_gelu"] = bool(tag.get("quick_gelu", False))
    path = _download(name, tag, offline)
    model = _build(config)
    read_checkpoint(model, path, arch)
    return Loaded(_freeze(model), _tokenizer(arch, offline), _preprocess(model, tag))


def _config(arch: str) -> dict[str, Any]:
    config = open_clip.get_model_config(arch) if arch in open_clip.list_models() else None
    if config is None:
        close = get_close_matches(arch[:BRIEF], ["mini", *open_clip.list_models()], n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise UserError(
            f"no backbone {brief(arch)}: it is neither 'mini' nor an architecture of open_clip.{hint} "
            'List them with: python -c "import open_clip; print(open_clip.list_models())"'
        )
    if "multimodal_cfg" in config or "hf_model_name" in config["text_cfg"]:
        raise UserError(
            f"backbone {arch!r} has no text tower that takes a prompt: use a CLIP or SigLIP model"
        )
    return config


def _tag(arch: str, tag: str) -> dict[str, Any]:
    tags = open_clip.list_pretrained_tags_by_model(arch)
    if not tag:
        raise UserError(
            f"backbone {arch!r} does not name its weights: write {arch}/WEIGHTS, with one of "
            f"{', '.join([*tags, 'random'])}."
        )
    if tag not in tags:
        raise UserError(f"backbone {arch!r} has no weights {tag!r}. {did_you_mean(tag, [*tags, 'random'])}")
    return get_pretrained_cfg(arch, tag)


def _build(config: dict[str, Any]) -> OpenClip:
    """The architecture with random weights from a fixed seed. The caller's random state does not change."""
    config = dict(config)
    custom = config.pop("custom_text", False)
    with seeded():
        return (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config)


def _freeze(model: OpenClip) -> OpenClip:
    return model.eval().requires_grad_(False)


def _preprocess(model: OpenClip, tag: dict[str, Any]) -> PreprocessCfg:
    """How the model wants its images: open_clip's defaults, then the model's values, then the tag's."""
    fields = asdict(PreprocessCfg())
    for source in (getattr(model.visual, "preprocess_cfg", {}), tag, {"size": model.visual.image_size}):
        fields.update({key: value for key, value in source.items() if key in fields and value is not None})
    return PreprocessCfg(**fields)


def _tokenizer(arch: str, offline: bool) -> Callable[[list[str]], Tensor]:
    try:
        with hub(offline):
            return open_clip.get_tokenizer(arch)
    except Exception as error:  # transformers, sentencepiece and the hub raise many kinds
        what = f"the tokenizer of {arch!r}"
        message = (
            f"{what} cannot be loaded ({first_line(error)}); install the packages transformers and "
            "sentencepiece, and run once with network to download its vocabulary"
        )
        fetchable = offline and not isinstance(error, ImportError)
        raise NotHere(what, message) if fetchable else UserError(message) from error


def read_checkpoint(model: OpenClip, path: Path, arch: str) -> None:
    """Load the model's weights from a file; every weight must be there, and no other.

    Raises UserError if the file is missing, damaged, or of another architecture.
    """
    if not path.is_file():
        raise UserError(f"no weights file {path}: correct the path after {arch}/")
    with refusing(f"cannot read the weights file {path}"), open(path, "rb") as file:
        what = stand_in(file.read(400))
    if what:
        raise UserError(f"weights file {path} is {what}")
    archive = _is_torchscript(path)
    if archive and not any(isinstance(module, QuickGELU) for module in model.modules()):
        raise UserError(
            f"{path} is OpenAI's archive, whose weights were trained with QuickGELU: use "
            f"{arch}-quickgelu/{path}"
        )
    try:
        if archive:
            state = torch.jit.load(str(path), map_location="cpu").state_dict()
            model.load_state_dict({k: v for k, v in state.items() if k not in OPENAI_FACTS}, strict=True)
            return
        if path.suffix not in (".npz", ".npy"):
            _check_kind(load_state_dict(str(path)), model, path, arch)
        load_checkpoint(model, str(path), strict=True, weights_only=True, device="cpu")
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        raise UserError(
            f"weights file {path} is damaged or holds more than tensors; download it again, or save its "
            "state dict as safetensors"
        ) from error
    except (SafetensorError, OSError, EOFError, ValueError, StopIteration) as error:
        raise UserError(f"weights file {path} is damaged ({first_line(error)}); download it again") from error
    except Exception as error:  # whatever its bytes, or another model's names and shapes, lead to
        raise UserError(
            f"weights file {path} is damaged or does not fit {arch} ({first_line(error)}); "
            "download it again, or name the architecture that it was saved from"
        ) from error


def _check_kind(state: Any, model: OpenClip, path: Path, arch: str) -> None:
    """Raise UserError for a state dict that open_clip would stretch until it fits, or cannot name."""
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"weights file {path} holds no state dict: save the tensors by name, as safetensors")
    if any(name.startswith(("text_model.", "vision_model.")) for name in state):
        raise UserError(
            f"weights file {path} is in the format of Hugging Face's transformers: take the model's file for "
            "open_clip (open_clip_pytorch_model.bin or open_clip_model.safetensors)"
        )
    if "logit_bias" in state and getattr(model, "logit_bias", None) is None:
        raise UserError(
            f"weights file {path} has a logit_bias, as SigLIP models have, and {arch} has none: name the "
            "SigLIP architecture that it was saved from, or remove the entry"
        )
    own = model.state_dict()
    for name, what in POSITIONS.items():
        if name in state and name in own and state[name].shape != own[name].shape:
            given, wanted = list(state[name].shape), list(own[name].shape)
            raise UserError(
                f"weights file {path} has another {what} than {arch}: {name} is {given}, not {wanted}; name "
                "the architecture that it was saved from"
            )


def _is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive like OpenAI's, which torch.load(weights_only=True) refuses."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError):
        return False  # damaged, and said so when it is read


def _download(name: str, tag: dict[str, Any], offline: bool) -> Path:
    """The file with a pretrained tag's weights; open_clip downloads it unless it is here or `offline`."""
    url = tag.get("url", "")
    if offline and not tag.get("hf_hub"):
        # open_clip keeps files with a plain URL in this folder.
        path = expanded("~/.cache/clip") / Path(url).name
        if not path.is_file():
            raise _absent(name)
        return path
    try:
        with hub(offline):
            return Path(download_pretrained(tag))
    except Exception as error:  # the hub, its HTTP client and urllib raise many kinds
        if offline:
            raise _absent(name) from error
        raise UserError(
            f"the weights of {name!r} cannot be downloaded ({first_line(error)}); check the network, or give "
            f"a local file: {name.partition('/')[0]}//path/to/file"
        ) from error


def _absent(name: str) -> NotHere:
    return NotHere(
        f"the weights of {name!r}",
        f"the weights of {name!r} are not on this machine, and --offline forbids to download them; run once "
        f"with network, or give a local file: {name.partition('/')[0]}//path/to/file",
    )


@contextmanager
def seeded() -> Iterator[None]:
    """Inside the block, random numbers come from a fixed seed. The caller's random state does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(RANDOM_SEED)
        yield


@contextmanager
def hub(offline: bool) -> Iterator[None]:
    """Inside the block, `offline` keeps Hugging Face's hub off the network, as HF_HUB_OFFLINE=1 does."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def first_line(error: BaseException) -> str:
    """An error's message on one line of at most 160 characters."""
    text = str(error).strip() or type(error).__name__
    return " ".join(text.split())[:160]


def state_hash(model: nn.Module) -> str:
    """sha256 of the state dict's names, types, shapes and bytes; the same in every precision."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()
