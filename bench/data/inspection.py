"""Is what lies on disk what the card says? Counts, checksums, and every image decoded."""

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
    """What was found, and everything that is wrong with it."""

    counts: dict[str, int]  # images by split
    classes: int
    decoded: int
    problems: tuple[str, ...]


def inspect(card: Card, root: Path, progress: Progress = lambda done, total: None) -> Findings:
    """Check a data set on disk, decoding every image in parallel. Never raises for what it finds."""
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
                warnings.simplefilter("ignore")  # odd EXIF data harms no pixel
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
    """The first path a data set lacks, at a glance (folder, split file, image folders); "" if none."""
    layout = card.layout
    if layout is None:
        return ""
    for part in ("", layout.split, layout.images, layout.train, layout.val, layout.test):
        path = Path(layout.folder) / part
        if not (root / path).exists():
            return str(path)
    return ""
