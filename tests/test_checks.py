"""What is said before a run: pictures, class names and texts that cannot be what was meant."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from fabricate_data import CARD, CLASSES, fab_folder, fab_imagenet, fab_json, picture
from fabricate_papers import wordnet_ids
from PIL import Image
from safetensors.torch import save_file
from tiny_clip import tiny_clip

from bench.commands.main import main
from bench.data import readers
from bench.data.card import load_card
from bench.data.images import View, clean, decode
from bench.data.texts import cut_by, same_to
from bench.errors import UserError
from bench.models import load_backbone
from bench.models.weights import read_checkpoint


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cards").mkdir()
    for name, place in (("DATASETS", "cards"), ("DATA", "data"), ("CACHE", "cache")):
        monkeypatch.setenv(f"BENCH_{name}", str(tmp_path / place))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bench(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def planned(name: str, *more: str) -> Result:
    return bench("run", "--dry-run", "--methods", "manual", "--datasets", name, *more)


def own(home: Path, classes: tuple[str, ...], train: int = 2, template: str = "a photo of a {}.") -> None:
    """A data set 'own' with these classes, by a split file."""
    split: dict[str, list[list[object]]] = {"train": [], "val": [], "test": []}
    for part, n in (("train", train), ("test", 2)):
        for label, name in enumerate(classes):
            for i in range(n):
                picture(home / "data/own" / f"{part}{label}-{i}.png", label, 50 * len(part) + i)
                split[part].append([f"{part}{label}-{i}.png", label, name])
    (home / "data/own/split.json").write_text(json.dumps(split))
    n = len(classes)
    card = CARD.format(
        title="own",
        reader="json",
        layout='split = "split.json"',
        classes=n,
        train=train * n,
        val=0,
        test=2 * n,
    )
    (home / "cards/own.toml").write_text(card.replace("a photo of a {}.", template))


# Pictures


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_pictures_of_16_bits_keep_their_greys(home: Path, ending: str) -> None:
    greys = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(greys.astype(np.uint16) * 257).save(home / f"deep.{ending}")
    Image.fromarray(greys).save(home / "plain.png")
    deep, plain = (clean(decode(home / name), View(16)) for name in (f"deep.{ending}", "plain.png"))
    assert torch.equal(deep, plain) and len(plain.unique()) == 256


def test_pictures_of_32_bits_are_refused(home: Path) -> None:
    Image.fromarray(np.ones((4, 4), np.float32)).save(home / "float.tif")
    with pytest.raises(UserError, match=r"float\.tif has 32 bits a pixel .*convert it"):
        decode(home / "float.tif")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "damaged or not an image"),
    ],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_picture_that_cannot_be_read_is_said_before_the_run(
    home: Path, part: str, content: bytes, said: str
) -> None:
    own(home, ("cat", "dog"))
    assert planned("own").exit_code == 0
    path = home / f"data/own/{part}1-0.png"
    path.write_bytes(content)
    result = planned("own")
    assert result.exit_code == 2 and "1 of 4 images cannot be decoded" in result.stderr
    with pytest.raises(UserError, match=said):
        decode(path)


def test_pictures_that_are_known_to_be_whole_are_not_read_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(home, ("cat", "dog"))
    assert planned("own").exit_code == 0
    monkeypatch.setattr("bench.data.images.decode", lambda path: pytest.fail(f"{path} is decoded again"))
    assert planned("own").exit_code == 0


def test_the_same_picture_twice_is_noted_by_content(home: Path) -> None:
    own(home, ("cat", "dog"))
    folder = home / "data/own"
    Image.open(folder / "train0-0.png").convert("RGB").save(folder / "test0-1.png", compress_level=0)
    Image.open(folder / "train0-0.png").convert("RGB").save(folder / "train0-0.png")
    result = bench("data", "verify", "own")
    assert result.exit_code == 0
    assert (
        "note: 1 picture is in train and in test under different names, e.g. 'train0-0.png'" in result.stdout
    )


# Class names and templates


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (("cat", ""), "label 1 has the class name ''"),
        (("cat", " "), "label 1 has the class name ' '"),
        (("cat", "a\x1bb"), "label 1 has the class name 'a"),
        (("cat", "Cat"), "share the class name 'cat'"),
        (("sea_urchin", "Sea  Urchin"), "share the class name 'sea urchin'"),
    ],
)
def test_class_names_that_are_none_or_two_are_refused(
    home: Path, classes: tuple[str, ...], said: str
) -> None:
    own(home, classes)
    for result in (bench("data", "verify", "own"), planned("own")):
        assert result.exit_code in (1, 2) and said in result.output


def test_classes_that_read_the_same_after_cutting_are_refused(home: Path) -> None:
    own(home, ("bird", "very " * 30 + "dog", "very " * 30 + "emu"))
    result = planned("own")
    assert result.exit_code == 2 and "read the same to the text tower of mini" in result.stderr
    assert "read the same to CLIP" not in bench("data", "verify", "own").output  # it reads 77 tokens
    own(home, ("bird", "very " * 90 + "dog", "very " * 90 + "emu"))
    result = bench("data", "verify", "own")
    assert result.exit_code == 1 and "read the same to CLIP" in " ".join(result.output.split())


def test_texts_that_are_cut_are_noted(home: Path) -> None:
    own(home, ("bird", "dog"), template="{}" + " very" * 30 + " good.")
    assert "2 texts are longer than the 24 tokens that mini reads" in planned("own").stdout


def test_what_is_cut_is_found_at_the_very_token() -> None:
    tokenizer = load_backbone("mini").tokenizer
    texts = ["a " * n + "photo" for n in (20, 21, 22, 23)]  # SOS, n times a, photo, EOT: 22 fit
    assert cut_by(tokenizer, texts, 24) == texts[2:]
    assert list(same_to(tokenizer, ["a photo", "A photo", "a sign"])) == [(0, 1)]


def test_two_classes_of_a_name_that_the_card_lists_are_let_pass(home: Path) -> None:
    own(home, ("crane", "crane", "emu"))
    assert "share the class name" in planned("own").stderr
    card = home / "cards/own.toml"
    card.write_text('shared_names = ["crane"]\n' + card.read_text())
    assert planned("own").exit_code == 0


def test_fewer_images_than_shots_are_said_in_the_plan_and_below_the_table(home: Path) -> None:
    own(home, ("cat", "dog"), train=3)
    said = "note: own: 64 shots are asked for, but class 'cat' has 3 images, and 1 more class has fewer, too"
    assert said in planned("own", "--shots", "64").stdout
    assert "note:" not in planned("own", "--shots", "3").stdout
    done = bench("run", "--local", "--methods", "manual", "--datasets", "own", "--shots", "64")
    assert done.exit_code == 0 and done.stdout.count(said) == 2


# Files of other kinds


def test_files_of_windows_and_macos_are_read(home: Path) -> None:
    """A byte-order mark, backslashes, tabs, line ends of Windows, folders of systems."""
    fab_json(home / "data", home / "cards", "ok")
    split = home / "data/ok/split_zhou_Fab.json"
    content = {
        k: [[p.replace("/", "\\"), *r] for p, *r in v] for k, v in json.loads(split.read_text()).items()
    }
    split.write_bytes(b"\xef\xbb\xbf" + json.dumps(content).encode())
    fab_imagenet(home / "data", home / "cards", "net")
    names = home / "data/net/classnames.txt"
    names.write_bytes(b"\xef\xbb\xbf" + names.read_bytes().replace(b" ", b"\t", 1).replace(b"\n", b"\r\n"))
    fab_folder(home / "data", home / "cards", "plain")
    for folder in ("__MACOSX", "@eaDir", "$RECYCLE.BIN"):
        (home / "data/plain/train" / folder).mkdir()
    for name in ("ok", "net", "plain"):
        result = bench("data", "verify", name)
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("tench", "façade").encode("latin-1"), r"not in UTF-8 .line 1"),
        (lambda text: text.encode("utf-16"), "UTF-16"),
        (lambda text: "\n".join(f"{a} {i} {b}" for i, (a, b) in enumerate(pairs(text))).encode(), "a number"),
        (lambda text: "\n".join(f"{a} {b}, {b} b" for a, b in pairs(text)).encode(), "synonyms"),
        (lambda text: text.encode() + b"n01440764 other", "two class names"),
        (lambda text: b"<html>not found</html>", "a web page|class name"),
    ],
)
def test_another_list_of_names_is_refused(home: Path, change, said: str) -> None:
    fab_imagenet(home / "data", home / "cards", "net")
    path = home / "data/net/classnames.txt"
    path.write_bytes(change(path.read_text()))
    result = bench("data", "verify", "net")
    assert result.exit_code == 1 and re.search(said, result.output), result.output


@pytest.mark.parametrize("name", ["imagenet", "imagenet_a", "imagenet_r", "imagenet_sketch", "imagenetv2"])
def test_imagenets_cards_take_the_list_of_imagenets_classes_alone(name: str, tmp_path: Path) -> None:
    """All 1,000 in order, whatever their names are: the position in the list is the label in ImageNetV2."""
    card = load_card(name)
    assert card.layout is not None
    folder = tmp_path / card.layout.folder
    folder.mkdir()
    ids = wordnet_ids()
    swapped, other = [ids[1], ids[0], *ids[2:]], [*ids[:-1], "n15092227"]
    for listed, refused in ((ids, False), (swapped, True), (ids[:200], True), (other, True)):
        lines = [f"{one} thing {i}\r\n" for i, one in enumerate(listed)]
        (folder / card.layout.split).write_text("\ufeff" + "".join(lines), encoding="utf-8", newline="")
        with pytest.raises(UserError) as caught:
            readers.read(card, tmp_path)
        # With the right list the images are the next thing that is missing.
        assert ("lists other classes than" in str(caught.value)) == refused, (listed[:2], str(caught.value))


def test_the_pin_of_a_list_makes_no_record_stale() -> None:
    card = load_card("imagenet")
    assert card.layout is not None
    assert replace(card, layout=replace(card.layout, ids="")).hash == card.hash
    with pytest.raises(ValueError, match=r"layout\.ids must be 64 hexadecimal digits"):
        replace(card.layout, ids="0")


def pairs(text: str) -> list[list[str]]:
    return [line.split(" ", 1) for line in text.splitlines()]


def test_flat_validation_images_are_named_with_their_remedy(home: Path) -> None:
    fab_imagenet(home / "data", home / "cards", "net")
    val = home / "data/net/images/val"
    for path in list(val.glob("*/*")):
        path.rename(val / path.name)
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    assert "holds images, but no class folders" in bench("data", "verify", "net").output
    assert "valprep" in bench("data", "verify", "net").output


def test_an_empty_folder_beside_the_classes_is_named(home: Path) -> None:
    fab_folder(home / "data", home / "cards", "plain")
    for part in ("train", "test"):
        (home / "data/plain" / part / "new folder").mkdir()
    output = bench("data", "verify", "plain").output
    assert "new folder" in output and len(CLASSES) == 5


# Weights


def state(**changes: object) -> dict[str, torch.Tensor]:
    whole = {name: value.clone().contiguous() for name, value in tiny_clip().state_dict().items()}
    return whole | changes  # type: ignore[operator]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: torch.save(state(positional_embedding=torch.zeros(248, 32)), p), "another context length"),
        (lambda p: torch.save(state(logit_bias=torch.tensor(-10.0)), p), "logit_bias.*SigLIP"),
        (lambda p: torch.save({"text_model.embeddings": torch.zeros(2)}, p), "Hugging Face's transformers"),
        (lambda p: torch.save([1, 2], p), "no state dict|damaged"),
        (lambda p: torch.save({}, p), "damaged|no state dict"),
        (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        (lambda p: p.write_text("<!DOCTYPE html><html></html>"), "a web page"),
        (lambda p: p.write_bytes(b"PK\x03\x04" + bytes(60)), "damaged"),
        (lambda p: p.write_bytes(b"PK\x05\x06" + bytes(18)), "damaged"),
    ],
)
def test_weights_of_another_kind_are_named_with_their_remedy(home: Path, make, said: str) -> None:
    path = home / "weights.pt"
    make(path)
    with pytest.raises(UserError, match=said) as caught:
        read_checkpoint(tiny_clip(), path, "tiny")
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["foreign.safetensors", "foreign.npz", "foreign.npy", "short.safetensors"])
def test_foreign_tensors_are_refused(home: Path, name: str) -> None:
    path = home / name
    if name == "foreign.safetensors":
        save_file({"layers.0.weight": torch.zeros(3)}, path)
    elif name == "short.safetensors":
        path.write_bytes(b"\xff" * 20)
    else:
        np.savez(path, a=np.zeros(3)) if name.endswith("z") else np.save(path, np.zeros(3))
    with pytest.raises(UserError, match=r"foreign|short"):
        read_checkpoint(tiny_clip(), path, "tiny")
