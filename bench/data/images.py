"""Image sets: labelled images as clean pixels or as augmented crops."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from stat import S_ISREG

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as F

from bench.data import crop
from bench.data.split import Item
from bench.errors import UserError
from bench.files import reason, shown, stand_in

# Bytes of decoded images that one image set may hold. The other images are decoded again each time.
KEEP_BYTES = 4 * 2**30
THREADS = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)

Index = Sequence[int] | Tensor


@dataclass(frozen=True)
class View:
    """How a model wants its images, in open_clip's terms. Training crops use only `size`.

    Raises UserError for a resize mode or interpolation that is not supported.
    """

    size: int  # pixels per side
    # "shortest": the shorter side becomes `size`, then a centre crop; "squash": both sides become `size`
    resize_mode: str = "shortest"
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if self.resize_mode not in ("shortest", "squash") or self.interpolation not in (
            "bicubic",
            "bilinear",
        ):
            raise UserError(
                f"images cannot be resized as this backbone wants ({self.resize_mode}, {self.interpolation})"
                ": use a backbone with 'shortest' or 'squash' and 'bicubic' or 'bilinear'."
            )


class ImageSet(ABC):
    """N labelled images. `pixels` and `crops` give float32 in [0, 1], all of one size, not normalised.

    labels: int64 [N], on the CPU. key: sha256 that identifies the images and their transform. view: how the
    model wants its images. device: of the pixels and crops.
    """

    def __init__(self, labels: Tensor, key: str, view: View, device: torch.device | str = "cpu") -> None:
        self.labels = labels
        self.key = key
        self.view = view
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.labels)

    def broken(self) -> list[str]:
        """Why images cannot be decoded, one line each; an empty list where all can."""
        return []

    def _view(self, size: int | None) -> View:
        return replace(self.view, size=size or self.view.size)

    @abstractmethod
    def pixels(self, index: Index, size: int | None = None) -> Tensor:
        """The images at `index` [b] without augmentation: [b, 3, S, S], open_clip's evaluation transform.

        size: S in pixels, resampled directly from the original; None: the view's size.
        """

    @abstractmethod
    def crops(
        self,
        index: Index,
        generator: torch.Generator,
        size: int | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Tensor:
        """Random crops of the images at `index` [b], resized to [b, 3, S, S]; half of them are mirrored.

        Their aspect ratio is 3/4 to 4/3, and the filter is bicubic.
        size: as in `pixels`. scale: smallest and largest share of the area; None: crop.SCALE, 0.08 to 1.
        Takes crop.DRAWS random numbers per image from `generator`, so a CPU generator in the same state gives
        the same crops on every device.
        """


class MemoryImages(ImageSet):
    """Images of one size, held in memory as uint8 [N, 3, H, W]: rendered data sets."""

    def __init__(
        self, images: Tensor, labels: Tensor, view: View, device: torch.device | str = "cpu"
    ) -> None:
        digest = hashlib.sha256(f"memory {tuple(images.shape)} {astuple(view)}".encode())
        digest.update(images.contiguous().numpy().tobytes())
        digest.update(labels.numpy().tobytes())
        super().__init__(labels, digest.hexdigest(), view, device)
        self._raw = images.to(self.device)

    def pixels(self, index: Index, size: int | None = None) -> Tensor:
        raw, view = self._raw[as_tensor(index).to(self.device)], self._view(size)
        if raw.shape[-2:] == (view.size, view.size):
            return raw.float() / 255
        pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in raw.cpu()]
        resized = [clean(picture, view) for picture in pictures]
        return torch.stack(resized).to(self.device).float() / 255

    def crops(
        self,
        index: Index,
        generator: torch.Generator,
        size: int | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Tensor:
        raw = self._raw[as_tensor(index).to(self.device)]
        draws = crop.draw(len(raw), generator)
        boxes = crop.rectangles(draws, raw.shape[2], raw.shape[3], scale)
        return crop.resample(raw, boxes, crop.flips(draws), self._view(size).size)


class FileImages(ImageSet):
    """Images in files. Raises UserError with the file's path if one is missing or cannot be decoded.

    keep: decode each image once and hold it as uint8 (few-shot sets), or decode it each time (test sets).
    """

    def __init__(
        self,
        folder: Path,
        items: Sequence[Item],
        view: View,
        keep: bool,
        device: torch.device | str = "cpu",
    ) -> None:
        digest = hashlib.sha256(f"files {astuple(view)}".encode())
        for item in items:
            digest.update(f"{item.image}\0{item.label}\0{stamp(folder / item.image)}\n".encode())
        labels = torch.tensor([item.label for item in items], dtype=torch.int64)
        super().__init__(labels, digest.hexdigest(), view, device)
        self._paths = [folder / item.image for item in items]
        self._keep = keep
        self._held: dict[tuple[str, int], Tensor] = {}
        self._bytes = 0

    def pixels(self, index: Index, size: int | None = None) -> Tensor:
        view = self._view(size)
        ready = _parallel(lambda i: self._clean(i, view), as_tensor(index).tolist())
        if not ready:
            return torch.zeros(0, 3, view.size, view.size, device=self.device)
        return torch.stack(ready).to(self.device).float() / 255

    def crops(
        self,
        index: Index,
        generator: torch.Generator,
        size: int | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Tensor:
        rows, side = as_tensor(index).tolist(), self._view(size).size
        draws = crop.draw(len(rows), generator)
        out = torch.empty(len(rows), 3, side, side, device=self.device)
        mirrored = crop.flips(draws)
        for i, image in enumerate(_parallel(self._whole, rows)):
            box = crop.rectangles(draws[i : i + 1], image.shape[1], image.shape[2], scale)[0]
            out[i] = crop.resample_one(image, box, mirrored[i], side, self.device)
        return out

    def broken(self) -> list[str]:
        def fault(i: int) -> str:
            try:
                decode(self._paths[i])
                return ""
            except UserError as error:
                return str(error)

        with ThreadPoolExecutor(THREADS) as pool:
            return [line for line in pool.map(fault, range(len(self))) if line]

    def _clean(self, i: int, view: View) -> Tensor:
        return self._hold(f"clean {view.size}", i, lambda: clean(decode(self._paths[i]), view))

    def _whole(self, i: int) -> Tensor:
        return self._hold("whole", i, lambda: F.pil_to_tensor(decode(self._paths[i]).convert("RGB")))

    def _hold(self, kind: str, i: int, make: Callable[[], Tensor]) -> Tensor:
        """The image `make` gives, uint8 [3, H, W]; held for the next time if there is room (KEEP_BYTES)."""
        if (kind, i) in self._held:
            return self._held[kind, i]
        image = make()
        if self._keep and self._bytes + image.nbytes <= KEEP_BYTES:
            self._held[kind, i] = image
            self._bytes += image.nbytes
        return image


def decode(path: Path) -> Image.Image:
    """The whole picture, in its own colour mode. Raises UserError if it is missing, damaged or no image."""
    stamp(path)  # a pipe would wait for ever
    try:
        with Image.open(path) as picture:
            picture.load()
            return _bytes(picture, path)
    except UserError:
        raise
    except Exception as error:  # Pillow's readers raise whatever the bytes lead them to
        what = ""
        with suppress(OSError), open(path, "rb") as file:
            what = stand_in(file.read(400))
        why = f"is {what}" if what else f"is damaged or not an image ({reason(error)})"
        raise UserError(f"{shown(path)} {why}: restore it from the data set's archive.") from error


def _bytes(picture: Image.Image, path: Path) -> Image.Image:
    """The picture with 8 bits a channel. Pillow would cut 16 bits off at 255, which turns them white.

    Raises UserError for numbers whose range nobody knows, 32 bits or with a point.
    """
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG"):
        deep = np.asarray(picture).astype(np.uint32)
        return Image.fromarray(((deep + 128) // 257).clip(0, 255).astype(np.uint8))  # 65535 = 255 * 257
    if picture.mode in ("I", "F"):
        raise UserError(f"{path} has 32 bits a pixel (mode {picture.mode}): convert it to 8 or 16 bits.")
    return picture


def stamp(path: Path) -> tuple[int, int]:
    """A file's size in bytes and time of change in ns, which show whether it was replaced.

    Raises UserError if the file is missing or empty.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a name that no system takes
        where = shown(path)
        raise UserError(f"the image {where} is missing: restore it from the data set's archive.") from error
    if found.st_size == 0 or not S_ISREG(found.st_mode):
        where = shown(path)
        raise UserError(f"the image {where} is empty or not a file: restore it from the data set's archive.")
    return found.st_size, found.st_mtime_ns


def _parallel(task: Callable[[int], Tensor], rows: Iterable[int]) -> list[Tensor]:
    """The task's results for all rows, in order. Threads help, because Pillow releases Python's lock."""
    if THREADS == 1:
        return [task(i) for i in rows]
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(task, rows))


def as_tensor(index: Index) -> Tensor:
    """An index as a tensor, int64 [b] on the CPU."""
    return torch.as_tensor(index, dtype=torch.int64).cpu()


def clean(picture: Image.Image, view: View) -> Tensor:
    """A picture after open_clip's evaluation transform up to ToTensor: uint8 [3, size, size].

    The order is resize (Pillow's), centre crop, RGB; it matters for pictures in palette or CMYK mode.
    """
    side = [view.size] if view.resize_mode == "shortest" else [view.size, view.size]
    picture = F.resize(picture, side, interpolation=F.InterpolationMode(view.interpolation))
    pixels: Tensor = F.pil_to_tensor(F.center_crop(picture, [view.size, view.size]).convert("RGB"))
    return pixels
