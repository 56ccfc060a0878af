"""Small data sets in the papers' real file formats, for tests."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("Sea_Urchin", "barn", "camera", "dragonfly", "emu")
COUNTS = {"train": 6, "val": 3, "test": 4}  # images per class
TOTAL = {split: n * len(CLASSES) for split, n in COUNTS.items()}
SPLIT = "split_zhou_Fab.json"

CARD = """
title = "{title}"
reader = "{reader}"
template = "a photo of a {{}}."
classes = {classes}
licence = "CC0"
sources = ["https://example.org/fabricated"]
images = {{ train = {train}, val = {val}, test = {test} }}

[layout]
folder = "{title}"
{layout}
"""


def picture(path: Path, label: int, number: int) -> None:
    """Write one image: its colour shows its class; size, mode and format vary."""
    rng = np.random.default_rng([label, number])
    height, width = rng.integers(20, 60, 2)
    pixels = rng.integers(0, 80, (height, width, 3)) + np.array([label * 35, 150 - label * 30, 60])
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    modes = (
        ("RGB", "RGB", "L", "CMYK") if path.suffix.lower() in (".jpg", ".jpeg") else ("RGB", "P", "RGBA", "L")
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert(modes[number % 4]).save(path)


def write_card(cards: Path, name: str, reader: str, layout: str, classes: object = 5, **counts: int) -> None:
    text = CARD.format(title=name, reader=reader, layout=layout, classes=classes, **{**TOTAL, **counts})
    (cards / f"{name}.toml").write_text(text)


def numbered(split: str, label: int) -> range:
    """The numbers of a class's images in one split; no number is used twice in a class."""
    start = {"train": 0, "val": 6, "test": 9}[split]
    return range(start, start + COUNTS[split])


def fab_json(root: Path, cards: Path, name: str = "fab-json") -> None:
    """split_zhou_*.json: paths start at the image folder; the classes are mixed, as after a shuffle."""
    split = {}
    for part in COUNTS:
        rows = [
            [f"{CLASSES[label]}/{number:04}.jpg", label, CLASSES[label]]
            for number in range(15)
            for label in (3, 0, 4, 1, 2)
            if number in numbered(part, label)
        ]
        for path, label, _ in rows:
            picture(root / name / "images" / path, label, int(Path(path).stem))
        split[part] = rows
    (root / name / SPLIT).write_text(json.dumps(split))
    write_card(cards, name, "json", f'images = "images"\nsplit = "{SPLIT}"')


def fab_mlai(root: Path, cards: Path, name: str = "fab-mlai") -> None:
    """split_mlai_SVHN.json: train and val listed, test images in class folders."""
    split: dict[str, list] = {"train": [], "val": []}
    for label in range(5):
        for part in COUNTS:
            for number in numbered(part, label):
                where = "test" if part == "test" else "train"
                picture(root / name / where / str(label) / f"{number:05}.jpg", label, number)
                if part != "test":
                    split[part].append([f"{label}/{number:05}.jpg", label, str(label)])
    (root / name / "split_mlai_Fab.json").write_text(json.dumps(split))
    write_card(cards, name, "json", 'images = "train"\nsplit = "split_mlai_Fab.json"\ntest = "test"')


def fab_fgvc(root: Path, cards: Path, name: str = "fab-fgvc") -> None:
    """FGVC-Aircraft: seven-digit image names, class names with spaces and slashes."""
    names = ("707-320", "A300B4", "DHC-8-100", "F/A-18", "Model B200")
    folder = root / name
    for part in COUNTS:
        lines = []
        for label, title in enumerate(names):
            for number in numbered(part, label):
                picture(folder / "images" / f"{label}{number:06}.jpg", label, number)
                lines.append(f"{label}{number:06} {title}")
        (folder / f"images_variant_{part}.txt").write_text("\n".join(lines) + "\n")
    (folder / "variants.txt").write_text("\n".join(names) + "\n")
    write_card(cards, name, "fgvc", 'images = "images"\nsplit = "variants.txt"')


WORDNET = ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475")
CLASSNAMES = (
    "n01440764 tench\nn01443537 goldfish\nn01484850 great white shark\nn01491361 tiger shark\nn01494475 ray\n"
)


def fab_imagenet(root: Path, cards: Path, name: str = "fab-imagenet") -> None:
    """ImageNet: class folders by WordNet id, classnames.txt, the validation folder as test set, no val."""
    for part, where in (("train", "train"), ("test", "val")):
        for label, wordnet in enumerate(WORDNET):
            for number in numbered(part, label):
                picture(root / name / "images" / where / wordnet / f"{wordnet}_{number}.JPEG", label, number)
    (root / name / "classnames.txt").write_text(CLASSNAMES)
    layout = 'split = "classnames.txt"\ntrain = "images/train"\ntest = "images/val"'
    write_card(cards, name, "imagenet", layout, val=0)


def fab_imagenet_v2(root: Path, cards: Path, name: str = "fab-imagenet-v2") -> None:
    """ImageNetV2: class folders by number, test images only."""
    for label in range(5):
        for number in numbered("test", label):
            picture(root / name / "format-val" / str(label) / f"{number}.png", label, number)
    (root / name / "classnames.txt").write_text(CLASSNAMES)
    layout = 'split = "classnames.txt"\ntest = "format-val"'
    write_card(cards, name, "imagenet", layout, train=0, val=0)


def fab_imagenet_a(root: Path, cards: Path, name: str = "fab-imagenet-a") -> None:
    """ImageNet-A: only some of the classes, and a README next to the class folders."""
    for label in (1, 4):
        for number in numbered("test", label):
            picture(root / name / "imagenet-a" / WORDNET[label] / f"{number}.jpg", label, number)
    (root / name / "imagenet-a" / "README.txt").write_text("natural adversarial examples")
    (root / name / "classnames.txt").write_text(CLASSNAMES)
    layout = 'split = "classnames.txt"\ntest = "imagenet-a"'
    write_card(cards, name, "imagenet", layout, classes=2, train=0, val=0, test=8)


def fab_folder(root: Path, cards: Path, name: str = "fab-folder") -> None:
    """A user's own data set: a card and plain folders."""
    for part in COUNTS:
        for label, title in enumerate(CLASSES):
            for number in numbered(part, label):
                picture(root / name / part / title / f"photo {number}.png", label, number)
    layout = 'train = "train"\nval = "val"\ntest = "test"\n\n[names]\nemu = "emu bird"'
    write_card(cards, name, "folder", layout)


ALL = {
    "fab-json": fab_json,
    "fab-mlai": fab_mlai,
    "fab-fgvc": fab_fgvc,
    "fab-imagenet": fab_imagenet,
    "fab-imagenet-v2": fab_imagenet_v2,
    "fab-imagenet-a": fab_imagenet_a,
    "fab-folder": fab_folder,
}


def fabricate(root: Path, cards: Path, names: tuple[str, ...] = tuple(ALL)) -> None:
    """Write these data sets under `root` and their cards into `cards` (for BENCH_DATASETS)."""
    cards.mkdir(parents=True, exist_ok=True)
    for name in names:
        ALL[name](root, cards)
