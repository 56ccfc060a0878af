"""Frozen models by name: open_clip's models behind one small interface, with an exact fast path for text."""

from bench.models.backbone import Backbone, load_backbone
from bench.models.encoder import Encoder, load_encoder
from bench.models.features import features
from bench.models.text import TextTower

__all__ = ["Backbone", "Encoder", "TextTower", "features", "load_backbone", "load_encoder"]
