"""A card: the description of one data set, a TOML file in datasets/ named after the data set."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

from bench.errors import brief, did_you_mean
from bench.plugins import DATASETS
from bench.toml import read_toml

SPLITS = ("train", "val", "test")
READERS = ("mini", "json", "fgvc", "imagenet", "folder")


@dataclass(frozen=True)
class Counts:
    """The number of images in each split; 0 for a split that the data set does not have.

    unconfirmed: splits whose counts no published source confirms; these counts are shown and not enforced.
    sha256: for the reader "mini", split -> sha256 of its images and labels.
    """

    test: int
    train: int = 0
    val: int = 0
    unconfirmed: tuple[str, ...] = ()
    sha256: dict[str, str] = field(default_factory=dict)

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
    """Where a data set's files are under the data root, as in CoOp's DATASETS.md.

    All paths but `folder` start in `folder`. The readers "imagenet" and "folder" find the class folders of
    each split in `train`, `val` and `test`; the reader "json" uses `test` if the split file lists no test
    images.
    """

    folder: str  # under the data root
    split: str = ""  # the split file, or classnames.txt (reader "imagenet")
    sha256: str = ""  # of the split file; empty if nobody has published it
    ids: str = ""  # reader "imagenet": sha256 of the folder names that `split` lists, one a line, in order
    images: str = ""  # the folder in which the paths of a split file start
    train: str = ""
    val: str = ""
    test: str = ""
    ignore: tuple[str, ...] = ()  # folders beside the class folders that are not classes

    def __post_init__(self) -> None:
        for name in ("folder", "images", "split", *SPLITS):
            if not inside(getattr(self, name)):
                raise ValueError(
                    f"layout.{name} is {getattr(self, name)!r}, but must stay inside the data root"
                )
        for name in ("sha256", "ids"):
            if (digest := getattr(self, name)) and not re.fullmatch("[0-9a-f]{64}", digest):
                raise ValueError(f"layout.{name} must be 64 hexadecimal digits")


def spoken(name: str) -> str:
    """A class name as a text tower reads it: spaces for underscores, one at a time, and small letters."""
    return " ".join(name.replace("_", " ").split()).lower()


def inside(path: str) -> bool:
    """Whether a relative path stays inside the folder in which it starts; links are not followed.

    What no system takes as a name, a NUL or half a surrogate pair, is not inside either.
    """
    parts = path.replace("\\", "/").split("/")
    unnamed = any(one == "\0" or "\ud800" <= one <= "\udfff" for one in path)
    return not path.startswith(("/", "\\")) and ".." not in parts and ":" not in parts[0] and not unnamed


@dataclass(frozen=True)
class Download:
    """One file to download. `bench data get` does it if `sha256` is known and `manual` is empty."""

    what: str  # "images", "split file", ...
    url: str
    to: str  # the folder under the data root that the file is unpacked into (or put into, without `unpack`)
    sha256: str = ""  # as published; empty if nobody has published it
    unpack: bool = True
    strip: str = ""  # unpack only the files under this folder of the archive, with paths relative to it
    manual: str = ""  # what the user has to do, if a script cannot do it

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
        """Whether `bench data get` can download the file without the user."""
        return bool(self.sha256) and not self.manual


@dataclass(frozen=True)
class Card:
    """The description of a data set; datasets/README.md has a commented example."""

    name: str  # the file's name without .toml
    title: str  # as in the papers' tables
    reader: str  # one of READERS
    template: str  # the hand prompt, with one {} for the class name
    # The class names in label order; or their number, and then the split file has the names.
    classes: int | tuple[str, ...]
    images: Counts
    licence: str
    sources: tuple[str, ...]
    citation: str = ""
    version: int = 1
    notes: str = ""
    layout: Layout | None = None  # all readers except "mini" need it
    download: tuple[Download, ...] = ()
    names: dict[str, str] = field(default_factory=dict)  # reader "folder": folder name -> class name
    shared_names: tuple[str, ...] = ()  # names that two classes have in the original data set
    shuffled: bool = False  # the official loader shuffles before the few-shot draw: see split.loader_shuffles

    def __post_init__(self) -> None:
        if self.reader not in READERS:
            raise ValueError(f"no reader {self.reader!r}. {did_you_mean(self.reader, READERS)}")
        if self.template.count("{}") != 1 or set("{}") & set(self.template.replace("{}", "")):
            raise ValueError(
                f"template {self.template!r} must hold one {{}} for the class name and no other brace"
            )
        if not (self.title.isprintable() and self.title.strip() and self.template.isprintable()):
            raise ValueError("title and template have to be lines of text")
        if self.n_classes < 2:
            raise ValueError("a data set needs at least 2 classes")
        if not isinstance(self.classes, int):
            for name in self.classes:
                if not (name.isprintable() and spoken(name)):
                    raise ValueError(f"the class name {brief(name)} has to be a line of text")
            said = [spoken(name) for name in self.classes]
            twice = {name for name, n in Counter(said).items() if n > 1} - set(map(spoken, self.shared_names))
            if twice:
                raise ValueError(
                    f"class names appear twice, as a text tower reads them: {', '.join(sorted(twice))}"
                )
        if self.reader == "mini" and isinstance(self.classes, int):
            raise ValueError("reader 'mini' needs `classes` as a list of names in label order")
        if self.reader != "mini" and self.images.sha256:
            raise ValueError("images.sha256 is only for reader 'mini': remove it")
        if self.reader != "mini" and self.layout is None:
            raise ValueError(f"reader {self.reader!r} needs a [layout] table with at least `folder`")

    @property
    def n_classes(self) -> int:
        """The number of classes, C."""
        return self.classes if isinstance(self.classes, int) else len(self.classes)

    @property
    def hash(self) -> str:
        """sha256 of everything that decides a result. Titles, licences and links can be corrected freely."""
        facts = asdict(self)
        for prose in ("title", "licence", "sources", "citation", "notes", "download", "images"):
            del facts[prose]
        if self.layout is not None:
            del facts["layout"]["ids"]  # it refuses wrong files and decides no number
        if not self.shuffled:
            del facts["shuffled"]  # cards that do not need it keep the hashes that they had before it existed
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def card_names() -> list[str]:
    """The names of all cards, sorted."""
    return list(DATASETS.files())


def load_card(name: str) -> Card:
    """The card called `name`. Raises UserError for an unknown name or a malformed card."""
    path = DATASETS.file(name)
    found = path.stat()
    return _load(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=256)
def _load(path: Path, mtime: int, size: int) -> Card:
    return read_toml(path, Card, name=path.stem)


def joint_hash(hashes: Iterable[str]) -> str:
    """One hash for several hashes; a single one is returned unchanged."""
    parts = list(hashes)
    return parts[0] if len(parts) == 1 else hashlib.sha256(" ".join(parts).encode()).hexdigest()
