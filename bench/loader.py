"""The loader: gives out batches, and alone knows which images of which set stand behind each."""

import weakref
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from bench.blackbox import AccessDenied
from bench.cell import Cell
from bench.prompt import UNKNOWN, Batch, Images

AT_ONCE = 320  # images through the image tower: bounds memory; ten prompts on a mini batch
KEPT = 2_000  # images of a test set that stay decoded between checkpoints: 1.2 GB at 224 pixels


class Sample:
    """What stands behind a batch, for predictors. What is derived from it is worked out once.

    source, index: which images of which set. labels: [B] on the device, or UNKNOWN for images that are being
    scored. crop_seed: draws random crops; None for the plain images. memo: features of these images, by kind.
    """

    def __init__(
        self, source: Images, index: Tensor, labels: Tensor, crop_seed: int | None, device: str
    ) -> None:
        self.source, self.index, self.labels = source, index, labels
        self.crop_seed, self.device = crop_seed, device
        self.memo: dict[str, Tensor] = {}
        self._batch: weakref.ref[Batch]  # a strong reference would keep both for ever

    def __len__(self) -> int:
        return len(self.index)

    def give_out(self) -> Batch:
        """The batch that a method may see: labels and positions of its own, images on demand."""
        batch = Batch(self.index.clone(), self.labels.clone(), lambda: self.images)
        self._batch = weakref.ref(batch)
        return batch

    @cached_property
    def images(self) -> Tensor:
        """[B, 3, S, S] in [0, 1], on the device."""
        if self.crop_seed is None:
            return self.source.pixels(self.index).to(self.device)
        generator = torch.Generator().manual_seed(self.crop_seed)
        return self.source.crops(self.index, generator).to(self.device)

    @property
    def batch(self) -> Batch:
        """The batch that was given out; whoever asks about it still holds it."""
        batch = self._batch()
        assert batch is not None
        return batch

    @property
    def held(self) -> int:
        """Bytes of what was worked out, by the harness and by the method."""
        images = [self.__dict__["images"]] if "images" in self.__dict__ else []
        return sum(tensor.nbytes for tensor in [*self.memo.values(), *self.batch.memo.values(), *images])

    def forget(self) -> None:
        """Let go of what was worked out; it is worked out again when asked for."""
        self.memo.clear()
        self.batch.memo.clear()
        self.__dict__.pop("images", None)


class Loader:
    """Gives out the batches of one cell."""

    def __init__(self, train: Images, cell: Cell, device: str) -> None:
        self.train, self.cell, self.device = train, cell, device
        self._samples: weakref.WeakKeyDictionary[Batch, Sample] = weakref.WeakKeyDictionary()

    def behind(self, batch: Batch) -> Sample:
        """The sample of a batch. Raises AccessDenied for one that this loader did not give out."""
        sample = self._samples.get(batch) if isinstance(batch, Batch) else None
        if sample is None:
            raise AccessDenied("this batch is not one of box.batches() or box.train_pass(): send those")
        return sample

    def stream(self) -> Iterator[Batch]:
        """Endless training batches: shuffled epochs, a short last batch dropped."""
        n, size = len(self.train), self.cell.batch_size
        order = torch.Generator().manual_seed(self.cell.seed_for("batches"))
        crop_seed = self.cell.seed_for("augment")
        count = 0
        while True:
            shuffled = torch.randperm(n, generator=order)
            for start in range(0, max(n - size, 0) + 1, size):
                augmented = (crop_seed + count) % 2**63 if self.cell.augment else None
                count += 1
                yield self.give(self.train, shuffled[start : start + size], augmented)

    @cached_property
    def train_pass(self) -> tuple[Batch, ...]:
        """The whole train set once, plain, in order: ceil(N / batch_size) batches."""
        order = torch.arange(len(self.train))
        return tuple(self.give(self.train, index) for index in torch.split(order, self.cell.batch_size))

    def unlabelled(self, images: Images) -> Iterator[Batch]:
        """A test set in order, without its labels."""
        chunks = torch.split(torch.arange(len(images)), AT_ONCE)
        return (self.give(images, index, labelled=False) for index in chunks)

    def give(
        self, source: Images, index: Tensor, crop_seed: int | None = None, labelled: bool = True
    ) -> Batch:
        """A new batch of these images."""
        labels = source.labels[index].to(self.device) if labelled else UNKNOWN
        sample = Sample(source, index, labels, crop_seed, self.device)
        batch = sample.give_out()
        self._samples[batch] = sample
        return batch
