"""The loader: it gives out batches, and it alone knows which images of which set each batch stands for."""

import hashlib
import weakref
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import count

import torch
from torch import Tensor

from bench.blackbox import AccessDenied
from bench.cell import Cell
from bench.door import inside
from bench.prompt import UNKNOWN, Batch, Images, Scale

# The most images that go through the image tower at once, which limits memory: ten prompts on a mini batch.
AT_ONCE = 320
# The largest test set, in images, that stays decoded between checkpoints: 1.2 GB at 224 pixels.
KEPT = 2_000


class Sample:
    """The images that a batch stands for. Predictors read them here, and features are computed once.

    source, index: the set, and [B] positions in it. labels: [B] on the device, or UNKNOWN for images that are
    being scored. crop_seed: of the random crops; None for plain images. crop_scale: of the crops; None for
    the usual scale. memo: features of these images, by kind.
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
        self._images: dict[int | None, Tensor] = {}  # by size in pixels; None: the model's size
        self._copies: dict[int | None, Tensor] = {}  # the images of the batch that was given out last
        self._batch: weakref.ref[Batch]  # with a strong reference, neither object would ever be freed

    def __len__(self) -> int:
        return len(self.index)

    def give_out(self) -> Batch:
        """A new batch for a method, with copies of labels, positions and images; images load on demand."""
        copies: dict[int | None, Tensor] = {}

        def load(size: int | None) -> Tensor:
            if size not in copies:
                copies[size] = self.load(size).clone()
            return copies[size]

        batch = Batch(self.index.clone(), self.labels.clone(), load)
        self._copies, self._batch = copies, weakref.ref(batch)
        return batch

    @property
    def images(self) -> Tensor:
        """[B, 3, S, S] in [0, 1], on the device; loaded on first use and kept."""
        return self.load(None)

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """The sizes in which the images have been loaded."""
        return tuple(self._images)

    def load(self, size: int | None) -> Tensor:
        """[B, 3, size, size]: the same, resampled from the originals to `size` pixels; None: as `images`."""
        if size not in self._images:
            with inside(self.device):
                self._images[size] = self._read(size)
        return self._images[size]

    def _read(self, size: int | None) -> Tensor:
        if self.crop_seed is None:
            return self.source.pixels(self.index, size).to(self.device, self.dtype)
        generator = torch.Generator().manual_seed(self.crop_seed)
        crops = self.source.crops(self.index, generator, size, self.crop_scale)
        return crops.to(self.device, self.dtype)

    @property
    def key(self) -> str:
        """What decides the images: their set, their order, the seed and the scale of the crops."""
        content = (self.source.key, self.index.tolist(), self.crop_seed, self.crop_scale)
        return hashlib.sha256(repr(content).encode()).hexdigest()

    def twin(self) -> "Sample":
        """The same sample, with nothing loaded."""
        return Sample(
            self.source, self.index, self.labels, self.device, self.dtype, self.crop_seed, self.crop_scale
        )

    @property
    def batch(self) -> Batch:
        """The batch that was given out last. The caller must still hold it."""
        batch = self._batch()
        assert batch is not None
        return batch

    @property
    def held(self) -> int:
        """Bytes of the images and of the harness's features of them. The batch's own memo does not count."""
        kept = (self.memo, self._images, self._copies)
        return sum(tensor.nbytes for tensors in kept for tensor in tensors.values())

    def trim(self, limit: int) -> None:
        """Keep at most `limit` bytes: drop the images first, then the features. Both are computed again."""
        if self.held > limit:
            self._images.clear()
            self._copies.clear()
        if self.held > limit:
            self.memo.clear()


class Loader:
    """Gives out the batches of one cell, and finds the sample of a batch."""

    def __init__(self, train: Images, cell: Cell, device: str, dtype: torch.dtype = torch.float32) -> None:
        self.train, self.cell, self.device, self.dtype = train, cell, device, dtype
        self._samples: weakref.WeakKeyDictionary[Batch, Sample] = weakref.WeakKeyDictionary()

    def behind(self, batch: Batch) -> Sample:
        """The sample of a batch. Raises AccessDenied for a batch that this loader did not give out."""
        sample = self._samples.get(batch) if isinstance(batch, Batch) else None
        if sample is None:
            raise AccessDenied("this batch is not one of box.batches() or box.train_pass(): use one of them")
        return sample

    def stream(
        self, size: int | None = None, keep_last: bool = False, crop_scale: Scale | None = None
    ) -> Iterator[Batch]:
        """Training batches without end, in shuffled epochs: see BlackBox.batches. Raises ValueError."""
        if size is not None and (not isinstance(size, int) or size < 1):
            raise ValueError(f"the batch size is {size!r}, but must be a whole number of at least 1")
        check_scale(crop_scale)
        return self._stream(min(size or self.cell.batch_size, self.cell.batch_size), keep_last, crop_scale)

    def _stream(self, size: int, keep_last: bool, crop_scale: Scale | None) -> Iterator[Batch]:
        n = len(self.train)
        order = torch.Generator().manual_seed(self.cell.seed_for("batches"))
        for epoch in count():
            shuffled = torch.randperm(n, generator=order)
            starts = range(0, n if keep_last else max(n - size, 0) + 1, size)
            for i, start in enumerate(starts, epoch * len(starts)):
                crop_seed = self._crop_seed("augment", i)
                yield self.give(self.train, shuffled[start : start + size], crop_seed, crop_scale)

    @cached_property
    def train_pass(self) -> tuple[Batch, ...]:
        """The whole train set once, in order, without augmentation: ceil(N / batch_size) batches."""
        return tuple(self.give(self.train, index) for index in self._in_order())

    def frozen_pass(self, crop_scale: Scale | None = None) -> list[Batch]:
        """The whole train set once, in order; if the cell augments, one crop of each image.

        Raises ValueError for a crop_scale that is not a scale.
        """
        check_scale(crop_scale)
        return [
            self.give(self.train, index, self._crop_seed("augment/frozen pass", i), crop_scale)
            for i, index in enumerate(self._in_order())
        ]

    def _in_order(self) -> Sequence[Tensor]:
        return torch.split(torch.arange(len(self.train)), self.cell.batch_size)

    def _crop_seed(self, purpose: str, i: int) -> int | None:
        """The seed for the crops of batch number i; None if the cell does not augment."""
        return (self.cell.seed_for(purpose) + i) % 2**63 if self.cell.augment else None

    def unlabelled(self, images: Images) -> Iterator[Sample]:
        """The samples of a test set, in order and without labels."""
        return (self.plain(images, index) for index in torch.split(torch.arange(len(images)), AT_ONCE))

    def plain(self, images: Images, index: Tensor) -> Sample:
        """The sample of these images of a test set, without labels."""
        return Sample(images, index, UNKNOWN, self.device, self.dtype)

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
        return self.give_out(Sample(source, index, labels, self.device, self.dtype, crop_seed, crop_scale))

    def give_out(self, sample: Sample) -> Batch:
        """A new batch of a sample."""
        batch = sample.give_out()
        self._samples[batch] = sample
        return batch


def check_scale(scale: Scale | None) -> None:
    """Raise ValueError unless `scale` is None or two shares of an image's area, the smaller one first."""
    if scale is None:
        return
    numbers = isinstance(scale, tuple | list) and all(isinstance(share, int | float) for share in scale)
    if not numbers or len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(
            f"crop_scale is {scale!r}, but must be two shares of the area, 0 < smallest <= largest <= 1"
        )
