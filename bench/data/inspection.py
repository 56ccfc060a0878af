"""Compares a data set on disk with its card: counts, checksums, and every image decoded."""

import hashlib
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.data.card import SPLITS, Card
from bench.data.images import THREADS, decode
from bench.data.listing import contradictions
from bench.data.readers import Listing, read
from bench.data.texts import same_to_clip
from bench.errors import UserError, brief
from bench.words import counted

Progress = Callable[[int, int], None]  # images done, images in all


@dataclass(frozen=True)
class Findings:
    """What an inspection found, and everything that is wrong with it."""

    counts: dict[str, int]  # split -> number of images
    classes: int
    decoded: int  # number of images that were decoded
    problems: tuple[str, ...]  # one line each
    doubles: tuple[str, ...] = ()  # the same picture under two names, one line for each pair of splits


def inspect(card: Card, root: Path, progress: Progress = lambda done, total: None) -> Findings:
    """Inspect a data set on disk; all images are decoded, in parallel. Problems are returned, not raised."""
    try:
        folder, listing = read(card, root)
    except UserError as error:
        return Findings({}, 0, 0, (str(error),))
    problems = list(contradictions(card, listing))
    entries = [entry for split in SPLITS for entry in listing[split]]
    paths = sorted({folder / entry.path for entry in entries})

    contents: dict[Path, bytes] = {}
    with warnings.catch_warnings(), ThreadPoolExecutor(THREADS) as pool:
        warnings.simplefilter("ignore")  # a warning about EXIF data does not concern the pixels
        for done, (path, found) in enumerate(zip(paths, pool.map(_content, paths), strict=True), 1):
            if isinstance(found, str):
                problems.append(found)
            else:
                contents[path] = found
            progress(done, len(paths))
    names = dict(sorted((entry.label, entry.name.replace("_", " ")) for entry in entries))
    labels = list(names)
    for one, other in same_to_clip([card.template.format(name) for name in names.values()]):
        first, second = brief(names[labels[one]]), brief(names[labels[other]])
        if names[labels[one]] != names[labels[other]]:  # else `contradictions` has said it
            problems.append(
                f"{card.name}: the classes {first} and {second} read the same to CLIP: shorten them"
            )
    counts = {split: len(listing[split]) for split in SPLITS}
    doubles = tuple(_doubles(listing, folder, contents))
    return Findings(counts, len({entry.label for entry in entries}), len(paths), tuple(problems), doubles)


def _content(path: Path) -> bytes | str:
    """sha256 of a picture's pixels, whatever its file's format; a line of text if it cannot be decoded."""
    try:
        picture = decode(path).convert("RGB")
    except UserError as error:
        return str(error)
    return hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).digest()


def _doubles(listing: Listing, folder: Path, contents: dict[Path, bytes]) -> Iterator[str]:
    """Which pictures are in two splits, or twice in one, under different names."""
    found: dict[bytes, dict[str, str]] = {}  # content -> path -> split
    for split in SPLITS:
        for entry in listing[split]:
            if (content := contents.get(folder / entry.path)) is not None:
                found.setdefault(content, {})[entry.path] = split
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for names in found.values():
        (first, *others) = names
        for other in others:
            pairs.setdefault((names[first], names[other]), []).append((first, other))
    for (one, two), same in pairs.items():
        where = f"twice in {one}" if one == two else f"in {one} and in {two}"
        example = f"{brief(same[0][0])} and {brief(same[0][1])}"
        said = counted(len(same), "picture is", "pictures are")
        yield f"{said} {where} under different names, e.g. {example}"


def missing(card: Card, root: Path) -> str:
    """The first path of the card's layout (folder, split file, image folders) that is missing, or ""."""
    layout = card.layout
    if layout is None:
        return ""
    for part in ("", layout.split, layout.images, layout.train, layout.val, layout.test):
        path = Path(layout.folder) / part
        if not (root / path).exists():
            return str(path)
    return ""
