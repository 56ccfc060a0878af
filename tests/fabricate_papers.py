"""The papers' data sets at full size: every folder, split file and image name that their cards list.

All images of a data set are hard links to a few files with the same picture. So 1.9 million images take half
a minute and no disk space.
"""

import json
import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from PIL import Image

from bench.data.card import SPLITS, Card, load_card

LINKS = 60_000  # hard links to one file; ext4 allows 65,000


class Pictures:
    """Puts a picture at every path that is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count, self.file = folder, 0, folder
        folder.mkdir(parents=True)

    def put(self, path: str) -> None:
        if self.count % LINKS == 0:
            self.file = self.folder / f"{self.count}.jpg"
            Image.new("RGB", (40, 30), (90, 120, 60)).save(self.file)
        os.link(self.file, path)
        self.count += 1


def fabricate(root: Path, names: tuple[str, ...]) -> None:
    """Write these data sets under `root`, as their cards in datasets/ describe them."""
    for name in names:
        card = load_card(name)
        assert card.layout is not None
        folder = root / card.layout.folder
        folder.mkdir(parents=True)
        pictures = Pictures(root / ".pictures" / name)
        WRITERS[card.reader](card, folder, pictures)


def shared(card: Card, split: str) -> Iterator[tuple[int, int]]:
    """(label, number of images) for each class, so that the split has as many images as the card says."""
    total, classes = getattr(card.images, split), card.n_classes
    for label in range(classes):
        yield label, total // classes + (label < total % classes)


def class_name(card: Card, label: int) -> str:
    return f"class_{label:03}" if isinstance(card.classes, int) else card.classes[label]


def write_json(card: Card, folder: Path, pictures: Pictures) -> None:
    layout, content = card.layout, {}
    assert layout is not None
    for split in SPLITS:
        rows = []
        listed = split != "test" or not layout.test
        for label, count in shared(card, split):
            name = class_name(card, label)
            inside = f"{layout.images if listed else layout.test}/{name}".strip("/")
            (folder / inside).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pictures.put(f"{folder}/{inside}/{split}_{i:05}.jpg")
                rows.append([f"{name}/{split}_{i:05}.jpg", label, name])
        if listed:
            content[split] = rows
    (folder / layout.split).write_text(json.dumps(content))


def write_fgvc(card: Card, folder: Path, pictures: Pictures) -> None:
    assert card.layout is not None
    (folder / card.layout.images).mkdir()
    names = [f"Model {label}/{card.n_classes}" for label in range(card.n_classes)]
    (folder / card.layout.split).write_text("\n".join(names))
    number = 0
    for split in SPLITS:
        lines = []
        for label, count in shared(card, split):
            for _ in range(count):
                number += 1
                pictures.put(f"{folder}/{card.layout.images}/{number:07}.jpg")
                lines.append(f"{number:07} {names[label]}")
        (folder / f"images_variant_{split}.txt").write_text("\n".join(lines))


def wordnet_ids() -> list[str]:
    """The WordNet ids of ImageNet's 1,000 classes, in order, as timm has them."""
    return (resources.files("timm") / "data/_info/imagenet_synsets.txt").read_text().split()


def write_imagenet(card: Card, folder: Path, pictures: Pictures) -> None:
    layout = card.layout
    assert layout is not None
    names = wordnet_ids()
    (folder / layout.split).write_text("".join(f"{name} thing {i}\n" for i, name in enumerate(names)))
    for split in SPLITS:
        where = getattr(layout, split)
        for label, count in shared(card, split) if where else ():
            own = str(label) if card.name == "imagenetv2" else names[label]
            (folder / where / own).mkdir(parents=True)
            for i in range(count):
                pictures.put(f"{folder}/{where}/{own}/{own}_{i}.JPEG")


WRITERS = {"json": write_json, "fgvc": write_fgvc, "imagenet": write_imagenet}
