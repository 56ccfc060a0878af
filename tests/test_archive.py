"""`bench results pack` and `bench results import`: the way of records from one folder into another."""

import json
import tarfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner
from fabricate import grid, record, write

from bench.commands.main import main
from bench.errors import UserError
from bench.files import below
from bench.report.archive import MANIFEST, pack, packed, take
from bench.store import Store

SOUND = lambda path: []  # noqa: E731  fabricated records have hashes that nothing here has


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "mine", *grid(("manual", "zip"), seeds=(1,)))


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    assert pack(folder, tmp_path / "records.tar.gz", SOUND) == 6
    return tmp_path / "records.tar.gz"


def contents(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar.getmembers()}  # type: ignore[union-attr]


def repacked(archive: Path, files: dict[str, bytes], digests: bool = True) -> Path:
    """The archive with other files, and a manifest that fits them if `digests`."""
    if digests:
        named = {name: sha256(data).hexdigest() for name, data in files.items() if name != MANIFEST}
        files = files | {MANIFEST: json.dumps({"form": 1, "sha256": named}).encode()}
    archive.write_bytes(packed(files))
    return archive


def test_records_arrive_as_they_left(folder: Path, archive: Path, tmp_path: Path) -> None:
    found = take(archive, tmp_path / "theirs", SOUND)
    assert (len(found.new), found.same, found.differing) == (6, (), ())
    for path in below(folder, ".json"):
        assert (tmp_path / "theirs" / path.relative_to(folder)).read_bytes() == path.read_bytes()
    assert len(take(archive, tmp_path / "theirs", SOUND).same) == 6


def test_the_same_records_give_the_same_bytes(folder: Path, archive: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "copy", *reversed(list(Store(folder).records())))
    pack(other, tmp_path / "again.tar.gz", SOUND)
    assert (tmp_path / "again.tar.gz").read_bytes() == archive.read_bytes()
    with pytest.raises(UserError, match=r"cannot write .*: File exists"):
        pack(folder, archive, SOUND)


def test_a_differing_record_stays_unless_asked(archive: Path, tmp_path: Path) -> None:
    changed = record("zip", seed=1, queries=4999)
    later = replace(record("zip", "toy-digits"), run=replace(record().run, seconds=9.0))
    theirs = write(tmp_path / "theirs", changed, later)
    found = take(archive, theirs, SOUND)
    name = changed.cell.path.as_posix()
    assert (len(found.new), len(found.same), found.differing) == (4, 1, (name,))
    assert Store(theirs).read(changed.cell).queries == 4999
    assert take(archive, theirs, SOUND, overwrite=True).differing == (name,)
    assert Store(theirs).read(changed.cell).queries == 5000
    assert Store(theirs).read(later.cell).run.seconds == 9.0


@pytest.mark.parametrize("harm", ["content", "added", "removed", "moved", "manifest", "fault", "escape"])
def test_a_wrong_archive_is_refused_whole(harm: str, archive: Path, tmp_path: Path) -> None:
    files = contents(archive)
    name = next(name for name in files if name != MANIFEST)
    verify = SOUND
    if harm == "content":
        repacked(archive, files | {name: files[name].replace(b"5000", b"5001")}, digests=False)
        said = "the sha256 of .* is not that of the manifest"
    elif harm == "added":
        repacked(archive, files | {"notes.txt": b"hello"})
        said = "'notes.txt' belongs to no record"
    elif harm == "removed":
        repacked(archive, {one: data for one, data in files.items() if one != name}, digests=False)
        said = "named in its manifest and missing"
    elif harm == "moved":
        repacked(archive, {f"x/{one}" if one == name else one: data for one, data in files.items()})
        said = "holds the record of"
    elif harm == "manifest":
        repacked(archive, {one: data for one, data in files.items() if one != MANIFEST}, digests=False)
        said = "has no sound manifest.json"
    elif harm == "fault":
        verify = lambda path: [f"{path}/one.json: wrong"]  # noqa: E731
        said = "^one.json: wrong$"
    else:
        repacked(archive, files | {"../outside.json": b"{}"})
        said = "a path that leaves its folder"
    with pytest.raises(UserError, match=said):
        take(archive, tmp_path / "theirs", verify)
    assert not (tmp_path / "theirs").exists() and not (tmp_path / "outside.json").exists()


def test_a_record_with_a_fault_is_not_packed(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["results", "pack", str(folder), "-o", str(tmp_path / "a.tar.gz")])
    assert done.exit_code == 2 and "no card 'toy-colors" in done.stderr
    assert not (tmp_path / "a.tar.gz").exists()


def test_what_is_no_archive_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "odd.tar.gz").write_bytes(b"no archive")
    for name in ("odd.tar.gz", "gone.tar.gz"):
        done = CliRunner().invoke(
            main, ["results", "import", str(tmp_path / name), "--results", str(tmp_path / "r")]
        )
        assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1, done.output


@pytest.mark.parametrize("command", ["pack", "import"])
def test_data_that_is_not_there_is_one_line(command: str, folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["results", command, str(folder), "--root", str(tmp_path / "none")])
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    assert "none: there is no such folder" in done.stderr


def test_a_run_is_packed_and_imported_by_the_commands(tmp_path: Path) -> None:
    runs, theirs, archive = (str(tmp_path / name) for name in ("runs", "theirs", "a.tar.gz"))
    for arguments, said in (
        (["run", "-m", "manual", "-d", "digits", "--local", "--results", runs], "1 of 1 cell to run"),
        (["results", "pack", runs, "-o", archive], "1 record"),
        (["results", "import", archive, "--results", theirs], "new: 1, same: 0, differing: 0"),
    ):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0 and said in done.output, done.output
