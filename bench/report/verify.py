"""Verifies a folder of records for the leaderboard. Every fault is a line that names its file."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.answered import parse
from bench.errors import UserError
from bench.files import read_text
from bench.record import Record, dump
from bench.report.faults import faults_of
from bench.report.frame import CONDITIONS, Results, missing_cells, read_all, record_files, results_of
from bench.report.verified import filed
from bench.resolve import Known, known_of

Found = Sequence[tuple[Path, Record]]
SEVERAL = 3  # train losses that two runs on other images cannot share by chance


@dataclass(frozen=True)
class Reading:
    """What reading a folder found. sound: the records without a fault of their own; refused: the others."""

    files: int
    sound: tuple[tuple[Path, Record], ...]
    refused: tuple[tuple[Path, Record], ...]
    faults: tuple[str, ...]


def read(path: Path, known: Callable[[Record], Known] = known_of) -> Reading:
    """Reads all records at or under `path`, and compares each with itself, the code and the others.

    known: gives what is known of a record's cell; by default what this installation knows.
    Raises UserError if there is no record.
    """
    if not path.exists() or not record_files(path):
        raise UserError(f"no records at {path}: give the path of a record or of a folder of records")
    records, damaged = read_all(path)
    wrong: dict[Path, list[str]] = {file: [why] for file, why in damaged}
    rows: dict[tuple[object, ...], Known] = {}  # the seeds of a row share what is known of them
    for file, record in records:
        cell = record.cell
        row = (cell.suite, cell.protocol, cell.method, cell.dataset, cell.overrides, record.targets)
        if row not in rows:
            rows[row] = known(record)
        found = faults_of(record, rows[row])
        # A fault of the record explains one of its file.
        wrong[file] = found or [*_file(file, record)]
    for file, why in (*_unlike_the_others(records), *_copies(records)):
        wrong[file].append(why)
    faults = [f"{file}: {why}" for file, found in wrong.items() for why in found]
    sound = tuple((file, record) for file, record in records if not wrong[file])
    refused = tuple((file, record) for file, record in records if wrong[file])
    return Reading(len(record_files(path)), sound, refused, (*faults, *incomplete(records)))


def faults_at(path: Path, root: Path | str | None = None) -> list[str]:
    """Every fault of the records at `path`. Those that asked a language model are run again from transcripts.

    root: the folder of the papers' data sets, for those. Raises UserError if there is no record.
    """
    reading = read(path)
    asked = [(file, record) for file, record in reading.sound if record.chat is not None]
    if not asked:
        return list(reading.faults)
    from bench.again import fresh_lab, rerun  # imports torch; other records do without

    lab = fresh_lab(root)
    findings = [rerun(file, record, lab) for file, record in asked]
    wrong = [f"{one.file}: {why}" for one in findings for why in (*one.faults, one.unable) if why]
    return [*reading.faults, *wrong]


def _file(file: Path, record: Record) -> Iterator[str]:
    """Faults of a record's file: its name and folders, and fields that no reader sees."""
    wanted, have = record.cell.path, file.absolute().parts
    if file.name != wanted.name or (filed(file) and have[-len(wanted.parts) :] != wanted.parts):
        yield f"the file of its cell is {wanted}: put it there"
    if read_text(file) != dump(record):
        yield "it is not written as bench writes it: it has unknown or missing fields, or another layout"


def _unlike_the_others(records: Found) -> Iterator[tuple[Path, str]]:
    """Records whose weights or images are others than those of most records of the same model or data set."""
    kinds: dict[str, dict[tuple[object, ...], list[tuple[Path, str]]]] = {
        "weights": defaultdict(list),
        "split": defaultdict(list),
    }
    for file, record in records:
        cell = record.cell
        model = (cell.backbone, cell.endpoint)
        kinds["weights"][model].append((file, record.hashes.weights))
        place = (*model, cell.dataset, cell.protocol, cell.score, *record.targets)
        kinds["split"][place].append((file, record.hashes.split))
    for kind, groups in kinds.items():
        for group in groups.values():
            ((usual, _),) = Counter(digest for _, digest in group).most_common(1)
            for file, digest in group:
                if digest and digest != usual:
                    yield file, f"hashes.{kind} is not that of the other records here: run the cell again"


def _copies(records: Found) -> Iterator[tuple[Path, str]]:
    """Copies of records of another seed or data set: other images cannot give the same train losses."""
    first: dict[tuple[object, ...], Path] = {}
    for file, record in records:
        losses = tuple(p.train_loss for p in record.trace if p.train_loss is not None)
        few = len(losses) < SEVERAL
        coarse = not parse(record.cell.answers).grants("top")  # such losses have few values
        if not losses or (few and (coarse or record.prompt.state is None)):
            continue
        blank = replace(record.cell, seed=0, dataset="", suite="")
        key = (blank, losses, record.prompt.state if few else None)
        if key in first:
            yield file, f"it has the train losses of {first[key]}, which has another seed or data set"
        first.setdefault(key, file)


def incomplete(records: Found) -> list[str]:
    """Missing cells: seeds that a row has on one data set and not on another, for each table's records."""
    results = results_of(records, warn=lambda _: None)
    faults = []
    for key, cells in results.cells.groupby([*CONDITIONS, "row"]):
        group = Results(cells, results.trace.iloc[:0], results.failed.iloc[:0])
        place = dict(zip(CONDITIONS, key, strict=False))
        where = f"{place['suite']} / {place['protocol']} / budget {place['budget']}"
        faults += [f"seeds are incomplete: {where} / {cell} is missing" for cell in missing_cells(group)]
    return faults
