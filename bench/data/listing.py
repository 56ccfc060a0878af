"""Checks a listing: does it make sense, and does it agree with its card?"""

from collections.abc import Iterator

from bench.data.card import SPLITS, Card, inside
from bench.data.readers import Listing
from bench.data.split import Item, Split
from bench.errors import UserError


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
                f"{card.name}: {count} {split} images, but the card says {promised}: complete the data set, "
                "or, "
                f"if it is another version, correct [images] in datasets/{card.name}.toml."
            )


def _paths(card: Card, listing: Listing) -> Iterator[str]:
    for split in SPLITS:
        for entry in listing[split]:
            if not entry.path or not inside(entry.path):
                yield (
                    f"{card.name}: the path {entry.path!r} in {split} leaves the data set's folder: "
                    "download the split file again."
                )


def _labels(card: Card, listing: Listing) -> Iterator[str]:
    names: dict[int, set[str]] = {}
    for entries in listing.values():
        for entry in entries:
            names.setdefault(entry.label, set()).add(entry.name)
    again = f"Download the split file of {card.title} again."
    gaps = sorted(set(range(max(names, default=-1) + 1)) - set(names)) + sorted(l for l in names if l < 0)
    if gaps:
        yield (
            f"{card.name}: labels must be 0, 1, 2, ... without gaps, but {gaps[0]} breaks this rule. {again}"
        )
    for label, given in sorted(names.items()):
        if len(given) > 1:
            yield f"{card.name}: label {label} has several class names: {', '.join(sorted(given))}. {again}"
    owner: dict[str, int] = {}
    for label, given in sorted(names.items()):
        for name in given:
            spoken = name.replace("_", " ")
            if spoken in owner and spoken not in card.shared_names and owner[spoken] != label:
                both = f"{owner[spoken]} and {label}"
                yield f"{card.name}: labels {both} share the class name {spoken!r}. {again}"
            owner[spoken] = label
    if len(names) != card.n_classes:
        yield f"{card.name}: {len(names)} classes, but the card says {card.n_classes}. {again}"
    elif not isinstance(card.classes, int):
        for label, name in enumerate(card.classes):
            if names.get(label) != {name}:
                yield f"{card.name}: label {label} is {names.get(label)}, but the card says {name!r}. {again}"


def _empty_classes(card: Card, listing: Listing) -> Iterator[str]:
    names = {entry.label: entry.name for entries in listing.values() for entry in entries}
    for split in ("train", "test"):
        empty = sorted(set(names) - {entry.label for entry in listing[split]})
        if listing[split] and empty:
            yield (
                f"{card.name}: class {names[empty[0]]!r} has no {split} images"
                + (f", and {len(empty) - 1} more have none" if len(empty) > 1 else "")
                + ": add images, or remove the class."
            )


def _overlaps(card: Card, listing: Listing) -> Iterator[str]:
    paths = {split: {entry.path for entry in listing[split]} for split in SPLITS}
    for one, other in (("train", "test"), ("train", "val"), ("val", "test")):
        common = sorted(paths[one] & paths[other])
        if common:
            yield (
                f"{card.name}: {len(common)} images are both in {one} and in {other}, e.g. {common[0]}: "
                "download the split file again."
            )
