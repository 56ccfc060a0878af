"""The names of a test set's classes: a record numbers them, and a card or the data set's files name them."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.cell import ELSEWHERE
from bench.data.card import load_card
from bench.data.listing import make_split
from bench.data.readers import read
from bench.data.split import base_and_new
from bench.errors import UserError
from bench.paths import data_root


@dataclass(frozen=True)
class ClassNames:
    """The names in label order. why: a sentence that says why they are numbers; '' if they are names."""

    names: tuple[str, ...]
    why: str = ""


def class_names(protocol: str, dataset: str, test: str, n: int) -> ClassNames:
    """The names of a test set's n classes, or numbers where they are not known here."""
    of = test if protocol in ELSEWHERE else dataset
    whole = _known(of)
    halves = dict(zip(("base", "new"), base_and_new(len(whole.names)), strict=True))
    names = tuple(whole.names[label] for label in halves.get(test, range(len(whole.names))))
    if whole.why or len(names) != n:
        why = whole.why or f"Classes are numbered because the card of {of} has another number of classes."
        return ClassNames(tuple(f"class {label}" for label in range(n)), why)
    return ClassNames(names)


def _known(dataset: str) -> ClassNames:
    """The names of all classes of a data set; without any, the reason."""
    try:
        card = load_card(dataset)
    except UserError:
        return ClassNames(
            (),
            f"Classes are numbered because the card of {dataset}, which leads to their names, is not here.",
        )
    if not isinstance(card.classes, int):
        return ClassNames(card.classes)
    try:
        return ClassNames(_in_files(dataset, card.hash, data_root()))
    except UserError:
        return ClassNames(
            (),
            f"Classes are numbered because their names are in the files of {dataset}, which cannot be read: "
            "set BENCH_DATA to your data folder.",
        )


@cache
def _in_files(dataset: str, digest: str, root: Path) -> tuple[str, ...]:
    """The class names that the files of a data set hold, read once. digest: of its card.

    Raises UserError if the files are missing or do not agree with the card.
    """
    card = load_card(dataset)
    return make_split(card, read(card, root)[1]).classes
