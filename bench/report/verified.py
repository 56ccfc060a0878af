"""What has been verified, by whom and when: one file beside the records, a line for each of them.

A record is never changed by its verification. A line holds the record's hash, so a record that is changed
afterwards no longer counts. Whoever can write the records can write this file, too: it tells what the owner
of the folder did, and proves nothing about a folder from elsewhere.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec

from bench.cell import PROTOCOLS
from bench.errors import UserError
from bench.files import Absent, read_text, refusing, shown
from bench.record import Record, dump
from bench.store import write_whole

NAME = "verified.jsonl"  # the folders of records hold no other file of this ending but transcripts
DEPTH = 5  # a record is at FOLDER/suite/protocol/data set/row/FILE

# What can be checked, from the least to the most -> what a record is then called.
LEVELS = {"read": "read", "rescore": "rescored", "rerun": "rerun"}


@dataclass(frozen=True)
class Check:
    """Who checked something, and with what."""

    date: str  # ISO 8601, the day
    bench: str  # its version
    machine: str  # the name of the processor or the GPU
    by: str = ""  # as given


@dataclass(frozen=True)
class Entry:
    """What was checked of one record. record: its path below the folder. checks: keys are those of LEVELS."""

    record: str
    sha256: str
    checks: dict[str, Check] = field(default_factory=dict)


Log = dict[str, Entry]  # by the records' paths


def filed(file: Path) -> bool:
    """Whether a file lies as records lie in a results folder."""
    parts = file.absolute().parts
    return len(parts) > DEPTH and parts[-DEPTH + 1] in PROTOCOLS


def home(file: Path) -> Path:
    """The results folder of a record that is filed."""
    return file.absolute().parents[DEPTH - 1]


def content_hash(record: Record) -> str:
    """sha256 of a record as it is written."""
    return hashlib.sha256(dump(record).encode()).hexdigest()


def read_log(folder: Path) -> Log:
    """What was verified in a results folder; nothing without its file. Raises UserError for a damaged one."""
    path = folder / NAME
    try:
        lines = read_text(path).splitlines()
    except Absent:
        return {}
    with refusing(f"{shown(path)} is damaged", "Delete it and verify the records again."):
        entries = [msgspec.json.decode(line, type=Entry, strict=True) for line in lines if line.strip()]
    for entry in entries:
        texts = [entry.record, *(text for one in entry.checks.values() for text in vars(one).values())]
        if not entry.checks.keys() <= LEVELS.keys() or not all(map(str.isprintable, texts)):
            raise UserError(f"{shown(path)} is damaged: it holds what bench does not write. Delete it.")
    return {entry.record: entry for entry in entries}


def updated(
    log: Mapping[str, Entry],
    passed: Iterable[tuple[Record, Sequence[str]]],
    refused: Iterable[Record],
    check: Check,
) -> Log:
    """The log with the checks that records have passed, and without the records that were refused.

    An older check of the same content stays as it was.
    """
    gone = {str(record.cell.path) for record in refused}
    new = {path: entry for path, entry in log.items() if path not in gone}
    for record, checks in passed:
        path, digest = str(record.cell.path), content_hash(record)
        old = new.get(path)
        known = old.checks if old is not None and old.sha256 == digest else {}
        new[path] = Entry(path, digest, {**dict.fromkeys(checks, check), **known})
    return new


def write_log(folder: Path, log: Mapping[str, Entry]) -> None:
    """Write the whole log or nothing, in the order of the paths. Raises UserError."""
    lines = [json.dumps(asdict(log[path]), sort_keys=True, ensure_ascii=False) + "\n" for path in sorted(log)]
    with refusing(f"cannot write {shown(folder / NAME)}"):
        write_whole(folder / NAME, "".join(lines).encode())


def level(record: Record, log: Mapping[str, Entry]) -> str:
    """The most that was checked of a record as it is now: one of LEVELS, or "" for nothing."""
    entry = log.get(str(record.cell.path))
    if entry is None or entry.sha256 != content_hash(record):
        return ""
    return next((name for name in reversed(LEVELS) if name in entry.checks), "")


class Logs:
    """The logs of several results folders, each read once. `warn` gets what is wrong with one."""

    def __init__(self, warn: Callable[[str], object]) -> None:
        self._warn = warn
        self._logs: dict[Path, Log] = {}

    def of(self, file: Path) -> Log:
        """The log of the folder in which a record lies; an empty one for a record that is not filed."""
        if not filed(file):
            return {}
        folder = home(file)
        if folder not in self._logs:
            try:
                self._logs[folder] = read_log(folder)
            except UserError as error:
                self._warn(str(error))
                self._logs[folder] = {}
        return self._logs[folder]


def summed(levels: Iterable[str]) -> str:
    """The levels of several records in words, e.g. '30 of 30 read, 30 rescored, 2 rerun'; "" for none."""
    found, order = Counter(levels), list(LEVELS)
    at_least = {name: sum(found[one] for one in order[i:]) for i, name in enumerate(order)}
    if not at_least["read"]:
        return ""
    rest = [f"{count} {LEVELS[name]}" for name, count in at_least.items() if count and name != "read"]
    return ", ".join([f"{at_least['read']} of {found.total()} read", *rest])


def told(record: Record, log: Mapping[str, Entry]) -> str:
    """One record's checks in a sentence; "Not verified here." if there is none."""
    if not level(record, log):
        return "Not verified here."
    checks = log[str(record.cell.path)].checks
    parts = [
        f"{LEVELS[name]} on {one.date}{one.by and f' by {one.by}'} (bench {one.bench}, {one.machine})"
        for name in LEVELS
        if (one := checks.get(name)) is not None
    ]
    return f"Verified: {'; '.join(parts)}."
