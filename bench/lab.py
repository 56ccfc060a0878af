"""The lab: the models, tasks and features that one process has loaded. It keeps them for the next cells.

`Lab.load` computes everything that outlives a cell before any code of the method runs. So a method that
changes the rules of computation for a while (autocast, a hook, a patched function) cannot affect numbers that
are kept. If a method needs features that are not kept, they are computed for its cell alone (`CellFeatures`).
Features of augmented images are the exception: bench/models/augmented.py says when they are kept.
"""

from collections.abc import Callable, Hashable
from dataclasses import astuple, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor

from bench.answered import parse
from bench.chat import ChatSettings
from bench.data.images import View
from bench.data.task import Task, load_task
from bench.errors import UserError
from bench.isolation import Seals
from bench.models import Backbone, Encoder, load_backbone, load_encoder
from bench.models.augmented import AugmentedFeatures
from bench.models.backbone import model_dtype
from bench.models.features import features
from bench.precision import MOVED
from bench.prompt import Images
from bench.protocols import Augmented, Frozen
from bench.remote import Endpoint, Wiring
from bench.resolve import Resolved

if TYPE_CHECKING:
    from bench.wire.asker import Asker
    from bench.wire.probe import Probe

V = TypeVar("V")


@dataclass(frozen=True)
class Settings:
    """Where to run, not what to run. No number depends on these values, except by the rounding of a GPU."""

    device: str = "cpu"
    data_root: str | None = None
    offline: bool = False
    chat: ChatSettings = field(default_factory=ChatSettings)
    wiring: Wiring = field(default_factory=Wiring)
    cache_limit: int = 0  # bytes on disk for features of augmented images; 0: they are not kept


class Kept(Generic[V]):
    """The last `most` values of one kind, by key. Each one is sealed when it is made. grows: see Seals."""

    def __init__(self, kind: str, most: int, grows: bool = False) -> None:
        self.kind, self.most = kind, most
        self._values: dict[Hashable, V] = {}
        self._seals = Seals(grows)

    def find(self, key: Hashable) -> V | None:
        """The value of this key; None if it is not kept."""
        return self._values.get(key)

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of this key, made if it is not kept. The value that was used longest ago is dropped."""
        known = key in self._values
        value = self._values[key] = self._values.pop(key) if known else make()
        if not known:
            self._seals.add(value, self._name(key))
        if len(self._values) > self.most:
            oldest = next(iter(self._values))
            del self._values[oldest]
            self._seals.drop(self._name(oldest))
        return value

    def broken(self) -> list[str]:
        """The paths to everything that has changed since it was made."""
        return [
            path for key, value in self._values.items() for path in self._seals.broken(value, self._name(key))
        ]

    def _name(self, key: Hashable) -> str:
        return f"{self.kind} {key}"


class Lab:
    """Models, tasks and features, which all cells of the process share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clear()

    def clear(self) -> None:
        """Drop everything. The next cell loads it again."""
        self._backbones: Kept[Backbone] = Kept("the model", 2)
        self._encoders: Kept[Encoder] = Kept("the encoder", 2)
        self._tasks: Kept[Task] = Kept("the task", 4, grows=True)
        self._tables: Kept[Tensor] = Kept("the features", 32)
        self._splits: dict[tuple[str, ...], str] = {}
        self.augmented = AugmentedFeatures(self.settings.cache_limit)
        for asker in vars(self).get("_askers", {}).values():
            asker.close()
        self._askers: dict[Endpoint, Asker] = {}
        self._probes: dict[Endpoint, Probe] = {}

    def load(self, resolved: Resolved) -> None:
        """Load and compute all that a cell needs and later cells share, before its method runs.

        This includes the features of whole image sets, unless the method sends other images or visual tokens.
        Raises UserError.
        """
        task, models = self.task(resolved), list[Frozen]()
        self.split_hash(resolved)
        if resolved.endpoint is not None:
            self.probe(resolved)
        elif not MOVED & set(resolved.access):
            models.append(self.backbone(resolved))
        if resolved.encoder is not None:
            models.append(self.encoder(resolved.encoder, resolved.precision))
        for model in models:
            for images in (task.train, *(test.images for test in task.tests.values())):
                key = (model.identity, images.key)
                self._tables.get(key, partial(features, model, images))

    def broken(self) -> list[str]:
        """The paths to everything here that a cell has changed and must not change."""
        kinds = (self._backbones, self._encoders, self._tasks, self._tables)
        return [path for kept in kinds for path in kept.broken()]

    # A model behind an address

    def asker(self, resolved: Resolved) -> "Asker":
        """What asks a cell's endpoint. It holds connections and no numbers. Raises UserError."""
        from bench.wire.connect import connected  # it loads an HTTP client, which other cells do without

        endpoint = endpoint_of(resolved)
        if endpoint not in self._askers:
            self._askers[endpoint] = connected(endpoint, self.settings.wiring)
        return self._askers[endpoint]

    def probe(self, resolved: Resolved) -> "Probe":
        """What the endpoint was seen to grant, before any query. Raises UserError for too little."""
        from bench.wire.failed import WireFailed
        from bench.wire.predictor import other_than, texts_of
        from bench.wire.probe import probe, refuse

        endpoint, task = endpoint_of(resolved), self.task(resolved)
        if endpoint not in self._probes:
            try:
                words = [texts_of(one, task.classes) for one in (task.template, other_than(task.template))]
                self._probes[endpoint] = probe(self.asker(resolved), *words)
            except WireFailed as error:
                raise UserError(f"{endpoint.url} cannot be used: {error}.") from None
        refuse(self._probes[endpoint], parse(resolved.cell.answers), endpoint)
        return self._probes[endpoint]

    def weights_hash(self, resolved: Resolved) -> str:
        """sha256 of the model's weights; "" where an endpoint does not say. Raises UserError."""
        remote = resolved.cell.endpoint
        return endpoint_of(resolved).weights if remote else self.backbone(resolved).weights_hash

    def backbone(self, resolved: Resolved) -> Backbone:
        """The backbone of a cell. Raises UserError."""
        s, name, precision = self.settings, resolved.cell.backbone, resolved.precision
        return self._backbones.get(
            (name, precision), lambda: load_backbone(name, s.device, precision, s.offline).warm()
        )

    def encoder(self, name: str, precision: str) -> Encoder:
        """The image encoder of that name, in float64 if the backbone is. Raises UserError."""
        return self._encoders.get((name, model_dtype(precision)), partial(self._encoder, name, precision))

    def kept_encoder(self, name: str, precision: str) -> Encoder:
        """The same, while a method runs: an encoder that was not loaded before is not kept."""
        return self._encoders.find((name, model_dtype(precision))) or self._encoder(name, precision)

    def _encoder(self, name: str, precision: str) -> Encoder:
        s = self.settings
        with torch.random.fork_rng(devices=[]):  # a new module gets random weights before it is filled
            encoder = load_encoder(name, s.device, s.offline, model_dtype(precision))
        _ = encoder.identity  # this computes it now: see the top of this file
        return encoder

    def task(self, resolved: Resolved) -> Task:
        """The training images and the test sets. They are the same for all methods and budgets.

        Raises UserError.
        """
        cell = resolved.cell
        model = endpoint_of(resolved) if cell.endpoint else self.backbone(resolved)
        view = View(model.image_size, model.resize_mode, model.interpolation)
        key = (
            cell.dataset,
            cell.protocol,
            cell.seed,
            cell.shots,
            cell.score,
            resolved.targets,
            astuple(view),
        )
        return self._tasks.get(key, lambda: open_task(resolved, self.settings, view))

    def kept_features(self, model: Frozen, images: Images) -> Tensor | None:
        """[N, width] features of a whole set of plain images; None if `load` has not computed them."""
        return self._tables.find((model.identity, images.key))

    def split_hash(self, resolved: Resolved) -> str:
        """sha256 of the images and labels of all data sets of a cell; the same for all seeds."""
        cell = resolved.cell
        key = (cell.dataset, cell.protocol, cell.backbone, cell.endpoint, *resolved.targets)
        if key not in self._splits:
            self._splits[key] = self.task(resolved).split_hash
        return self._splits[key]


class CellFeatures:
    """The features and encoders of one cell: from the lab, or else computed and dropped with the cell."""

    def __init__(self, lab: Lab, precision: str) -> None:
        self.lab, self.precision = lab, precision
        self._own: dict[Hashable, Tensor] = {}
        self._encoders: dict[str, Encoder] = {}

    def features(self, model: Frozen, images: Images) -> Tensor:
        """[N, width] features of a whole set of plain images."""
        kept, key = self.lab.kept_features(model, images), (model.identity, images.key)
        if kept is not None:
            return kept
        if key not in self._own:
            self._own[key] = features(model, images, keep=False)
        return self._own[key]

    def augmented(self, model: Frozen, batch: Augmented) -> Tensor:
        """[B, width] features of a batch of crops."""
        return self.lab.augmented.get(model, batch)

    def encoder(self, name: str) -> Frozen:
        """The image encoder of that name, in the cell's precision."""
        if name not in self._encoders:
            self._encoders[name] = self.lab.kept_encoder(name, self.precision)
        return self._encoders[name]


def endpoint_of(resolved: Resolved) -> Endpoint:
    """The endpoint of a cell. Raises UserError for a record's, which says only where it was."""
    if resolved.endpoint is None:
        raise UserError(f"{resolved.cell.endpoint} is behind an address: what it answered is not here.")
    return resolved.endpoint


def open_task(resolved: Resolved, settings: Settings, view: View) -> Task:
    """The task of a cell, with images as `view` describes. Raises UserError for missing or wrong data."""
    cell = resolved.cell
    return load_task(
        cell.dataset,
        protocol=cell.protocol,
        seed=cell.seed,
        shots=cell.shots,
        view=view,
        root=settings.data_root,
        score=cell.score,
        targets=resolved.targets,
        device=settings.device,
    )
