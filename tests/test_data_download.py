"""A download continues where it stopped and is checked. Unpacking writes nothing outside its folder."""

import hashlib
import io
import random
import tarfile
import tempfile
import threading
import zipfile
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from bench.data.card import Download
from bench.data.download import fetch, unpack
from bench.data.svhn import write_digits
from bench.errors import UserError

FILES = {"top/a/one.txt": b"one" * 1000, "top/a/two.txt": b"two", "top/b.txt": b"b", "other/c.txt": b"c"}


def make_tar(path, files=FILES, extra=None):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        if extra is not None:
            archive.addfile(extra)
    return path


def make_zip(path, files=FILES):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_unpack(tmp_path, make):
    archive = make(tmp_path / "archive")
    unpack(archive, tmp_path / "all")
    assert contents(tmp_path / "all") == FILES
    unpack(archive, tmp_path / "part", strip="top/a")
    assert contents(tmp_path / "part") == {"one.txt": FILES["top/a/one.txt"], "two.txt": b"two"}
    with pytest.raises(UserError, match="holds no files under 'nothing'"):
        unpack(archive, tmp_path / "none", strip="nothing")


def test_unpacking_can_be_repeated_after_an_interruption(tmp_path):
    archive = make_tar(tmp_path / "archive")
    (tmp_path / "out" / "top" / "a").mkdir(parents=True)
    (tmp_path / "out" / "top" / "a" / "one.txt").write_bytes(b"on")  # cut short
    unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == FILES


@pytest.mark.parametrize("make", [make_tar, make_zip])
@pytest.mark.parametrize(
    "name", ["../evil.txt", "a/../../evil.txt", "/evil.txt", "a\\..\\..\\evil.txt", "C:/evil.txt"]
)
def test_paths_that_leave_the_folder_are_refused(tmp_path, make, name):
    archive = make(tmp_path / "archive", {"good.txt": b"good", name: b"evil"})
    with pytest.raises(UserError, match=r"a path that leaves its folder, .*: nothing was unpacked"):
        unpack(archive, tmp_path / "in" / "out")
    assert contents(tmp_path) == {"archive": archive.read_bytes()}


STEPS = st.lists(st.sampled_from(["top", "..", ".", "", "a", "\\", "C:", "~", "etc\\..", "\0x"]), max_size=6)


@given(st.lists(STEPS.map("/".join), min_size=1, max_size=3), st.sampled_from(["", "top", "top/a", "/top/"]))
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_archive_writes_outside_its_folder(names, strip):
    """After cutting, too: 'top//etc/x' without 'top/' is an absolute path. Both kinds, by one rule."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        for make in (make_tar, make_zip):
            try:
                archive = make(top / make.__name__, {name or "x": b"evil" for name in names})
            except (ValueError, IndexError):  # zipfile itself refuses the name
                continue
            with suppress(UserError):
                unpack(archive, top / "in" / "out", strip)
        outside = [path for path in contents(top) if not path.startswith("in/out/")]
        assert sorted(outside) == sorted({"make_tar", "make_zip"} & set(outside))


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_a_member_that_is_absolute_after_cutting_is_refused(tmp_path, make):
    target = tmp_path / "outside.txt"
    archive = make(tmp_path / "archive", {"top/good.txt": b"good", f"top/{target}": b"evil"})
    with pytest.raises(UserError, match="a path that leaves its folder"):
        unpack(archive, tmp_path / "out", strip="top")
    assert not target.exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("make", [make_tar, make_zip])
@pytest.mark.parametrize("seed", range(40))
def test_an_archive_with_wrong_bytes_is_whole_or_an_error(tmp_path, make, seed):
    archive = make(tmp_path / "archive")
    data, rng = bytearray(archive.read_bytes()), random.Random(seed)
    for _ in range(rng.randrange(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    archive.write_bytes(data[: rng.choice([None, rng.randrange(len(data))])])
    with suppress(UserError):
        unpack(archive, tmp_path / "in" / "out")
    assert {path.split("/")[0] for path in contents(tmp_path)} <= {"archive", "in"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    extra = tarfile.TarInfo("link")
    extra.type, extra.linkname = kind, "/etc/passwd"
    archive = make_tar(tmp_path / "archive", extra=extra)
    with pytest.raises(UserError, match="'link', a link or device, which is unsafe: nothing was unpacked"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_in_a_zip_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(UserError, match="'link', a link or device, which is unsafe"):
        unpack(tmp_path / "archive", tmp_path / "out")


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_an_archive_that_unpacks_to_a_huge_size_is_refused(tmp_path, make):
    archive = make(tmp_path / "archive", {"zeros": bytes(2_000_000)})
    with pytest.raises(UserError, match="would unpack to 2,000,000 bytes, more than 1,000,000: not unpacked"):
        unpack(archive, tmp_path / "out", limit=1_000_000)
    assert not (tmp_path / "out").exists()


def test_a_damaged_archive_gives_an_error_with_its_name(tmp_path):
    archive = make_tar(tmp_path / "archive")
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(UserError, match=r"is damaged .*delete it and download it again"):
        unpack(archive, tmp_path / "out")
    (tmp_path / "page").write_text("<html>not found</html>")
    with pytest.raises(UserError, match="is damaged"):
        unpack(tmp_path / "page", tmp_path / "out")


@pytest.fixture
def server(monkeypatch):
    """A server whose first answer may break off: (url, state). `state` counts the bytes that it has sent."""
    monkeypatch.setenv("NO_PROXY", "*")
    state = {"body": b"", "cut": None, "sent": 0, "ranges": True}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            given = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-")
            start = int(given) if state["ranges"] else 0
            body = state["body"][start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut, state["cut"] = state["cut"], None
            state["sent"] += len(body[:cut])  # before the client can see the last byte and read the count
            self.wfile.write(body[:cut])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/set.tar.gz", state
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_continues_where_it_stopped(tmp_path, server, ranges, monkeypatch):
    monkeypatch.setattr("bench.data.download.CHUNK", 500)
    url, state = server
    files = {"set/noise": bytes(hashlib.sha256(bytes([i % 251, i // 251])).digest()[0] for i in range(9000))}
    body = make_tar(tmp_path / "archive", files).read_bytes()
    state.update(body=body, cut=3000, ranges=ranges)
    download = Download("images", url, "here", hashlib.sha256(body).hexdigest(), strip="set")
    with pytest.raises(UserError, match=r"cannot download .*set\.tar\.gz.*Run the command again to continue"):
        fetch(download, tmp_path / "data")
    seen = []
    assert (
        fetch(download, tmp_path / "data", lambda done, total: seen.append((done, total)))
        == tmp_path / "data" / "here"
    )
    assert contents(tmp_path / "data" / "here") == {"noise": files["set/noise"]}
    assert seen[-1] == (len(body), len(body))
    again = state["sent"] - len(body)
    assert again <= 500 if ranges else again == 3000  # with ranges at most the part that was cut off
    fetch(download, tmp_path / "data")
    assert state["sent"] == len(body) + again  # the file is there: nothing is downloaded again


def test_a_file_with_another_checksum_is_not_unpacked(tmp_path, server):
    url, state = server
    state["body"] = make_tar(tmp_path / "archive").read_bytes()
    with pytest.raises(UserError, match=r"is not the published file.*Nothing was unpacked"):
        fetch(Download("images", url, "here", "0" * 64), tmp_path / "data")
    assert not (tmp_path / "data" / "here").exists()


def test_a_plain_file_is_put_in_place(tmp_path, server):
    url, state = server
    state["body"] = b"matrix"
    download = Download("images", url, "svhn", hashlib.sha256(b"matrix").hexdigest(), unpack=False)
    fetch(download, tmp_path / "data")
    assert (tmp_path / "data" / "svhn" / "set.tar.gz").read_bytes() == b"matrix"


def svhn_mat(path, pictures, labels):
    savemat(path, {"X": pictures, "y": np.array(labels, np.uint8)[:, None]})
    return path


def test_the_mat_file_of_svhn_becomes_its_image_files(tmp_path, server):
    """The label 10 is the digit 0, and file numbers start at 1, as split_mlai_SVHN.json lists them."""
    pictures = np.zeros((32, 32, 3, 3), np.uint8)
    pictures[..., 0, 0], pictures[..., 1, 1], pictures[..., 2, 2] = 200, 200, 200
    url, state = server
    body = state["body"] = svhn_mat(tmp_path / "one.mat", pictures, [10, 1, 9]).read_bytes()
    url = url.replace("set.tar.gz", "train_32x32.mat")
    download = Download("images", url, "svhn/train", hashlib.sha256(body).hexdigest())
    for _ in range(2):  # a second time changes nothing
        fetch(download, tmp_path)
    images = {
        p: Image.open(tmp_path / "svhn/train" / p) for p in ("0/00001.jpg", "1/00002.jpg", "9/00003.jpg")
    }
    assert sorted(contents(tmp_path / "svhn")) == [f"train/{name}" for name in images]
    for channel, image in enumerate(images.values()):
        assert np.asarray(image).mean((0, 1)).argmax() == channel


@pytest.mark.parametrize("labels", [[1, 2], []])
def test_a_mat_file_of_another_shape_gives_an_error_with_its_name(tmp_path, labels):
    mat = svhn_mat(tmp_path / "bad.mat", np.zeros((32, 32, 3, 3), np.uint8), labels)
    with pytest.raises(UserError, match=r"bad\.mat"):
        write_digits(mat, tmp_path / "out")
    mat.write_bytes(b"not a mat file")
    with pytest.raises(UserError, match=r"bad\.mat"):
        write_digits(mat, tmp_path / "out")
