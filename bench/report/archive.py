"""Records as one archive to hand in: `bench results pack` writes it, `bench results import` takes it.

The archive is a .tar.gz of the records and transcripts, each where `bench run` puts it, and of manifest.json,
which names the sha256 of each. The same records give the same bytes: names are sorted, and times, owners and
rights are fixed.
"""

import gzip
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from bench.errors import UserError, brief
from bench.files import Absent, read_bytes, read_json, refusing
from bench.record import Record, lasting, read
from bench.report.frame import read_all, record_files
from bench.store import Store

MANIFEST, FORM = "manifest.json", 1
MOST = 2 << 30  # bytes that an archive may unpack to: some hundred thousand records

Verify = Callable[[Path], list[str]]  # every fault of the records in a folder


def pack(path: Path, archive: Path, verify: Verify) -> int:
    """Write the records at or under `path` to `archive`, and return their number.

    Raises UserError, and writes nothing, if a record has a fault or the archive exists.
    """
    refuse(verify(path))
    records, _ = read_all(path)
    files: dict[str, bytes] = {}
    for file, record in records:
        place = Path(record.cell.path)
        files[place.as_posix()] = read_bytes(file)
        if record.chat is not None:
            transcript = file.with_name(record.chat.file)
            files[place.with_name(record.chat.file).as_posix()] = read_bytes(transcript)
    digests = {name: sha256(data).hexdigest() for name, data in sorted(files.items())}
    files[MANIFEST] = (json.dumps({"form": FORM, "sha256": digests}, indent=1) + "\n").encode()
    with refusing(f"cannot write {archive}", "Choose another place with -o."):
        archive.parent.mkdir(parents=True, exist_ok=True)
        with open(archive, "xb") as target:
            target.write(packed(files))
    return len(records)


def packed(files: dict[str, bytes]) -> bytes:
    """The bytes of a .tar.gz of these files."""
    data = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=data, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for name in sorted(files):
            about = tarfile.TarInfo(name)
            about.size = len(files[name])
            tar.addfile(about, io.BytesIO(files[name]))
    return data.getvalue()


@dataclass(frozen=True)
class Taken:
    """The records of an archive, by how they compare with those that were there: paths below the folder."""

    new: tuple[str, ...]
    same: tuple[str, ...]
    differing: tuple[str, ...]  # replaced only if that was asked for


def take(archive: Path, results: Path, verify: Verify, overwrite: bool = False) -> Taken:
    """Put the records of an archive into a results folder.

    A record that is there with the same content is left as it is. One that differs stays, too, unless
    `overwrite`. Two records of one cell are the same if all but their `run` (when, where) is.
    Raises UserError, and writes nothing, if a digest, a name or a record of the archive is wrong.
    """
    from bench.data.download import unpack

    if not archive.is_file():
        raise UserError(f"there is no file {archive}: name an archive that `bench results pack` wrote.")
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder)
        unpack(archive, inside, limit=MOST)
        _check_manifest(archive, inside)
        records = dict(_in_place(archive, inside))
        refuse([fault.replace(f"{inside}{os.sep}", "") for fault in verify(inside)])
        return _put(records, Store(results), overwrite)


def _put(records: dict[str, Record], store: Store, overwrite: bool) -> Taken:
    """Write the new records, and the differing ones if that is asked for."""
    found: dict[str, list[str]] = {"new": [], "same": [], "differing": []}
    with store.lock():
        for name, record in records.items():
            kind = _compared(record, store.path(record.cell))
            found[kind].append(name)
            if kind == "new" or (kind == "differing" and overwrite):
                store.write(record)
    return Taken(*(tuple(found[kind]) for kind in ("new", "same", "differing")))


def _compared(record: Record, path: Path) -> str:
    try:
        return "same" if lasting(read(path)) == lasting(record) else "differing"
    except Absent:
        return "new"
    except UserError:  # what is there is no record, so it differs
        return "differing"


def _check_manifest(archive: Path, inside: Path) -> None:
    """Remove the manifest. Raises UserError unless the other files are those that it names, to the byte."""
    try:
        manifest = read_json(inside / MANIFEST)
    except UserError as error:
        raise UserError(f"{archive} has no sound {MANIFEST}: pack the records again.") from error
    digests = manifest.get("sha256") if isinstance(manifest, dict) else None
    if not isinstance(digests, dict) or manifest.get("form") != FORM:
        raise UserError(f"{archive} was packed by another version of bench: pack the records again.")
    files = {path.relative_to(inside).as_posix(): path for path in inside.rglob("*") if path.is_file()}
    del files[MANIFEST]
    if odd := sorted(files.keys() ^ digests.keys()):
        where = "not in its manifest" if odd[0] in files else "named in its manifest and missing"
        raise UserError(f"{archive}: {brief(odd[0])} is {where}: nothing was imported.")
    for name, path in sorted(files.items()):
        if sha256(read_bytes(path)).hexdigest() != digests[name]:
            raise UserError(
                f"{archive}: the sha256 of {brief(name)} is not that of the manifest: nothing was imported."
            )
    (inside / MANIFEST).unlink()  # what is left are records and transcripts


def _in_place(archive: Path, inside: Path) -> Iterator[tuple[str, Record]]:
    """(name, record with its transcript) of every file. Raises UserError for a file in another's place."""
    left = {path for path in inside.rglob("*") if path.is_file()}
    for path in record_files(inside):
        name = path.relative_to(inside).as_posix()
        try:
            record = read(path)
        except UserError as error:
            raise UserError(f"{archive}: {name}: {error}: nothing was imported.") from error
        if Path(record.cell.path).as_posix() != name:
            raise UserError(
                f"{archive}: {name} holds the record of {record.cell.path}: nothing was imported."
            )
        left -= {path}
        if record.chat is not None:
            transcript = path.with_name(record.chat.file)
            record = replace(record, transcript=read_bytes(transcript).decode(errors="replace"))
            left -= {transcript}
        yield name, record
    if left:
        odd = min(left).relative_to(inside)
        raise UserError(f"{archive}: {brief(str(odd))} belongs to no record: nothing was imported.")


def refuse(faults: list[str]) -> None:
    """Raise all faults as one UserError, if there are any."""
    if faults:
        raise UserError("\n".join(faults[:50]))
