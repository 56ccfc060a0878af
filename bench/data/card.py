"""A card: one data set's description, one TOML file in datasets/ named after the data set."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

from bench.datasets import card_files
from bench.errors import UserError, did_you_mean
from bench.toml import read_toml

READERS = ("mini", "json", "fgvc", "imagenet", "folder")


@dataclass(frozen=True)
class Counts:
    """Images in each split; a split the data set does not have is 0."""

    test: int
    train: int = 0
    val: int = 0

    def __post_init__(self) -> None:
        if min(self.train, self.val) < 0 or self.test < 1:
            raise ValueError("image counts cannot be negative, and `test` must be at least 1")


@dataclass(frozen=True)
class Layout:
    """Where a data set lies under the data root, as in CoOp's DATASETS.md."""

    folder: str  # under the data root
    images: str = ""  # under `folder`; paths in the split start here
    split: str = ""  # the split file, under `folder`
    sha256: str = ""  # of the split file; empty where nobody has published one
    train: str = ""  # reader "imagenet" and "folder": sub-folder of `images` for each split, empty: none
    val: str = ""
    test: str = ""
    ignore: tuple[str, ...] = ()  # names in a class folder's parent that are no classes (README.txt, ...)

    def __post_init__(self) -> None:
        for name in ("folder", "images", "split", "train", "val", "test"):
            part = Path(getattr(self, name))
            if part.is_absolute() or ".." in part.parts:
                raise ValueError(f"layout.{name} is {str(part)!r}, but must stay inside the data root")
        if self.sha256 and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError("layout.sha256 must be 64 hexadecimal digits")


@dataclass(frozen=True)
class Download:
    """One file to fetch: `bench data get` does it where `sha256` is known, else it prints what to do."""

    what: str  # "images", "split file", ...
    url: str
    to: str = ""  # folder under the data root to unpack into, or to put a plain file into
    sha256: str = ""  # empty: not verified by us, so fetched by hand
    manual: str = ""  # words for what a script cannot do (log in, accept a licence, rename)


@dataclass(frozen=True)
class Card:
    """A data set's description; see CONTRIBUTING.md for a commented example."""

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
        if self.reader != "mini" and self.layout is None:
            raise ValueError(f"reader {self.reader!r} needs a [layout] table with at least `folder`")

    @property
    def n_classes(self) -> int:
        return self.classes if isinstance(self.classes, int) else len(self.classes)

    @property
    def hash(self) -> str:
        """sha256 of what decides a result: not of titles, licences or links, free to be corrected."""
        facts = asdict(self)
        for prose in ("title", "licence", "sources", "citation", "notes", "download", "images"):
            del facts[prose]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def card_names() -> list[str]:
    """The names of all cards, sorted."""
    return list(card_files())


def load_card(name: str) -> Card:
    """The card called `name`. Raises UserError for an unknown name or a malformed card."""
    files = card_files()
    if name not in files:
        raise UserError(
            f"no data set {name!r}: there is no datasets/{name}.toml. {did_you_mean(name, files)}"
        )
    path = files[name]
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _load(path: Path, mtime: int) -> Card:
    return read_toml(path, Card, name=path.stem)
