"""Backbone name -> frozen model: open_clip behind one small interface, with the exact fast text path."""

from bench.models.backbone import Backbone, load_backbone
from bench.models.encoder import Encoder, load_encoder
from bench.models.features import features, trunks
from bench.models.text import TextTower

__all__ = ["Backbone", "Encoder", "TextTower", "features", "load_backbone", "load_encoder", "trunks"]
