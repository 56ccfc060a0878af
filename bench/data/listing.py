"""Checks a listing: does it make sense, and does it agree with its card?"""

from collections.abc import Iterator

from bench.data.card import SPLITS, Card, inside, spoken
from bench.data.readers import Listing
from bench.data.split import Item, Split
from bench.errors import UserError, brief
from bench.words import counted


def make_split(card: Card, listing: Listing) -> Split:
    """The split that a listing describes. Raises UserError for its first contradiction."""
    for problem in contradictions(card, listing):
        raise UserError(problem)
    names = {entry.label: entry.name for entries in listing.values() for entry in entries}
    train, val, test = (tuple(Item(e.path, e.label) for e in listing[split]) for split in SPLITS)
    return Split(tuple(names[label] for label in sorted(names)), train, val, test)


def contradictions(card: Card, listing: Listing) -> Iterator[str]:
    """Everything that is wrong with a listing, as messages that say what to do."""
    yield from _paths(card, listing)
    yield from _labels(card, listing)
    yield from _overlaps(card, listing)
    yield from _empty_classes(card, listing)
    for split in SPLITS:
        count, promised = len(listing[split]), getattr(card.images, split)
        if count != promised and split not in card.images.unconfirmed:
            yield (
                f"{card.name}: {counted(count, f'{split} image')}, but the card says {promised}: "
                "complete the data set, or, if it is another version, correct [images] in "
                f"datasets/{card.name}.toml."
            )


def _paths(card: Card, listing: Listing) -> Iterator[str]:
    for split in SPLITS:
        for entry in listing[split]:
            if not entry.path or not inside(entry.path):
                yield (
                    f"{card.name}: the path {brief(entry.path)} in {split} leaves the data set's folder: "
                    "download the split file again."
                )


def _labels(card: Card, listing: Listing) -> Iterator[str]:
    names: dict[int, set[str]] = {}
    for entries in listing.values():
        for entry in entries:
            names.setdefault(entry.label, set()).add(entry.name)
    again = f"Download the split file of {card.title} again."
    gap = next((i for i in range(len(names)) if i not in names), None)
    if gap is not None:
        yield f"{card.name}: labels must be 0, 1, 2, ... without gaps, but {gap} breaks this rule. {again}"
    owner: dict[str, int] = {}
    for label, given in sorted(names.items()):
        if len(given) > 1:
            several = brief(", ".join(sorted(given)))
            yield f"{card.name}: label {label} has several class names: {several}. {again}"
        for name in sorted(given):
            if not (name.isprintable() and spoken(name)):
                yield f"{card.name}: label {label} has the class name {brief(name)}: give it one in words."
        for name in dict.fromkeys(map(spoken, sorted(given))):
            if name in owner and name not in map(spoken, card.shared_names):
                yield (
                    f"{card.name}: labels {owner[name]} and {label} share the class name {brief(name)}, as a "
                    "text tower reads it: correct one of them, or, if the data set has both, list the name "
                    "in the card's shared_names."
                )
            owner.setdefault(name, label)
    if len(names) != card.n_classes:
        yield f"{card.name}: {counted(len(names), 'class')}, but the card says {card.n_classes}. {again}"
    elif not isinstance(card.classes, int):
        for label, name in enumerate(card.classes):
            if names.get(label) != {name}:
                found = brief(", ".join(sorted(names.get(label, ()))) or None)
                yield f"{card.name}: label {label} is {found}, but the card says {brief(name)}. {again}"


def _empty_classes(card: Card, listing: Listing) -> Iterator[str]:
    names = {entry.label: entry.name for entries in listing.values() for entry in entries}
    for split in ("train", "test"):
        empty = sorted(set(names) - {entry.label for entry in listing[split]})
        if listing[split] and empty:
            yield (
                f"{card.name}: class {brief(names[empty[0]])} has no {split} images"
                + (f", and {len(empty) - 1} more have none" if len(empty) > 1 else "")
                + ": add images, or remove the class."
            )


def _overlaps(card: Card, listing: Listing) -> Iterator[str]:
    paths = {split: {entry.path for entry in listing[split]} for split in SPLITS}
    for one, other in (("train", "test"), ("train", "val"), ("val", "test")):
        common = sorted(paths[one] & paths[other])
        if common:
            said = counted(len(common), "image is", "images are")
            yield (
                f"{card.name}: {said} both in {one} and in {other}, e.g. "
                f"{brief(common[0])}: download the split file again."
            )
