"""Downloads a data set's archives (resumable, checked) and unpacks them safely."""

import gzip
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import pooch
import requests

from bench.data.card import Download, inside
from bench.data.svhn import write_digits
from bench.errors import UserError
from bench.files import reason

LIMIT = 200 * 2**30  # bytes that an archive may unpack to: more than ImageNet's, and it stops a zip bomb
CHUNK = 2**20  # bytes
# What Python's archive modules raise for bytes that are no archive, or for one that they cannot read.
DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, struct.error,
    EOFError, ValueError, RuntimeError, OverflowError,
)  # fmt: skip
Progress = Callable[[int, int], None]  # bytes done, bytes in all (0: unknown)


def fetch(download: Download, root: Path, progress: Progress = lambda done, total: None) -> Path:
    """Download one file (unless it is there already), check its sha256, and unpack it. Returns its folder.

    An interrupted download continues where it stopped. Raises UserError if the file cannot be downloaded or
    is not the published one.
    """
    store = root / ".downloads"
    pooch.get_logger().setLevel("WARNING")  # the caller shows progress
    name = download.url.rsplit("/", 1)[-1]
    kept_as = f"{download.sha256[:12]}-{name}"  # several archives may have the name images.tar.gz
    try:
        kept = pooch.retrieve(
            download.url,
            f"sha256:{download.sha256}",
            kept_as,
            store,
            downloader=_Resuming(store / f"{kept_as}.part", progress),
        )
    except (requests.RequestException, OSError) as error:
        raise UserError(
            f"cannot download {download.url}: {error}. Run the command again to continue."
        ) from error
    except ValueError as error:  # pooch raises it for a wrong checksum
        (store / f"{kept_as}.part").unlink(missing_ok=True)
        raise UserError(
            f"{download.url} is not the published file ({error}). Nothing was unpacked; try again later."
        ) from error
    target = root / download.to
    if download.unpack and name.endswith(".mat"):
        write_digits(Path(kept), target)
    elif download.unpack:
        unpack(Path(kept), target, download.strip)
    else:
        target.mkdir(parents=True, exist_ok=True)
        os.replace(kept, target / name)
    return target


class _Resuming:
    """A pooch downloader that keeps the received bytes in `part` and asks the server only for the rest."""

    def __init__(self, part: Path, progress: Progress) -> None:
        self.part, self.progress = part, progress

    def __call__(self, url: str, output_file: str, pooch_: object, check_only: bool = False) -> None:
        self.part.parent.mkdir(parents=True, exist_ok=True)
        have = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"}
        with requests.get(url, headers=headers, stream=True, timeout=60) as answer:
            if answer.status_code != 416:  # 416: there is nothing more to download
                answer.raise_for_status()
                have = have if answer.status_code == 206 else 0  # 200: the server sends the whole file again
                total = have + int(answer.headers.get("Content-Length", 0))
                with open(self.part, "ab" if have else "wb") as file:
                    for chunk in answer.iter_content(CHUNK):
                        file.write(chunk)
                        have += len(chunk)
                        self.progress(have, total)
                if have < total:
                    raise requests.ConnectionError(f"only {have} of {total} bytes arrived")
        os.replace(self.part, output_file)


class _Member(NamedTuple):
    name: str
    size: int
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, into: Path, strip: str = "", limit: int = LIMIT) -> None:
    """Unpack a .tar, .tar.gz or .zip: only regular files, only inside `into`, at most `limit` bytes.

    The whole archive is checked before the first byte is written. A file that exists with the right size is
    kept, so an interrupted unpacking can be repeated. strip: see Download. Raises UserError for an archive
    that is damaged, unsafe, too large, or not the one that the card means.
    """
    prefix = f"{strip.strip('/')}/" if strip else ""
    with _members(archive) as members:
        names = ((_safe(member.name, archive).removeprefix("./"), member) for member in members)
        # checked again after cutting: 'top//etc/x' without 'top/' is an absolute path
        chosen = [
            member._replace(name=_safe(name[len(prefix) :], archive))
            for name, member in names
            if name.startswith(prefix)
        ]
        if not chosen:
            raise UserError(
                f"{archive} holds no files under {strip!r}, so it is not the archive that the card means: "
                "delete it."
            )
        total = sum(member.size for member in chosen)
        if total > limit:
            raise UserError(f"{archive} would unpack to {total:,} bytes, more than {limit:,}: not unpacked.")
        for member in chosen:
            _write(member, into / member.name)


def _write(member: _Member, path: Path) -> None:
    if path.is_file() and path.stat().st_size == member.size:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    left = member.size
    with member.open() as source, open(part, "wb") as file:
        while chunk := source.read(min(CHUNK, left)):
            left -= len(chunk)
            file.write(chunk)
        if left or source.read(1):
            raise UserError(
                f"{member.name} does not have the size that its archive states: download the archive again."
            )
    os.replace(part, path)


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    """The regular files of an archive. Raises UserError if it holds anything but files and folders."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as z:
                files = [info for info in z.infolist() if not info.is_dir()]
                for info in files:  # a zip may hold the Unix mode, in the upper half of external_attr
                    _refuse_unless(
                        stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG), info.filename, archive
                    )
                yield [_Member(info.filename, info.file_size, partial(z.open, info)) for info in files]
        else:
            with tarfile.open(archive) as t:
                members = [member for member in t.getmembers() if not member.isdir()]
                for member in members:
                    _refuse_unless(member.isreg() and not member.issparse(), member.name, archive)
                yield [_Member(m.name, m.size, partial(_open, t, m)) for m in members]
    except UserError:
        raise
    except DAMAGED as error:
        raise UserError(
            f"{archive} is damaged ({reason(error)}): delete it and download it again."
        ) from error
    except OSError as error:
        raise UserError(f"{archive} cannot be unpacked: {error.filename or ''} {reason(error)}.") from error


def _open(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(member)
    assert file is not None  # _members yields only regular files
    return file


def _refuse_unless(regular: bool, name: str, archive: Path) -> None:
    if not regular:
        raise UserError(f"{archive} holds {name!r}, a link or device, which is unsafe: nothing was unpacked.")


def _safe(name: str, archive: Path) -> str:
    """The name of a member, if it is a path below the folder in which it is put. Raises UserError."""
    if not PurePosixPath(name).parts or not inside(name):
        raise UserError(
            f"{archive} holds {name!r}, a path that leaves its folder, which is unsafe: nothing was unpacked."
        )
    return name
