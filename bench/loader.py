"""The loader: gives out batches, and alone knows which images of which set stand behind each."""

import weakref
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import count

import torch
from torch import Tensor

from bench.blackbox import AccessDenied
from bench.cell import Cell
from bench.prompt import UNKNOWN, Batch, Images, Scale

AT_ONCE = 320  # images through the image tower: bounds memory; ten prompts on a mini batch
KEPT = 2_000  # images of a test set that stay decoded between checkpoints: 1.2 GB at 224 pixels


class Sample:
    """What stands behind a batch, for predictors. What is derived from it is worked out once.

    source, index: which images of which set. labels: [B] on the device, or UNKNOWN for images that are being
    scored. crop_seed, crop_scale: of random crops; None for the plain images, and for the usual scale. memo:
    features of these images, by kind.
    """

    def __init__(
        self,
        source: Images,
        index: Tensor,
        labels: Tensor,
        device: str,
        dtype: torch.dtype,
        crop_seed: int | None = None,
        crop_scale: Scale | None = None,
    ) -> None:
        self.source, self.index, self.labels = source, index, labels
        self.device, self.dtype = device, dtype
        self.crop_seed, self.crop_scale = crop_seed, crop_scale
        self.memo: dict[str, Tensor] = {}
        self._images: Tensor | None = None
        self._batch: weakref.ref[Batch]  # a strong reference would keep both for ever

    def __len__(self) -> int:
        return len(self.index)

    def give_out(self) -> Batch:
        """The batch that a method may see: labels and positions of its own, images on demand."""
        batch = Batch(self.index.clone(), self.labels.clone(), lambda size: self._load(size))
        self._batch = weakref.ref(batch)
        return batch

    @property
    def images(self) -> Tensor:
        """[B, 3, S, S] in [0, 1], on the device; loaded on first use and kept."""
        return self._load(None)

    def _load(self, size: int | None) -> Tensor:
        if size is not None:
            return self._read(size)
        if self._images is None:
            self._images = self._read(None)
        return self._images

    def _read(self, size: int | None) -> Tensor:
        if self.crop_seed is None:
            return self.source.pixels(self.index, size).to(self.device, self.dtype)
        generator = torch.Generator().manual_seed(self.crop_seed)
        crops = self.source.crops(self.index, generator, size, self.crop_scale)
        return crops.to(self.device, self.dtype)

    @property
    def batch(self) -> Batch:
        """The batch that was given out; whoever asks about it still holds it."""
        batch = self._batch()
        assert batch is not None
        return batch

    @property
    def held(self) -> int:
        """Bytes of what was worked out, by the harness and by the method."""
        images = [] if self._images is None else [self._images]
        return sum(tensor.nbytes for tensor in [*self.memo.values(), *self.batch.memo.values(), *images])

    def trim(self, limit: int) -> None:
        """Hold at most `limit` bytes: let go of the images first, then of all; it is worked out again."""
        if self.held > limit:
            self._images = None
        if self.held > limit:
            self.memo.clear()
            self.batch.memo.clear()


class Loader:
    """Gives out the batches of one cell."""

    def __init__(self, train: Images, cell: Cell, device: str, dtype: torch.dtype = torch.float32) -> None:
        self.train, self.cell, self.device, self.dtype = train, cell, device, dtype
        self._samples: weakref.WeakKeyDictionary[Batch, Sample] = weakref.WeakKeyDictionary()

    def behind(self, batch: Batch) -> Sample:
        """The sample of a batch. Raises AccessDenied for one that this loader did not give out."""
        sample = self._samples.get(batch) if isinstance(batch, Batch) else None
        if sample is None:
            raise AccessDenied("this batch is not one of box.batches() or box.train_pass(): send those")
        return sample

    def stream(
        self, size: int | None = None, keep_last: bool = False, crop_scale: Scale | None = None
    ) -> Iterator[Batch]:
        """Endless training batches: shuffled epochs. See BlackBox.batches."""
        n, size = len(self.train), min(size or self.cell.batch_size, self.cell.batch_size)
        order = torch.Generator().manual_seed(self.cell.seed_for("batches"))
        for epoch in count():
            shuffled = torch.randperm(n, generator=order)
            starts = range(0, n if keep_last else max(n - size, 0) + 1, size)
            for i, start in enumerate(starts, epoch * len(starts)):
                crop_seed = self._crop_seed("augment", i)
                yield self.give(self.train, shuffled[start : start + size], crop_seed, crop_scale)

    @cached_property
    def train_pass(self) -> tuple[Batch, ...]:
        """The whole train set once, plain, in order: ceil(N / batch_size) batches."""
        return tuple(self.give(self.train, index) for index in self._in_order())

    def frozen_pass(self, crop_scale: Scale | None = None) -> list[Batch]:
        """The whole train set once, in order; where the cell augments, one crop of each image."""
        return [
            self.give(self.train, index, self._crop_seed("augment/frozen pass", i), crop_scale)
            for i, index in enumerate(self._in_order())
        ]

    def _in_order(self) -> Sequence[Tensor]:
        return torch.split(torch.arange(len(self.train)), self.cell.batch_size)

    def _crop_seed(self, purpose: str, i: int) -> int | None:
        """Of batch number i; None where the cell does not augment."""
        return (self.cell.seed_for(purpose) + i) % 2**63 if self.cell.augment else None

    def unlabelled(self, images: Images) -> Iterator[Batch]:
        """A test set in order, without its labels."""
        chunks = torch.split(torch.arange(len(images)), AT_ONCE)
        return (self.give(images, index, labelled=False) for index in chunks)

    def give(
        self,
        source: Images,
        index: Tensor,
        crop_seed: int | None = None,
        crop_scale: Scale | None = None,
        labelled: bool = True,
    ) -> Batch:
        """A new batch of these images."""
        labels = source.labels[index].to(self.device) if labelled else UNKNOWN
        sample = Sample(source, index, labels, self.device, self.dtype, crop_seed, crop_scale)
        batch = sample.give_out()
        self._samples[batch] = sample
        return batch
