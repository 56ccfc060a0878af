"""The files of the mini suite beside this module, and a check that they are not damaged."""

import hashlib
from pathlib import Path

from bench.errors import UserError

HERE = Path(__file__).resolve().parent
FILES = {
    "clip": HERE / "clip.safetensors",
    "config": HERE / "clip.json",
    "merges": HERE / "merges.txt.gz",
    "encoder": HERE / "encoder.safetensors",
    "masks": HERE / "masks.png",
    "log": HERE / "training.csv",
    "checksums": HERE / "SHA256SUMS",
}
CHECKED = ("clip", "config", "merges", "encoder", "masks")  # the files that SHA256SUMS lists


def check(path: Path) -> None:
    """Raise UserError unless `path` is the file that SHA256SUMS lists."""
    remedy = "restore it with `git checkout` or reinstall the package"
    if not path.exists():
        raise UserError(f"the mini suite's file {path} is missing: {remedy}")
    if not FILES["checksums"].exists():
        raise UserError(f"the mini suite's file {FILES['checksums']} is missing: {remedy}")
    if f"{_sha256(path)}  {path.name}" not in FILES["checksums"].read_text().splitlines():
        raise UserError(
            f"the mini suite's file {path} is damaged (its sha256 is not the one in SHA256SUMS): {remedy}"
        )


def write_checksums() -> None:
    """Write SHA256SUMS in the format of `sha256sum`, so that `sha256sum -c SHA256SUMS` can check it."""
    lines = [f"{_sha256(FILES[name])}  {FILES[name].name}" for name in CHECKED]
    FILES["checksums"].write_text("\n".join(lines) + "\n")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
