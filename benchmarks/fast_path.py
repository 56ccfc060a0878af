"""Measures the time of one ZIP step: the plain way, with images encoded once, and with cached features.

    python benchmarks/fast_path.py [--models mini,ViT-B-16] [--classes 10]

A ZIP step is 10 queries: 10 contexts of 8 tokens on one batch of images, 128 for ViT-B/16 and 32 for the mini
model. There are three ways to answer it. Their features agree up to rounding, which is checked here, too:

    plain     open_clip's image tower and text tower (with full context length) for every query
    fresh     the image tower once per step, and the fast text path: the time of an augmented batch
    cached    cached image features, and the fast text path: the time of a batch without augmentation

ViT-B/16 has random weights: the times do not depend on them. Times are CPU seconds of one thread, the best of
several runs. The plain way is measured on one query and multiplied by 10. For the text path's share of the
machine's peak, a formula counts its multiplications (attention as it is computed, with the masked part). The
peak is measured in the same run, on large float32 products.
"""

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
from torch import Tensor

from bench.models import Backbone, TextTower, load_backbone
from bench.models.dense import Dense

QUERIES, CONTEXT = 10, 8
BATCH = {"mini": 32, "ViT-B-16": 128}
WORDS = ["red", "blue", "dark green", "seven", "circle", "white star", "clock", "left", "wood", "two arrows"]


def seconds(f: Callable[[], object], budget: float = 3.0, runs: int = 50) -> float:
    """CPU seconds of one call: the best of `runs` calls, or of as many as fit the budget, at least one."""
    best, spent, done = float("inf"), 0.0, 0
    while done < 1 or (done < runs and spent < budget):
        start = time.process_time()
        f()
        best = min(best, time.process_time() - start)
        spent, done = spent + time.process_time() - start, done + 1
    return best


def peak(n: int = 2048) -> tuple[float, float]:
    """GFLOP/s of a large float32 product: PyTorch's default, and oneDNN's with prepacked weights if used."""
    x, weight, bias = torch.randn(n, n), torch.randn(n, n), torch.zeros(n)
    packed = Dense(weight, bias)
    packed(x)
    operations = 2 * n**3 / 1e9
    return operations / seconds(lambda: x @ weight), operations / seconds(lambda: packed(x))


def text_gflop(backbone: Backbone, tower: TextTower) -> float:
    """GFLOP of the fast path for QUERIES contexts, if all classes fit one block (bench/models/fast.py)."""
    text = backbone.model
    d, layers, e = backbone.text_width, len(text.transformer.resblocks), backbone.embed_dim
    prefix, suffix, classes = 1 + CONTEXT, int(tower.ends.sum()), len(tower.class_names)
    length = prefix + suffix
    # The queries, keys and values of the class tokens are constants in the first layer.
    first = 3 * prefix * d**2 + 9 * length * d**2
    middle = (layers - 2) * 12 * length * d**2
    last = 2 * length * d**2 + 10 * classes * d**2  # keys and values of all tokens, the rest only at EOT
    attention = 2 * d * length * ((layers - 1) * length + classes)
    return 2 * QUERIES * (first + middle + last + attention + classes * d * e) / 1e9


def logits(backbone: Backbone, images: Tensor, texts: Tensor) -> Tensor:
    """[B, e] and [K, C, e] -> [K, B, C]."""
    return backbone.logit_scale * images @ texts.transpose(-1, -2)


@torch.inference_mode()
def measure(name: str, classes: int) -> None:
    backbone = load_backbone(name if name == "mini" else f"{name}/random")
    batch = BATCH.get(name, 128)
    names = [WORDS[i % len(WORDS)] for i in range(classes)]
    tower = backbone.text_tower(names)
    contexts = 0.02 * torch.randn(QUERIES, CONTEXT, backbone.text_width)
    images = torch.rand(batch, 3, backbone.image_size, backbone.image_size)
    pixels = (images - backbone.pixel_mean) / backbone.pixel_std
    kept = backbone.encode_images(images)  # the first call of each tower converts and packs its weights
    tower.encode(contexts[:1])

    def plain() -> Tensor:
        features = backbone.model.encode_image(pixels, normalize=True)
        return logits(backbone, features, tower.plain(contexts[:1]))

    def cached() -> Tensor:
        return logits(backbone, kept, tower.encode(contexts))

    def fresh() -> Tensor:
        return logits(backbone, backbone.encode_images(images), tower.encode(contexts))

    error = (plain()[0] - cached()[0]).abs().max() if name == "mini" else None
    by = {"plain": QUERIES * seconds(plain), "fresh": seconds(fresh), "cached": seconds(cached, budget=8)}
    text = seconds(lambda: tower.encode(contexts), budget=8)
    gflop, (default, packed) = text_gflop(backbone, tower), peak()
    print(f"\n{name}, {classes} classes, {int(tower.ends.sum())} class tokens, batch of {batch}")
    for way, value in by.items():
        print(f"  {way:8}{1e3 * value:12.1f} ms per step   {by['plain'] / value:10.1f} x")
    print(f"  text path {gflop:.2f} GFLOP in {1e3 * text:.1f} ms: {gflop / text:.0f} GFLOP/s")
    print(
        f"  peak, default product {default:.0f} GFLOP/s: the text path reaches {gflop / text / default:.0%}"
    )
    print(
        f"  peak, prepacked product {packed:.0f} GFLOP/s: the text path reaches {gflop / text / packed:.0%}"
    )
    if error is not None:
        print(f"  largest difference of a logit from the plain way: {error:.1e}")


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="mini,ViT-B-16", help="mini, or names of open_clip architectures")
    parser.add_argument("--classes", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{time.strftime('%Y-%m-%d')}, {processor()}, one thread, float32")
    print(
        f"Python {platform.python_version()}, PyTorch {torch.__version__}, open_clip {open_clip.__version__}"
    )
    for name in arguments.models.split(","):
        measure(name, arguments.classes)


if __name__ == "__main__":
    main()
