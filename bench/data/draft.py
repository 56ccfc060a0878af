"""Drafts the card of a user's own folder of images, and divides the images once.

The division is written to a split file whose sha256 the card names, so that everybody who has both has the
same train, validation and test images.
"""

import hashlib
import json
import os
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.card import SPLITS, Card, Counts, Layout
from bench.data.readers import IMAGES, SYSTEM, Entry, Listing, read
from bench.errors import UserError, brief
from bench.files import refusing
from bench.plugins import DATASETS
from bench.words import counted

if TYPE_CHECKING:
    from bench.data.inspection import Findings, Progress

TRAIN, VAL = 0.5, 0.2  # shares of each class, as CoOp divides DTD and the other sets without a split
SPLIT = "split_{}.json"  # beside the images
LINK = "images"


@dataclass(frozen=True)
class Wish:
    """What the user says about the images; the rest is read from the folder."""

    folder: Path
    name: str
    template: str = "a photo of a {}."
    title: str = ""
    licence: str = "not stated"


@dataclass(frozen=True)
class Drafted:
    """A card that was written, the file that it is in, and what an inspection of its images found."""

    card: Card
    path: Path
    findings: "Findings"
    skipped: tuple[str, ...] = ()  # what in the folder is no part of the data set, one line for each reason


def draft(wish: Wish, root: Path, progress: "Progress" = lambda done, total: None) -> Drafted:
    """Write the card and the split file of a folder of images, and check every image.

    root: the data folder. If the images are outside it, a link in it leads to them; no image is moved.
    Raises UserError, and leaves no file, if the name is taken or something is wrong with the images.
    """
    from bench.data.inspection import inspect  # imports torch, which `bench data list` does without

    path = _new_card(wish.name)
    with _in_the_owners_words(), _undone_if_it_fails() as made:
        listing = listed(wish.folder)
        place, images = _place(wish, root, made)
        text = split_text(listing, images)
        split = root / place / SPLIT.format(wish.name)
        _write(split, text, made)
        digest = hashlib.sha256(text.encode()).hexdigest()
        layout = Layout(folder=place, split=split.name, sha256=digest, images=images)
        card = _card(wish, listing, layout)
        findings = inspect(card, root, progress)
        if findings.problems:
            raise UserError("\n".join(findings.problems[:20]))
        _write(path, card_text(card), made)
    return Drafted(card, path, findings, tuple(skipped(wish.folder)))


def suggested(folder: Path) -> str:
    """A data set's name from its folder's: 'My Mushrooms' -> 'my-mushrooms'."""
    return re.sub(r"[^a-z0-9_]+", "-", folder.resolve().name.lower()).strip("-_")


def _new_card(name: str) -> Path:
    """The path of the new card. Raises UserError for a name that is no name, or that is taken."""
    if not re.fullmatch("[a-z0-9][a-z0-9_-]*", name):
        raise UserError(
            f"{brief(name)} cannot be a data set's name: use small letters, digits, - and _ (give --name)."
        )
    if taken := DATASETS.found().get(name):
        raise UserError(f"a data set {name!r} exists already: {taken[0]}. Choose another --name.")
    return DATASETS.place / f"{name}.toml"


# The images


def listed(folder: Path) -> Listing:
    """The images of a folder, divided. Raises UserError if the folder has no such form.

    With the folders train and test (and val) the division is theirs. Otherwise each folder is a class, and
    its images are divided here.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: name the folder of your images.")
    official = _official(folder)
    if not official:
        return _divided(_read(folder, {"train": "."})["train"])
    return _read(folder, official)


def _official(folder: Path) -> dict[str, str]:
    """The folders of a division that the owner has made; {} if there is none."""
    found = {split: split for split in SPLITS if (folder / split).is_dir()}
    return found if {"train", "test"} <= set(found) else {}


def skipped(folder: Path) -> Iterator[str]:
    """What in a folder of images is no part of the data set: a line for each reason, with an example."""
    found: dict[str, list[str]] = {}
    official = _official(folder)
    for where in official or ("",):
        for path, why in _left_out(folder / where):
            found.setdefault(why, []).append(path.relative_to(folder).as_posix())
    if official:
        beside = [one.name for one in sorted(folder.iterdir()) if one.name not in official]
        found |= {f"beside {' and '.join(official)}": beside} if beside else {}
    for why, paths in found.items():
        example = f"{'e.g. ' * (len(paths) > 1)}{brief(paths[0])}"
        yield f"skipped {counted(len(paths), 'file or folder', 'files or folders')} {why}: {example}"


def _left_out(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files and folders that no reader takes, and why. folder: holds a folder for each class."""
    for one in sorted(folder.iterdir()):
        if one.name.startswith("."):
            yield one, "with a name that begins with a dot"
        elif one.name in SYSTEM:
            yield one, "that a system has made"
        elif not one.is_dir():
            yield one, "outside the folders of the classes"
        else:
            yield from ((inner, why) for inner in sorted(one.iterdir()) if (why := _not_taken(inner)))


def _not_taken(path: Path) -> str:
    """Why what is in the folder of a class is no image; "" if it is one."""
    if path.name.startswith("."):
        return "with a name that begins with a dot"
    if not path.name.lower().endswith(IMAGES):
        return (
            "inside the folder of a class"
            if path.is_dir()
            else f"whose ending is none of {', '.join(IMAGES)}"
        )
    return ""


def _read(folder: Path, where: dict[str, str]) -> Listing:
    """The images in the class folders of each split, as the reader of plain folders finds them."""
    home = folder.resolve()
    train, val, test = (where.get(split, "") for split in SPLITS)
    layout = Layout(home.name, train=train, val=val, test=test)
    card = Card(home.name, home.name, "folder", "{}", 2, Counts(test=1), "", (), layout=layout)
    _, listing = read(card, home.parent)
    plain = {s: [one._replace(path=one.path.removeprefix("./")) for one in listing[s]] for s in SPLITS}
    if len({one.label for entries in plain.values() for one in entries}) < 2:
        raise UserError(f"{folder} needs at least 2 folders, one for each class, with the images in them.")
    return plain


def _divided(images: list[Entry]) -> Listing:
    """Train, validation and test images of each class, drawn by a generator that depends on its name alone.

    A class has at least one image to train on and one to test with. Raises UserError where it has but one.
    """
    found: Listing = {split: [] for split in SPLITS}
    for name in dict.fromkeys(one.name for one in images):
        group = [one for one in images if one.name == name]
        if len(group) < 2:
            raise UserError(f"class {brief(name)} has {counted(len(group), 'image')}, but needs at least 2.")
        random.Random(name).shuffle(group)
        train = min(max(1, round(TRAIN * len(group))), len(group) - 1)
        val = min(round(VAL * len(group)), len(group) - train - 1)
        found["train"] += group[:train]
        found["val"] += group[train : train + val]
        found["test"] += group[train + val :]
    return found


# What a reader of a card advises, and what the owner of a folder can do, who has no card and no archive yet.
ADVICE = {
    "add its images, remove the folder, or list it in the card's layout.ignore": (
        "add its images, or remove it"
    ),
    "restore it from the data set's archive": "replace the image, or remove it",
    "correct one of them, or, if the data set has both, list the name in the card's shared_names": (
        "rename one of the folders"
    ),
}


@contextmanager
def _in_the_owners_words() -> Iterator[None]:
    """Raises a UserError of the block again, with advice for the owner of a folder of images."""
    try:
        yield
    except UserError as error:
        said = str(error)
        for theirs, ours in ADVICE.items():
            said = said.replace(theirs, ours)
        raise UserError(said) from error


# The files


def split_text(listing: Listing, images: str) -> str:
    """A split file as CoOp's: lists of [path, label, class name] under train, val and test."""
    rows = {split: [[one.path, one.label, one.name] for one in listing[split]] for split in SPLITS}
    given = {split: rows[split] for split in SPLITS if rows[split]}
    return json.dumps(given, indent=0, ensure_ascii=False) + "\n"


def _card(wish: Wish, listing: Listing, layout: Layout) -> Card:
    classes = len({one.label for split in SPLITS for one in listing[split]})
    train, val, test = (len(listing[split]) for split in SPLITS)
    images = Counts(test, train, val)
    title = wish.title or wish.folder.resolve().name
    try:
        return Card(wish.name, title, "json", wish.template, classes, images, wish.licence, (), layout=layout)
    except ValueError as error:
        raise UserError(f"{wish.name}: {error}") from error


def card_text(card: Card) -> str:
    """The card as TOML. A string of JSON is one of TOML, too."""
    assert card.layout is not None
    counts = "".join(f"{split} = {getattr(card.images, split)}\n" for split in SPLITS)
    layout = {name: getattr(card.layout, name) for name in ("folder", "images", "split", "sha256")}
    said = {name: getattr(card, name) for name in ("title", "reader", "template", "classes", "licence")}
    return (
        "# The division into train, val and test is in the split file, and its sha256 is below.\n"
        f"{_lines(said)}sources = []\n\n[images]\n{counts}\n[layout]\n{_lines(layout)}"
    )


def _lines(values: dict[str, object]) -> str:
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items())


def _place(wish: Wish, root: Path, made: list[Path]) -> tuple[str, str]:
    """The data set's folder under the data folder, and in it the folder that the images' paths start from."""
    inside = os.path.relpath(wish.folder.resolve(), root.resolve())
    if not inside.startswith("..") and inside != ".":
        return Path(inside).as_posix(), ""
    link = root / wish.name / LINK
    with refusing(f"cannot make the link {link}", "Move the images' folder into the data folder."):
        _mkdir(link.parent, made)
        link.symlink_to(wish.folder.resolve(), target_is_directory=True)
        made.append(link)
    return wish.name, LINK


def _write(path: Path, text: str, made: list[Path]) -> None:
    """Write a new file. Raises UserError if there is one already."""
    with refusing(f"cannot write {path}", "Remove it, or choose another --name."):
        _mkdir(path.parent, made)
        with open(path, "x", encoding="utf-8", newline="\n") as file:
            made.append(path)
            file.write(text)


def _mkdir(folder: Path, made: list[Path]) -> None:
    if not folder.is_dir():
        _mkdir(folder.parent, made)
        folder.mkdir()
        made.append(folder)


@contextmanager
def _undone_if_it_fails() -> Iterator[list[Path]]:
    """A list of files, links and folders, which are removed if the block fails."""
    made: list[Path] = []
    try:
        yield made
    except BaseException:
        for path in reversed(made):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        raise
