"""Images out of a request. Only the bytes in it are read: no address and no path is ever opened."""

import base64
import binascii
import io
import warnings
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from bench.data.images import View, clean
from bench.serve.limits import PIXELS, SIDE
from bench.serve.refused import Refused

FORMATS = ("PNG", "JPEG", "WEBP")


def pictures(given: Sequence[str], view: View) -> Tensor:
    """Images in base64 -> uint8 [B, 3, S, S], as the model wants them. Raises Refused (422; 413)."""
    found, pixels = [], 0
    for text in given:
        picture = opened(_bytes(text))
        pixels += picture.width * picture.height
        if pixels > PIXELS:
            raise Refused(413, f"the images of one request have more than {PIXELS:,} pixels together")
        found.append(_decoded(picture, view))
    return torch.stack(found)


def _bytes(text: str) -> bytes:
    """Raises Refused."""
    if text.startswith("data:image/") and ";base64," in text[:64]:
        text = text.partition(";base64,")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(422, "an image has to be sent in base64; addresses and paths are not opened") from None


def opened(data: bytes) -> Image.Image:
    """The picture, its head read and nothing decoded. Raises Refused."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise Refused(413, f"an image has more than {SIDE:,} pixels a side") from None
    except Exception:  # a decoder that is fed with anything raises anything
        raise Refused(422, f"an image is none of {', '.join(FORMATS)}") from None
    if max(picture.size) > SIDE:
        raise Refused(413, f"an image has more than {SIDE:,} pixels a side")
    if min(picture.size) < 1 or max(picture.size) > 64 * min(picture.size):
        raise Refused(422, "an image is more than 64 times as long as wide")
    return picture


def _decoded(picture: Image.Image, view: View) -> Tensor:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture.load()
            return clean(picture, view)
    except Exception:
        raise Refused(422, "an image is damaged") from None
