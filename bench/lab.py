"""The lab: what one process has loaded, kept so that the next cell starts at once."""

from collections.abc import Callable, Hashable
from dataclasses import astuple, dataclass
from typing import Generic, TypeVar

from torch import Tensor

from bench.data.images import View
from bench.data.task import Task, load_task
from bench.isolation import Seals
from bench.models import Backbone, Encoder, load_backbone, load_encoder
from bench.models.backbone import model_dtype
from bench.models.features import features
from bench.prompt import Images
from bench.protocols import Frozen
from bench.resolve import Resolved

V = TypeVar("V")


@dataclass(frozen=True)
class Settings:
    """Where to run, not what to run: no number depends on these but by a GPU's rounding."""

    device: str = "cpu"
    data_root: str | None = None
    offline: bool = False


class Kept(Generic[V]):
    """The last few things of one kind, by key, each sealed when it is made."""

    def __init__(self, kind: str, most: int) -> None:
        self.kind, self.most = kind, most
        self._values: dict[Hashable, V] = {}
        self._seals = Seals()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The thing of this key, made if it is not kept; what was used longest ago goes."""
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
        """The paths to what has changed since it was made."""
        return [
            path for key, value in self._values.items() for path in self._seals.broken(value, self._name(key))
        ]

    def _name(self, key: Hashable) -> str:
        return f"{self.kind} {key}"


class Lab:
    """Models, tasks and features. What it hands out to the harness is shared by all cells of the process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clear()

    def clear(self) -> None:
        """Forget everything; the next cell loads it anew."""
        self._backbones: Kept[Backbone] = Kept("the model", 2)
        self._encoders: Kept[Encoder] = Kept("the encoder", 2)
        self._tasks: Kept[Task] = Kept("the task", 4)
        self._tables: Kept[Tensor] = Kept("the features", 32)
        self._splits: dict[tuple[str, ...], str] = {}

    def load(self, resolved: Resolved) -> None:
        """Load what a cell needs, so that nothing is loaded while its method runs. Raises UserError."""
        self.task(resolved)
        if resolved.encoder is not None:
            self.encoder(resolved.encoder, resolved.precision)

    def broken(self) -> list[str]:
        """What a cell has changed of all this, which it must not."""
        kinds = (self._backbones, self._encoders, self._tasks, self._tables)
        return [path for kept in kinds for path in kept.broken()]

    def backbone(self, resolved: Resolved) -> Backbone:
        """The backbone of a cell. Raises UserError."""
        s, name, precision = self.settings, resolved.cell.backbone, resolved.precision
        return self._backbones.get(
            (name, precision), lambda: load_backbone(name, s.device, precision, s.offline)
        )

    def encoder(self, name: str, precision: str) -> Encoder:
        """The image encoder of that name; float64 where the backbone is. Raises UserError."""
        s, dtype = self.settings, model_dtype(precision)
        return self._encoders.get((name, dtype), lambda: load_encoder(name, s.device, s.offline, dtype))

    def task(self, resolved: Resolved) -> Task:
        """Training images and test sets, the same for every method and budget. Raises UserError."""
        cell = resolved.cell
        model = self.backbone(resolved)
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

    def features(self, model: Frozen, images: Images) -> Tensor:
        """[N, width] features of a whole set of plain images: worked out once, kept on disk and here."""
        return self._tables.get((model.identity, images.key), lambda: features(model, images))

    def split_hash(self, resolved: Resolved) -> str:
        """sha256 of images and labels of all data sets that a cell takes part in; the same for all seeds."""
        cell = resolved.cell
        key = (cell.dataset, cell.protocol, cell.backbone, *resolved.targets)
        if key not in self._splits:
            self._splits[key] = self.task(resolved).split_hash
        return self._splits[key]


@dataclass(frozen=True)
class CellFeatures:
    """What a cell's predictor and its method get of the lab."""

    lab: Lab
    precision: str

    def features(self, model: Frozen, images: Images) -> Tensor:
        """See Lab.features."""
        return self.lab.features(model, images)

    def encoder(self, name: str) -> Frozen:
        """The image encoder of that name, in the cell's precision."""
        return self.lab.encoder(name, self.precision)


def open_task(resolved: Resolved, settings: Settings, view: View) -> Task:
    """The task of a cell, its images as `view` says. Raises UserError for data that is missing or wrong."""
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
