"""The black box: a frozen model behind a counter. Methods see predictions, never weights or gradients."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.prompt import WHITE_BOX, Prompt

IMAGES_KEPT = 2_000  # of a test set between checkpoints, decoded: 1.2 GB at 224 pixels
UNKNOWN = torch.empty(0, dtype=torch.long)  # the labels of images that are being scored
PASS_BYTES = 2 << 30  # of images and their trunks, held from one pass over the train set to the next
IMAGES_AT_ONCE = 320  # through the image tower: bounds memory; ten prompts on a mini batch


class BudgetSpent(Exception):
    """The next call would pass the budget. Raised before the call; ends a method's run, and is no error."""


class AccessDenied(Exception):
    """A method reached for something its declared access does not cover."""


class Images(Protocol):
    """A labelled set of images, as `bench.data` provides it."""

    labels: Tensor  # [N] int64
    key: str  # identifies content and preprocessing

    def __len__(self) -> int: ...
    def pixels(self, index: Tensor, size: int | None = None) -> Tensor: ...  # [b] -> [b, 3, S, S] in [0, 1]
    def crops(
        self,
        index: Tensor,
        generator: torch.Generator,
        size: int | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Tensor: ...  # augmented


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """Images that are being scored, as a method's prompt sees them: without their labels."""

    _images: Images
    key: str

    def __len__(self) -> int:
        return len(self._images)

    def pixels(self, index: Tensor, size: int | None = None) -> Tensor:
        """[b] -> [b, 3, S, S] in [0, 1]."""
        return self._images.pixels(index, size)


@dataclass(frozen=True, eq=False)
class Batch:
    """At most `batch_size` images. What is derived from them is worked out once, on first use."""

    source: Images | Unlabelled = field(repr=False)
    index: Tensor  # [B] positions in the source
    labels: Tensor  # [B]; UNKNOWN for images that are being scored
    crop_seed: int | None = None  # set: random crops drawn from this seed instead of the plain images
    device: str = "cpu"
    memo: dict[str, Tensor] = field(default_factory=dict, repr=False)  # features of this batch, by kind
    crop_scale: tuple[float, float] | None = None  # smallest and largest share of the area; None: 0.08 to 1

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def images(self) -> Tensor:
        """[B, 3, S, S] in [0, 1]."""
        return self._read(None)

    def resampled(self, size: int) -> Tensor:
        """[B, 3, size, size] in [0, 1]: the same images or crops, straight from the originals to `size`."""
        key = f"resampled {size}"
        if key not in self.memo:
            self.memo[key] = self._read(size)
        return self.memo[key]

    def _read(self, size: int | None) -> Tensor:
        if self.crop_seed is None or isinstance(self.source, Unlabelled):
            return self.source.pixels(self.index, size).to(self.device)
        generator = torch.Generator().manual_seed(self.crop_seed)
        return self.source.crops(self.index, generator, size, self.crop_scale).to(self.device)

    @property
    def held(self) -> int:
        """Bytes of what was worked out."""
        kept = [*self.memo.values(), *([self.__dict__["images"]] if "images" in self.__dict__ else [])]
        return sum(tensor.nbytes for tensor in kept)

    def trim(self, limit: int) -> None:
        """Hold at most `limit` bytes: let go of the images first, then of all; it is worked out again."""
        if self.held > limit:
            self.__dict__.pop("images", None)
        if self.held > limit:
            self.memo.clear()


@dataclass(frozen=True)
class Spec:
    """What the provider of the model tells its callers: sizes and statistics, no weights."""

    image_size: int  # pixels a side
    text_width: int  # d, the width of a context vector
    vision_width: int | None  # w, the width of a visual token
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    token_std: float  # of the token embedding table
    patch_mean: float  # of the patch embedding's weights
    patch_std: float
    shots: int  # training images a class, at most
    train_size: int  # few-shot images
    batch_size: int  # images a query carries at most
    budget: int  # queries


@dataclass(frozen=True)
class Point:
    """A checkpoint of the trace: what a budget of `queries` buys."""

    queries: int  # the checkpoint
    spent: int  # queries paid by then, at most `queries`
    image_queries: int
    train_loss: float | None  # mean cross-entropy of the candidates since the last checkpoint
    accuracy: dict[str, float]  # % correct, by test set


def checkpoints(budget: int) -> list[int]:
    """0, then the 1-2-5 series from 10 up to the budget, then the budget itself."""
    series = [step * 10**power for power in range(1, 13) for step in (1, 2, 5)]
    return [0, *(q for q in series if q < budget), budget]


Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of each candidate: logits [K, B, C], labels [B] -> [K]."""
    flat = F.cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)), reduction="none")
    return flat.view(len(logits), -1).mean(1)


class BlackBox:
    """A model, a task and a budget. The unit is the query: one prompt on one batch.

    Methods use the public names only, and not `score`, `trace`, `finish`, `deployed` and `n_test`, which are
    the harness's; `bench check` holds them to it. See `bench.models.Backbone`,
    `bench.data.Task`, `bench.cell.Cell` and `bench.run.Lab` for what it is made of.
    """

    def __init__(self, backbone: Any, task: Any, cell: Any, access: Sequence[str], lab: Any) -> None:
        self.classes: tuple[str, ...] = task.classes
        self.template: str = task.template
        self.budget: int = cell.budget
        self.spent = 0
        self.image_queries = 0
        self.trace: list[Point] = []
        self._backbone, self._task, self._cell, self._lab = backbone, task, cell, lab
        self._access = frozenset(access)
        self._due = checkpoints(cell.budget)
        self._held: Prompt | None = None
        self._scored: tuple[Prompt, dict[str, float]] | None = None
        self._losses: list[tuple[float, int]] = []  # (mean loss, candidates) since the last checkpoint
        self._towers: dict[tuple[str, ...], Any] = {}
        self._texts: dict[tuple[tuple[str, ...], str], Tensor] = {}
        self._test_batches: dict[str, list[Batch]] = {}

    # What a method may know

    @cached_property
    def spec(self) -> Spec:
        """Sizes and statistics that a method may use."""
        b = self._backbone
        return Spec(
            image_size=b.image_size,
            text_width=b.text_width,
            vision_width=b.vision_width,
            pixel_mean=tuple(b.pixel_mean.flatten().tolist()),
            pixel_std=tuple(b.pixel_std.flatten().tolist()),
            token_std=b.token_std,
            patch_mean=b.patch_mean,
            patch_std=b.patch_std,
            shots=self._cell.shots,
            train_size=len(self._task.train),
            batch_size=self._cell.batch_size,
            budget=self.budget,
        )

    @property
    def n_test(self) -> dict[str, int]:
        """Number of images in each test set."""
        return {name: len(test.images) for name, test in self._task.tests.items()}

    @property
    def device(self) -> str:
        """Where logits lie and prompts are expected."""
        return str(self._backbone.device)

    @property
    def remaining(self) -> int:
        """Queries left."""
        return self.budget - self.spent

    def embed_words(self, words: str) -> Tensor:
        """[m, d] token embeddings of `words`: tokeniser and table are published with every CLIP."""
        return self._backbone.embed_words(words)

    def encoder_width(self, encoder: str) -> int:
        """Length of a feature vector of `encode`."""
        return self._lab.encoder(encoder).embed_dim

    def encode(self, batch: Batch, encoder: str) -> Tensor:
        """[B, width] features of the caller's own frozen image encoder, which is not the target: no query."""
        if encoder not in batch.memo:
            batch.memo[encoder] = self._encode(self._lab.encoder(encoder), batch)
        return batch.memo[encoder]

    # Training images

    def batches(
        self,
        size: int | None = None,
        keep_last: bool = False,
        crop_scale: tuple[float, float] | None = None,
    ) -> Iterator[Batch]:
        """The seeded, endless stream of training batches: shuffled epochs, a short last batch dropped.

        size: images a batch, at most `batch_size`, which it is by default. keep_last: an epoch ends with its
        short batch. crop_scale: as in Batch, where the cell augments.
        """
        n, size = len(self._task.train), min(size or self._cell.batch_size, self._cell.batch_size)
        order = torch.Generator().manual_seed(self._cell.seed_for("batches"))
        crop_seed = self._cell.seed_for("augment")
        count = 0
        while True:
            shuffled = torch.randperm(n, generator=order)
            for start in range(0, n if keep_last else max(n - size, 0) + 1, size):
                augmented = (crop_seed + count) % 2**63 if self._cell.augment else None
                count += 1
                yield self._batch(shuffled[start : start + size], augmented, crop_scale)

    def train_pass(self) -> list[Batch]:
        """The whole train set once, unaugmented, in order: ceil(N / batch_size) batches, always the same."""
        return self._train_pass

    @cached_property
    def _train_pass(self) -> list[Batch]:
        order = torch.arange(len(self._task.train))
        return [self._batch(index) for index in order.split(self._cell.batch_size)]

    def frozen_pass(self, crop_scale: tuple[float, float] | None = None) -> list[Batch]:
        """The whole train set once, in order; where the cell augments, one crop of each image, made once."""
        order = torch.arange(len(self._task.train))
        seed = self._cell.seed_for("augment/frozen pass")
        return [
            self._batch(index, (seed + i) % 2**63 if self._cell.augment else None, crop_scale)
            for i, index in enumerate(order.split(self._cell.batch_size))
        ]

    def _batch(
        self,
        index: Tensor,
        crop_seed: int | None = None,
        crop_scale: tuple[float, float] | None = None,
    ) -> Batch:
        labels = self._task.train.labels[index].to(self.device)
        return Batch(self._task.train, index, labels, crop_seed, self.device, crop_scale=crop_scale)

    # Queries

    def require(self, queries: int) -> None:
        """Raise BudgetSpent unless `queries` more fit: for steps of several calls, refused whole."""
        if self.spent + queries > self.budget:
            raise BudgetSpent(f"{self.spent} of {self.budget} queries are spent; {queries} more do not fit")

    def logits(self, batch: Batch, prompts: Sequence[Prompt]) -> Tensor:
        """Predictions [K, B, C] of K prompts on one batch. Costs K queries and K * B image-queries.

        Raises BudgetSpent before the call if it would pass the budget, AccessDenied if a prompt uses more
        than the method declared, FloatingPointError if a prompt makes the model's answer infinite.
        """
        for prompt in prompts:
            self._check_access(prompt)
        self._charge(len(prompts), len(batch))
        with torch.set_grad_enabled(WHITE_BOX in self._access):
            text = self._text(prompts, self.classes, self.template)
            logits = self._combine(self._image(batch, prompts), text)
        losses = cross_entropy(logits.detach(), batch.labels)
        loss = losses.mean().item()
        if loss != loss or abs(loss) == float("inf"):
            raise FloatingPointError(f"the logits are not finite at query {self.spent}: the prompt diverged")
        self._losses.append((loss, len(prompts)))
        return logits

    def pass_loss(
        self,
        prompts: Sequence[Prompt],
        loss: Loss = cross_entropy,
        batches: Sequence[Batch] | None = None,
    ) -> Tensor:
        """[K] mean loss of K prompts over one pass of the train set: K * ceil(N / batch_size) queries.

        loss: logits [K, B, C], labels [B] -> [K]. batches: the pass; `train_pass()` by default. Raises
        BudgetSpent unless the whole pass fits.
        """
        batches = self.train_pass() if batches is None else batches
        self.require(len(prompts) * len(batches))
        total = torch.zeros(len(prompts), device=self.device)
        for batch in batches:
            total += len(batch) * loss(self.logits(batch, prompts), batch.labels)
            batch.trim(PASS_BYTES // len(batches))
        return total / self.spec.train_size

    def _charge(self, queries: int, images: int) -> None:
        self.require(queries)
        while self._due and self._due[0] < self.spent + queries:
            self._checkpoint(self._due.pop(0))
        self.spent += queries
        self.image_queries += queries * images

    def _check_access(self, prompt: Prompt) -> None:
        if not prompt.access <= self._access:
            extra, declared = sorted(prompt.access - self._access), sorted(self._access)
            raise AccessDenied(
                f"the prompt uses {', '.join(extra)}; the method declares {', '.join(declared)}"
            )

    # The deployed prompt and its score

    def report(self, prompt: Prompt) -> None:
        """The deployable prompt now. Scored at the checkpoints, off the meter, unseen by the method."""
        if not isinstance(prompt, Prompt):
            raise TypeError(
                f"report takes a Prompt, not {type(prompt).__name__}: write report(self.prompt(x))"
            )
        self._check_access(prompt)
        self._held = prompt

    def finish(self) -> None:
        """Score what is deployed at the checkpoints that are left, the budget last."""
        while self._due:
            self._checkpoint(self._due.pop(0))

    @property
    def deployed(self) -> Prompt | None:
        """The prompt reported last."""
        return self._held

    def _checkpoint(self, queries: int) -> None:
        assert self._held is not None, "the harness reports the untuned prompt before the method runs"
        if self._scored is None or self._scored[0] is not self._held:
            self._scored = (self._held, self.score(self._held))
        count = sum(n for _, n in self._losses)
        loss = sum(mean * n for mean, n in self._losses) / count if count else None
        self._losses.clear()
        self.trace.append(Point(queries, self.spent, self.image_queries, loss, self._scored[1]))

    @torch.no_grad()
    def score(self, prompt: Prompt) -> dict[str, float]:
        """% correct on each test set. The text is encoded once; a logits head only fits its own classes."""
        accuracy = {}
        for name, test in self._task.tests.items():
            text = self._text([prompt], test.classes, test.template)
            correct = 0
            for batch in self._batches_of(name, test.images):
                image = self._image(batch, [prompt])
                logits = self._combine(image, text)[0]
                if prompt.head is not None and test.classes == self.classes:
                    logits = prompt.head(logits)
                if not logits.isfinite().all():
                    raise FloatingPointError("the reported prompt's logits are not finite: it diverged")
                labels = test.images.labels[batch.index].to(logits.device)
                correct += int((logits.argmax(1) == labels).sum())
            accuracy[name] = round(100 * correct / len(test.images), 4)
        return accuracy

    def _batches_of(self, name: str, images: Images) -> Iterable[Batch]:
        """Unlabelled batches of a test set; a small one's are kept, with what is derived from them."""
        chunks = torch.arange(len(images)).split(IMAGES_AT_ONCE)
        source = Unlabelled(images, images.key)
        fresh = (Batch(source, index, UNKNOWN, None, self.device) for index in chunks)
        if len(images) > IMAGES_KEPT:
            return fresh
        return self._test_batches.setdefault(name, list(fresh))

    # The model

    def _combine(self, image: Tensor, text: Tensor) -> Tensor:
        """Image features [K | 1, B, e], text features [K | 1, C, e] -> logits [K, B, C]."""
        return self._backbone.logit_scale * (image @ text.transpose(-1, -2))

    def _text(self, prompts: Sequence[Prompt], classes: tuple[str, ...], template: str) -> Tensor:
        """Text features [K, C, e] (or [1, C, e] when all prompts say the same words)."""
        contexts = [p.context for p in prompts if p.context is not None]
        if len(contexts) == len(prompts):
            if classes not in self._towers:
                self._towers[classes] = self._backbone.text_tower(classes)
            return self._towers[classes].encode(torch.stack(contexts))
        if contexts:
            raise ValueError("one call mixes prompts with a text context and prompts without")
        words = [p.template or template for p in prompts]
        unique = list(dict.fromkeys(words))
        features = torch.stack([self._worded(classes, word) for word in unique])
        return features if len(unique) == 1 else features[[unique.index(w) for w in words]]

    def _worded(self, classes: tuple[str, ...], template: str) -> Tensor:
        key = (classes, template)
        if key not in self._texts:
            with torch.no_grad():
                self._texts[key] = self._backbone.encode_texts([template.format(name) for name in classes])
        return self._texts[key]

    def _image(self, batch: Batch, prompts: Sequence[Prompt]) -> Tensor:
        """Image features [K, B, e] (or [1, B, e] when all prompts leave the image as it is)."""
        moved = [p.pixels is not None for p in prompts]
        tokens = [p.tokens for p in prompts if p.tokens is not None]
        if any(moved):
            if not all(moved) or tokens:
                raise ValueError("one call mixes prompts that move pixels with prompts of another kind")
            return self._pixel_features(batch, prompts)
        if tokens:
            if len(tokens) != len(prompts):
                raise ValueError("one call mixes prompts with visual tokens and prompts without")
            return self._backbone.encode_trunk(self._memo(batch, "trunk"), torch.stack(tokens))
        return self._memo(batch, "features")[None]

    def _pixel_features(self, batch: Batch, prompts: Sequence[Prompt]) -> Tensor:
        sent = torch.cat([p.pixels(batch) for p in prompts])  # type: ignore[misc]  # [K * B, 3, S, S]
        parts = [self._backbone.encode_images(part) for part in sent.split(IMAGES_AT_ONCE)]
        return torch.cat(parts).view(len(prompts), len(batch), -1)

    def _memo(self, batch: Batch, kind: str) -> Tensor:
        """What does not change while only the prompt moves: encoded once a batch, or once for all."""
        if kind not in batch.memo:
            if kind == "features":
                batch.memo[kind] = self._encode(self._backbone, batch)
            else:
                with torch.no_grad():
                    batch.memo[kind] = self._backbone.trunk(batch.images)
        return batch.memo[kind]

    @torch.no_grad()
    def _encode(self, model: Any, batch: Batch) -> Tensor:
        """[B, width] features of a batch: of plain images looked up in those of the whole set."""
        if batch.crop_seed is None:
            return self._lab.features(model, batch.source)[batch.index].to(self.device)
        return model.encode_images(batch.images)
