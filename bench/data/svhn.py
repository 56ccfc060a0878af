"""Converts SVHN's own format, a .mat file of 32 x 32 pictures, into the image files that its split names."""

import os
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import loadmat

from bench.errors import UserError


def write_digits(mat: Path, into: Path) -> None:
    """Write picture i (counted from 1) of a .mat file as into/<digit>/<i with five digits>.jpg.

    The names, the format (JPEG with Pillow's default quality) and the label 10 for the digit 0 are those of
    the script with which BlackVIP's split file was made (datasets/svhn_dl.py of its repository, and
    torchvision's SVHN). A picture that exists is kept, so an interrupted run can be repeated.
    Raises UserError if the file is not SVHN's.
    """
    try:
        content = loadmat(str(mat), variable_names=["X", "y"])
        pictures, labels = content["X"], content["y"].astype(np.int64).ravel() % 10
    except Exception as error:  # loadmat raises many kinds
        raise UserError(
            f"{mat} is not a .mat file of SVHN ({error}): delete it and download it again."
        ) from error
    if pictures.ndim != 4 or pictures.shape[2] != 3 or pictures.shape[3] != len(labels):
        raise UserError(
            f"{mat} holds pictures {pictures.shape} and {len(labels)} labels, but must hold [H, W, 3, N] and "
            "N: delete it and download it again."
        )
    for number, label in enumerate(labels, 1):
        path = into / str(label) / f"{number:05}.jpg"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        Image.fromarray(pictures[..., number - 1]).save(part, format="JPEG")
        os.replace(part, path)
