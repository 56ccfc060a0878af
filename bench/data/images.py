"""Image sets: labelled images as clean pixels or as augmented crops."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as F

from bench.data import crop

Index = Sequence[int] | Tensor


class ImageSet(ABC):
    """N labelled images, delivered as float32 in [0, 1] at one size, not normalised.

    labels: int64 [N], on the CPU. key: sha256 that names content and transform. device: where pixels and
    crops appear.
    """

    def __init__(self, labels: Tensor, key: str, image_size: int, device: torch.device | str = "cpu") -> None:
        self.labels = labels
        self.key = key
        self.image_size = image_size
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def pixels(self, index: Index) -> Tensor:
        """[b, 3, S, S]: open_clip's evaluation transform before normalisation."""

    @abstractmethod
    def crops(self, index: Index, generator: torch.Generator) -> Tensor:
        """[b, 3, S, S]: random resized crops (area 0.08-1, ratio 3/4-4/3, bicubic), half of them mirrored.

        Takes crop.DRAWS numbers an image from `generator` and nothing else: a CPU generator in the same
        state gives the same crops on any device.
        """


class MemoryImages(ImageSet):
    """Images of one size that are held as uint8 [N, 3, H, W]; rendered data sets."""

    def __init__(
        self, images: Tensor, labels: Tensor, image_size: int, device: torch.device | str = "cpu"
    ) -> None:
        digest = hashlib.sha256(f"memory {tuple(images.shape)} {image_size}".encode())
        digest.update(images.contiguous().numpy().tobytes())
        digest.update(labels.numpy().tobytes())
        super().__init__(labels, digest.hexdigest(), image_size, device)
        self._raw = images.to(self.device)

    def pixels(self, index: Index) -> Tensor:
        raw = self._raw[as_tensor(index).to(self.device)]
        if raw.shape[-2:] == (self.image_size, self.image_size):
            return raw.float() / 255
        pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in raw.cpu()]
        resized = [clean(picture, self.image_size) for picture in pictures]
        return torch.stack(resized).to(self.device).float() / 255

    def crops(self, index: Index, generator: torch.Generator) -> Tensor:
        raw = self._raw[as_tensor(index).to(self.device)]
        draws = crop.draw(len(raw), generator)
        boxes = crop.rectangles(draws, *raw.shape[-2:])
        return crop.resample(raw, boxes, crop.flips(draws), self.image_size)


def as_tensor(index: Index) -> Tensor:
    """int64 [b] on the CPU."""
    return torch.as_tensor(index, dtype=torch.int64).cpu()


def clean(picture: Image.Image, size: int) -> Tensor:
    """uint8 [3, size, size]: open_clip's evaluation transform up to, not including, ToTensor.

    Shorter side to `size` (Pillow's bicubic), centre crop, and only then RGB: the order matters for
    pictures in palette or CMYK mode.
    """
    picture = F.resize(picture, [size], interpolation=F.InterpolationMode.BICUBIC)
    picture = F.center_crop(picture, [size, size]).convert("RGB")
    return F.pil_to_tensor(picture)
