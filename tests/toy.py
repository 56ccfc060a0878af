"""A toy world for tests of the black box and the methods: a linear "CLIP", Gaussian "images", no files."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.cell import Cell
from bench.predictor import LocalPredictor
from bench.protocols import Augmented, Backbone, Features, Frozen, Images, Task
from bench.trial import Trial

D, E, S = 12, 8, 16  # text width, feature width, pixels per side


@dataclass(frozen=True)
class ToyImages:
    """The images of a class are noise around its mean."""

    labels: Tensor
    key: str = "toy"
    data: Tensor = field(default_factory=lambda: torch.empty(0))

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, index: Tensor, size: int | None = None) -> Tensor:
        return self.data[index] if size is None else F.interpolate(self.data[index], size)

    def crops(
        self,
        index: Tensor,
        generator: torch.Generator,
        size: int | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Tensor:
        shift = torch.randint(S, (1,), generator=generator).item()
        return self.pixels(index, size).roll(shift, -1)


@dataclass(frozen=True)
class ToyTest:
    classes: tuple[str, ...]
    template: str
    images: ToyImages


@dataclass(frozen=True)
class ToyTask:
    classes: tuple[str, ...]
    template: str
    train: ToyImages
    tests: dict[str, ToyTest]


class ToyTower:
    def __init__(self, names: Tensor, mix: Tensor) -> None:
        self.names, self.mix = names, mix

    def encode(self, contexts: Tensor) -> Tensor:
        return F.normalize(
            self.names + torch.tanh(contexts.double().mean(1) @ self.mix)[:, None] * self.names.flip(0),
            dim=-1,
        )


class ToyBackbone:
    """The features are linear in the pixels; the context changes the class vectors."""

    def __init__(self, side: int = S, text_width: int = D, vision_width: int = E) -> None:
        g = torch.Generator().manual_seed(0)
        self.W = torch.randn(3 * side * side, E, generator=g).double()
        self.mix = torch.randn(text_width, E, generator=g).double()
        self.name, self.device, self.weights_hash = "toy", torch.device("cpu"), "toy"
        self.dtype = torch.float64
        self.image_size, self.text_width, self.vision_width = side, text_width, vision_width
        self.pixel_mean = self.pixel_std = torch.full((3, 1, 1), 0.5)
        self.token_std, self.patch_mean, self.patch_std, self.logit_scale = 0.02, 0.0, 0.02, 10.0
        self.embed_dim, self.identity = E, ("toy", side, text_width, vision_width)

    def vectors(self, names: tuple[str, ...]) -> Tensor:
        rows = [torch.randn(E, generator=torch.Generator().manual_seed(sum(map(ord, n)))) for n in names]
        return torch.stack(rows).double()

    def text_tower(self, class_names: Sequence[str]) -> ToyTower:
        return ToyTower(self.vectors(tuple(class_names)), self.mix)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return F.normalize(self.vectors(tuple(texts)), dim=-1)

    def embed_words(self, text: str) -> Tensor:
        return 0.02 * torch.ones(len(text.split()), self.text_width)

    def encode_images(self, images: Tensor) -> Tensor:
        return F.normalize((images.double() - 0.5).flatten(1) @ self.W, dim=-1)

    encode_clean = encode_crops = encode_images

    def trunk(self, images: Tensor) -> Tensor:
        return (images.double() - 0.5).flatten(1) @ self.W

    def encode_trunk(self, trunk: Tensor, tokens: Tensor | None = None) -> Tensor:
        assert tokens is not None
        return F.normalize(trunk + tokens.mean(1)[:, None], dim=-1)


class ToyEncoder:
    name = "toy-encoder"

    def __init__(self, width: int = 4) -> None:
        self.embed_dim, self.identity = width, ("toy-encoder", width)

    def encode_images(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)).repeat(1, self.embed_dim)[:, : self.embed_dim]

    encode_clean = encode_crops = encode_images


class ToyLab:
    """In place of bench.lab.Lab: computes features each time and counts how often."""

    def __init__(self, encoder_width: int = 4) -> None:
        self.asked, self.encoder_width = 0, encoder_width

    def features(self, model: Frozen, images: Images) -> Tensor:
        self.asked += 1
        return model.encode_images(images.pixels(torch.arange(len(images))))

    def augmented(self, model: Frozen, batch: Augmented) -> Tensor:
        return model.encode_crops(batch.images)

    def encoder(self, name: str) -> ToyEncoder:
        return ToyEncoder(self.encoder_width)


def toy_task(classes: int = 4, train: int = 40, test: int = 60) -> ToyTask:
    g = torch.Generator().manual_seed(1)
    names = tuple(f"class {chr(97 + i)}" for i in range(classes))
    means = torch.rand(classes, 3, S, S, generator=g)

    def images(n: int, key: str) -> ToyImages:
        labels = torch.arange(n) % classes
        noise = 0.3 * torch.randn(n, 3, S, S, generator=g)
        return ToyImages(labels, key, (means[labels] + noise).clamp(0, 1))

    tests = {"test": ToyTest(names, "a {}.", images(test, "toy test"))}
    return ToyTask(names, "a {}.", images(train, "toy train"), tests)


def toy_cell(**changes: object) -> Cell:
    fields = {
        "suite": "toy", "protocol": "few-shot", "method": "zip", "dataset": "toy", "backbone": "toy",
        "seed": 1, "shots": 10, "budget": 100, "batch_size": 8,
    }  # fmt: skip
    return Cell(**(fields | changes))  # type: ignore[arg-type]


def toy_trial(access: tuple[str, ...] = ("text context",), **changes: object) -> Trial:
    return trial_of(ToyBackbone(), toy_cell(**changes), access, ToyLab())


def trial_of(
    backbone: ToyBackbone, cell: Cell, access: tuple[str, ...], lab: ToyLab, task: ToyTask | None = None
) -> Trial:
    return Trial(cell, task or toy_task(), LocalPredictor(backbone, lab), lab, access)


def shapes(backbone: ToyBackbone, lab: ToyLab, encoder: ToyEncoder, task: ToyTask) -> None:
    """For the type checker: the toys have the types that the harness needs."""
    _: tuple[Backbone, Features, Frozen, Task] = (backbone, lab, encoder, task)
