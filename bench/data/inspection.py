"""Compares a data set on disk with its card: counts, checksums, and every image decoded."""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.data.card import SPLITS, Card
from bench.data.images import THREADS, decode
from bench.data.listing import contradictions
from bench.data.readers import read
from bench.errors import UserError

Progress = Callable[[int, int], None]  # images done, images in all


@dataclass(frozen=True)
class Findings:
    """What an inspection found, and everything that is wrong with it."""

    counts: dict[str, int]  # split -> number of images
    classes: int
    decoded: int  # number of images that were decoded
    problems: tuple[str, ...]  # one line each


def inspect(card: Card, root: Path, progress: Progress = lambda done, total: None) -> Findings:
    """Inspect a data set on disk; all images are decoded, in parallel. Problems are returned, not raised."""
    try:
        folder, listing = read(card, root)
    except UserError as error:
        return Findings({}, 0, 0, (str(error),))
    problems = list(contradictions(card, listing))
    entries = [entry for split in SPLITS for entry in listing[split]]
    paths = sorted({folder / entry.path for entry in entries})

    def broken(path: Path) -> str:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a warning about EXIF data does not concern the pixels
                decode(path).convert("RGB")
        except UserError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(THREADS) as pool:
        for done, problem in enumerate(pool.map(broken, paths), 1):
            if problem:
                problems.append(problem)
            progress(done, len(paths))
    counts = {split: len(listing[split]) for split in SPLITS}
    return Findings(counts, len({entry.label for entry in entries}), len(paths), tuple(problems))


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
