"""A card: one data set's description, one TOML file in datasets/ named after the data set."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

from bench.errors import did_you_mean
from bench.plugins import DATASETS
from bench.toml import read_toml

SPLITS = ("train", "val", "test")
READERS = ("mini", "json", "fgvc", "imagenet", "folder")


@dataclass(frozen=True)
class Counts:
    """Images in each split; a split the data set does not have is 0."""

    test: int
    train: int = 0
    val: int = 0
    unconfirmed: tuple[str, ...] = ()  # counts that no published source confirms: shown, not enforced
    sha256: dict[str, str] = field(default_factory=dict)  # reader "mini": {split: of its images and labels}

    def __post_init__(self) -> None:
        if min(self.train, self.val) < 0 or self.test < 1:
            raise ValueError("image counts cannot be negative, and `test` must be at least 1")
        for name in self.unconfirmed:
            if name not in SPLITS:
                raise ValueError(f"images.unconfirmed names {name!r}. {did_you_mean(name, SPLITS)}")
        for name, digest in self.sha256.items():
            if name not in SPLITS:
                raise ValueError(f"images.sha256 names {name!r}. {did_you_mean(name, SPLITS)}")
            if not re.fullmatch("[0-9a-f]{64}", digest):
                raise ValueError(f"images.sha256.{name} must be 64 hexadecimal digits")


@dataclass(frozen=True)
class Layout:
    """Where a data set lies under the data root, as in CoOp's DATASETS.md."""

    folder: str  # under the data root
    split: str = ""  # under `folder`: the split file, or classnames.txt (reader "imagenet")
    sha256: str = ""  # of the split file; empty where nobody has published one
    images: str = ""  # under `folder`: where the paths in a split file start
    train: str = ""  # under `folder`: readers "imagenet" and "folder" find each split's class folders here
    val: str = ""
    test: str = ""  # reader "json" too, for a split file that lists no test images
    ignore: tuple[str, ...] = ()  # entries beside the class folders that are no classes

    def __post_init__(self) -> None:
        for name in ("folder", "images", "split", *SPLITS):
            if not inside(getattr(self, name)):
                raise ValueError(
                    f"layout.{name} is {getattr(self, name)!r}, but must stay inside the data root"
                )
        if self.sha256 and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError("layout.sha256 must be 64 hexadecimal digits")


def inside(path: str) -> bool:
    """Whether a relative path, taken literally, stays inside the folder it starts from."""
    parts = path.replace("\\", "/").split("/")
    return not path.startswith(("/", "\\")) and ".." not in parts and ":" not in parts[0]


@dataclass(frozen=True)
class Download:
    """One file of the data set. `bench data get` fetches it where `sha256` is known and `manual` is empty."""

    what: str  # "images", "split file", ...
    url: str
    to: str  # folder under the data root to unpack it into (or to put it into, if `unpack` is false)
    sha256: str = ""  # as published; empty: nobody has published one
    unpack: bool = True
    strip: str = ""  # unpack only what lies under this folder of the archive, without it
    manual: str = ""  # what a person has to do, where a script cannot

    def __post_init__(self) -> None:
        for name in ("to", "strip"):
            if not inside(getattr(self, name)):
                raise ValueError(
                    f"download.{name} is {getattr(self, name)!r}, but must stay inside its folder"
                )
        if self.sha256 and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"the sha256 of {self.url} must be 64 hexadecimal digits")

    @property
    def automatic(self) -> bool:
        return bool(self.sha256) and not self.manual


@dataclass(frozen=True)
class Card:
    """A data set's description; datasets/README.md has a commented example."""

    name: str  # the file's stem
    title: str  # as in the papers' tables
    reader: str  # one of READERS
    template: str  # hand prompt with one {} for the class name
    classes: int | tuple[str, ...]  # how many (names then come from the split) or the names in label order
    images: Counts
    licence: str
    sources: tuple[str, ...]
    citation: str = ""
    version: int = 1
    notes: str = ""
    layout: Layout | None = None  # every reader but "mini" needs it
    download: tuple[Download, ...] = ()
    names: dict[str, str] = field(default_factory=dict)  # reader "folder": folder name -> class name
    shared_names: tuple[str, ...] = ()  # class names that two classes carry in the source itself
    shuffled: bool = False  # the official loader shuffles before the few-shot draw: split.loader_shuffles

    def __post_init__(self) -> None:
        if self.reader not in READERS:
            raise ValueError(f"no reader {self.reader!r}. {did_you_mean(self.reader, READERS)}")
        if self.template.count("{}") != 1 or set("{}") & set(self.template.replace("{}", "")):
            raise ValueError(
                f"template {self.template!r} must hold one {{}} for the class name and no other brace"
            )
        if self.n_classes < 2:
            raise ValueError("a data set needs at least 2 classes")
        if not isinstance(self.classes, int):
            twice = {name for name in self.classes if self.classes.count(name) > 1} - set(self.shared_names)
            if twice:
                raise ValueError(f"class names appear twice: {', '.join(sorted(twice))}")
        if self.reader == "mini" and isinstance(self.classes, int):
            raise ValueError("reader 'mini' needs `classes` as a list of names in label order")
        if self.reader != "mini" and self.images.sha256:
            raise ValueError("images.sha256 is for reader 'mini' alone")
        if self.reader != "mini" and self.layout is None:
            raise ValueError(f"reader {self.reader!r} needs a [layout] table with at least `folder`")

    @property
    def n_classes(self) -> int:
        """How many classes, C."""
        return self.classes if isinstance(self.classes, int) else len(self.classes)

    @property
    def hash(self) -> str:
        """sha256 of what decides a result: not of titles, licences or links, free to be corrected."""
        facts = asdict(self)
        for prose in ("title", "licence", "sources", "citation", "notes", "download", "images"):
            del facts[prose]
        if not self.shuffled:
            del facts["shuffled"]  # so that the cards which do not need it keep their hashes
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def card_names() -> list[str]:
    """The names of all cards, sorted."""
    return list(DATASETS.files())


def load_card(name: str) -> Card:
    """The card called `name`. Raises UserError for an unknown name or a malformed card."""
    path = DATASETS.file(name)
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _load(path: Path, mtime: int) -> Card:
    return read_toml(path, Card, name=path.stem)


def joint_hash(hashes: Iterable[str]) -> str:
    """One hash for one or several; a single one is passed through."""
    parts = list(hashes)
    return parts[0] if len(parts) == 1 else hashlib.sha256(" ".join(parts).encode()).hexdigest()
