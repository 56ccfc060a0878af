"""Readers: each reads the split of a data set from its files on disk, one function per file format.

A reader takes a card and the data set's folder. For train, val and test it returns the images, each with its
path (relative to the folder), label and class name, in the order of the official loaders. listing.py checks
whether they make sense. No reader makes up a split.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from bench.data.card import SPLITS, Card, Layout
from bench.errors import UserError, brief
from bench.files import read_bytes, read_json, read_text, stand_in


class Entry(NamedTuple):
    """One image, as a split file lists it."""

    path: str  # relative to the data set's folder, "/" between parts
    label: int
    name: str  # of the class


Listing = dict[str, list[Entry]]  # split -> its images
# Folders that systems put beside others: macOS archives, Synology, QNAP, Windows, file systems, notebooks.
SYSTEM = (
    "__MACOSX", "@eaDir", "@Recycle", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information",
    "lost+found", "__pycache__",
)  # fmt: skip
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp")


def read(card: Card, root: Path) -> tuple[Path, Listing]:
    """The data set's folder and its listing. Raises UserError for missing or malformed files."""
    layout = _layout(card)
    folder = root / layout.folder
    if not folder.is_dir():
        raise UserError(
            f"{card.title}: there is no folder {folder}: set --root or BENCH_DATA to your data folder, "
            f"or download the data set with `bench data get {card.name}`."
        )
    return folder, _READERS[card.reader](card, folder)


def split_file(card: Card, folder: Path) -> Path:
    """The path of the file that defines the split or the class names. Raises UserError if it is missing."""
    layout = _layout(card)
    path = folder / layout.split
    if not layout.split:
        raise UserError(
            f"{card.name}: reader {card.reader!r} needs layout.split in datasets/{card.name}.toml."
        )
    if not path.is_file():
        links = [d.url for d in card.download if layout.split in d.what]
        where = links[0] if links else (card.sources or ("see the card",))[0]
        raise UserError(
            f"{card.title}: {layout.split} is missing. Its place is {path}; download it from {where} "
            f"(`bench data get {card.name}` prints every step). No other split can replace it."
        )
    if layout.sha256 and hashlib.sha256(read_bytes(path)).hexdigest() != layout.sha256:
        raise UserError(
            f"{path} is not the published file: its sha256 differs from the card's. Download it again."
        )
    return path


def _json(card: Card, folder: Path) -> Listing:
    """`split_zhou_*.json`, `split_mlai_*.json`: train, val and test as lists of [path, label, class name]."""
    path, layout = split_file(card, folder), _layout(card)
    content = read_json(path)
    wanted = [split for split in SPLITS if getattr(card.images, split)]
    if not isinstance(content, dict) or not set(content) <= set(SPLITS):
        raise UserError(f"{path} may have only the keys train, val and test: download it again.")
    listing = {
        split: _rows(path, split, content[split], layout.images) for split in SPLITS if split in content
    }
    if layout.test and "test" not in listing and listing.get("train"):
        names = {entry.name: entry.label for entry in listing["train"]}
        listing["test"] = _class_folders(card, folder, layout.test, names, {})
    for split in wanted:
        if split not in listing:
            raise UserError(
                f"{path} has no key {split!r}: it is not the split file of {card.title}. Download it again."
            )
    return {split: listing.get(split, []) for split in SPLITS}


def _rows(path: Path, split: str, rows: object, prefix: str) -> list[Entry]:
    if not isinstance(rows, list):
        raise UserError(f"{path}: {split!r} must be a list: download the file again.")
    entries = []
    for i, row in enumerate(rows):
        ok = isinstance(row, list) and len(row) == 3 and isinstance(row[0], str) and isinstance(row[2], str)
        if not ok or type(row[1]) is not int:
            raise UserError(
                f"{path}: {split}[{i}] is {brief(row)}, but must be [path, label, class name]: download the "
                "file again."
            )
        # A file that Windows wrote has backslashes. PurePosixPath keeps an absolute path absolute, so that
        # listing.py can refuse it.
        entries.append(Entry(str(PurePosixPath(prefix, row[0].replace("\\", "/"))), row[1], row[2]))
    return entries


def _fgvc(card: Card, folder: Path) -> Listing:
    """FGVC-Aircraft: variants.txt names the classes, images_variant_{train,val,test}.txt the images."""
    variants = split_file(card, folder)
    names = [line.strip() for line in read_text(variants).split("\n") if line.strip()]
    label = {name: i for i, name in enumerate(names)}
    listing: Listing = {}
    for split in SPLITS:
        path = folder / f"images_variant_{split}.txt"
        if not path.is_file():
            raise UserError(
                f"{card.title}: {path} is missing. It is in the archive of the images: unpack the archive "
                "again."
            )
        listing[split] = []
        for number, line in enumerate(read_text(path).split("\n"), 1):
            if not line.strip():
                continue
            image, name = _two(line)
            if name not in label:
                raise UserError(
                    f"{path}, line {number}: {brief(name)} is not a class of {variants.name}: unpack the "
                    "archive again."
                )
            listing[split].append(Entry(f"{_layout(card).images}/{image}.jpg", label[name], name))
    return listing


def _imagenet(card: Card, folder: Path) -> Listing:
    """Class folders named by WordNet id (in ImageNetV2 by class number); class names in classnames.txt.

    Labels follow the sorted folder names, as in CoOp. Images are sorted by name. CoOp takes the order of the
    file system, which differs between machines, so its few-shot draws of ImageNet cannot be repeated.
    """
    path = split_file(card, folder)
    names = _class_names(path)
    layout = _layout(card)
    if layout.ids and hashlib.sha256("".join(f"{one}\n" for one in names).encode()).hexdigest() != layout.ids:
        raise UserError(
            f"{path} lists other classes than {card.title}'s file, or in another order: its {len(names)} "
            "folder names do not have the sha256 of the card. Take the file that the card names."
        )
    where = {split: getattr(layout, split) for split in SPLITS if getattr(layout, split)}
    found = {name for part in where.values() for name in _folders(folder / part, layout.ignore, card)}
    if all(name.isdigit() for name in found):
        names = {str(i): name for i, name in enumerate(names.values())}
        order = sorted(found, key=int)
    else:
        order = sorted(found)
    nameless = sorted(found - set(names))
    if nameless:
        raise UserError(
            f"{path} has no class name for the folder {brief(nameless[0])}: download the file again, "
            f"or remove the folder if it is not a class."
        )
    label = {name: i for i, name in enumerate(order)}
    return {s: _class_folders(card, folder, where[s], label, names) if s in where else [] for s in SPLITS}


def _class_names(path: Path) -> dict[str, str]:
    """Folder name -> class name. Raises UserError for a line without a name, and for lists of other kinds."""
    names: dict[str, str] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        folder, name = _two(line)
        if folder and not name:
            raise UserError(
                f"{path}, line {number}: {brief(line.strip())} has no class name after its folder name: "
                f"{stand_in(read_bytes(path)) or 'download the file again'}."
            )
        if names.setdefault(folder, name) != name:
            raise UserError(f"{path}, line {number}: {brief(folder)} has two class names: correct the file.")
    names.pop("", None)
    if not names:
        raise UserError(f"{path} is empty: download the file again.")
    # Two other lists of ImageNet's classes go under this name, with lines such as 'n01440764 1 tench' and
    # 'n01440764 tench, Tinca tinca'.
    firsts = [name.split()[0] for name in names.values()]
    if all(one.isdecimal() for one in firsts) and len(set(firsts)) == len(firsts):
        raise UserError(
            f"{path} has a number before every class name, e.g. {brief(names[next(iter(names))])}, so it is "
            "another list: take the file that the card names, with a folder and a name on each line."
        )
    synonyms = [name for name in names.values() if ", " in name]
    if len(synonyms) > len(names) / 4:
        raise UserError(
            f"{path} has synonyms in its class names, e.g. {brief(synonyms[0])}, so it is another list: take "
            "the file that the card names, with one name for each class."
        )
    return names


def _two(line: str) -> tuple[str, str]:
    """What stands before and after the first blank or tab of a line; "" for what is not there."""
    first, *rest = line.split(None, 1) or [""]
    return first, rest[0].strip() if rest else ""


def _folder(card: Card, folder: Path) -> Listing:
    """Plain folders: layout.{train,val,test}/<class>/<image>; [names] can give a folder another class name.

    Labels follow the card's list of classes, or, if it has none, the sorted folder names of all splits.
    """
    layout = _layout(card)
    where = {split: getattr(layout, split) for split in SPLITS if getattr(layout, split)}
    found = sorted({name for part in where.values() for name in _folders(folder / part, layout.ignore, card)})
    unused = sorted(set(card.names) - set(found))
    if unused:
        raise UserError(
            f"{card.name}: [names] has {unused[0]!r}, but there is no folder of this name: correct the card."
        )
    names = {name: card.names.get(name, name) for name in found}
    order = list(names.values()) if isinstance(card.classes, int) else list(card.classes)
    unknown = [name for name, title in names.items() if title not in order]
    if unknown:
        raise UserError(
            f"{card.name}: the folder {unknown[0]!r} is not a class of the card: rename the folder, "
            f"give it a class in [names], or list it in layout.ignore."
        )
    label = {name: order.index(title) for name, title in names.items()}
    return {s: _class_folders(card, folder, where[s], label, names) if s in where else [] for s in SPLITS}


def _class_folders(
    card: Card, folder: Path, where: str, label: dict[str, int], names: dict[str, str]
) -> list[Entry]:
    """The images under folder/where/<class folder>, sorted by class folder and name."""
    present = _folders(folder / where, _layout(card).ignore, card)
    if not present and _images(folder / where):
        raise UserError(
            f"{card.title}: {folder / where} holds images, but no class folders: move each image into a "
            "folder of its class. (ImageNet's validation images: by the script valprep.sh, which the page of "
            "soumith/imagenetloader.torch has.)"
        )
    strangers = sorted(set(present) - set(label))
    if strangers:
        raise UserError(
            f"{card.title}: the folder {folder / where / strangers[0]} is not a class: remove it, or "
            "correct the card."
        )
    images = {name: _images(folder / where / name) for name in present}
    empty = [name for name in present if not images[name]]
    if empty:
        raise UserError(
            f"{card.title}: the folder {folder / where / empty[0]} holds no images: add its images, remove "
            "the folder, or list it in the card's layout.ignore."
        )
    return [
        Entry(f"{where}/{name}/{image}", label[name], names.get(name, name))
        for name in sorted(present, key=lambda name: label[name])
        for image in images[name]
    ]


def _folders(path: Path, ignore: Iterable[str], card: Card) -> list[str]:
    if not path.is_dir():
        raise UserError(
            f"{card.title}: there is no folder {path}: `bench data get {card.name}` says how to get its "
            "images."
        )
    with os.scandir(path) as entries:
        skipped = {*SYSTEM, *ignore}
        return sorted(
            e.name for e in entries if e.is_dir() and not e.name.startswith(".") and e.name not in skipped
        )


def _images(path: Path) -> list[str]:
    with os.scandir(path) as entries:
        return sorted(
            e.name for e in entries if e.name.lower().endswith(IMAGES) and not e.name.startswith(".")
        )


def _layout(card: Card) -> Layout:
    assert card.layout is not None  # Card has checked this for all readers except "mini"
    return card.layout


_READERS: dict[str, Callable[[Card, Path], Listing]] = {
    "json": _json,
    "fgvc": _fgvc,
    "imagenet": _imagenet,
    "folder": _folder,
}
