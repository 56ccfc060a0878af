"""Where the time of the image tower goes, and what a pixel prompt leaves as it was.

    python benchmarks/image_tower.py [--model mini|ViT-B-16/random] [--images 32]

Prints the CPU time of each operation, the time of the multiplications alone at the peak of a large product in
the same type, and the share of the multiplications that belong to places which a prompt of BAR or VP cannot
move: for a ViT the patches inside the window and their queries, keys and values in the first layer, for a
ResNet the places of each convolution whose field of view lies inside the window. What follows attention, or
reaches beyond the window, depends on the prompt.
"""

import argparse
import time

import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from bench.models import Backbone, load_backbone
from bench.models.block import OpenClip
from bench.models.products import by_products
from bench.models.vision import fold_batch_norm
from bench.runner import cpu_name

WINDOW = {32: (2, 30, 4, 28), 224: (15, 209, 30, 194)}  # side -> BAR's window, VP's (first pixel, end)


def seconds(work: object, runs: int = 5) -> float:
    """CPU seconds of one call, the best of some."""
    best = float("inf")
    for _ in range(runs):
        start = time.process_time()
        work()  # type: ignore[operator]
        best = min(best, time.process_time() - start)
    return best


def peak(dtype: torch.dtype, n: int = 1536) -> float:
    """Multiplications with addition per second of a large product."""
    x, y = torch.randn(n, n, dtype=dtype), torch.randn(n, n, dtype=dtype)
    return n**3 / seconds(lambda: x @ y)


def still_places(first: int, end: int, conv: nn.Conv2d, side: int) -> tuple[int, int, int]:
    """The places of an output whose inputs lie in [first, end): (first, end, side of the output)."""
    k, s, p = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
    out = (side + 2 * p - k) // s + 1
    inside = [i for i in range(out) if first <= i * s - p and i * s - p + k <= end]
    return (inside[0], inside[-1] + 1, out) if inside else (0, 0, out)


def resnet_products(visual: OpenClip, side: int, window: tuple[int, int]) -> tuple[float, float]:
    """Multiplications of one image in the convolutions, and of those at still places."""
    total = still = 0.0
    spans: dict[int, tuple[int, int]] = {side: window}  # side of a map -> its still places

    def hook(conv: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> None:
        nonlocal total, still
        assert isinstance(conv, nn.Conv2d)
        before = given[0].shape[-1]
        if before not in spans:  # after a pooling of 2 x 2
            low, high = spans[2 * before]
            spans[before] = ((low + 1) // 2, high // 2)
        low, high, out = still_places(*spans[before], conv, before)
        each = conv.weight.numel()
        total, still = total + each * out**2, still + each * max(high - low, 0) ** 2
        spans[out] = (low, high)

    convolutions = fold_batch_norm(visual)
    for conv in convolutions.modules():
        if isinstance(conv, nn.Conv2d):
            conv.register_forward_hook(hook)
    positions = visual.attnpool.positional_embedding
    convolutions(torch.zeros(1, 3, side, side, dtype=positions.dtype))
    pool = 2 * positions.shape[1] ** 2 * (1 + (side // 32) ** 2)
    return total + pool, still


def vit_products(visual: OpenClip, side: int, window: tuple[int, int]) -> tuple[float, float]:
    """The same for a ViT: the patch embedding, and the first layer's queries, keys and values."""
    patch, d = visual.conv1.kernel_size[0], visual.class_embedding.shape[0]
    tokens, layers = (side // patch) ** 2 + 1, len(visual.transformer.resblocks)
    low, high = -(-window[0] // patch), window[1] // patch
    quiet = max(high - low, 0) ** 2
    embed = 3 * patch**2 * d
    layer = tokens * 12 * d**2 + 2 * tokens**2 * d
    return tokens * embed + layers * layer, quiet * (embed + 3 * d**2)


def convolutions(visual: OpenClip, pixels: Tensor) -> str:
    """How long PyTorch's convolutions take, 32 images at a time, and those of products.py with 128."""
    plain = fold_batch_norm(visual).to(memory_format=torch.channels_last)
    products = by_products(plain)
    parts = [part.to(memory_format=torch.channels_last) for part in pixels.split(32)]
    before, after = float("inf"), float("inf")
    for _ in range(10):  # interleaved, because machines are noisy
        before = min(before, seconds(lambda: [plain(part) for part in parts], 1))
        after = min(after, seconds(lambda: products(pixels.permute(1, 2, 3, 0).contiguous()), 1))
    times = f"PyTorch's {1e3 * before:.1f} ms, as products {1e3 * after:.1f} ms"
    return f"convolutions of {len(pixels)} images: {times}"


@torch.no_grad()
def measure(backbone: Backbone, images: int) -> None:
    visual, side = backbone.model.visual, backbone.image_size
    pixels = torch.rand(images, 3, side, side, dtype=backbone.dtype)
    backbone.encode_images(pixels)
    spent = seconds(lambda: backbone.encode_images(pixels))
    count = resnet_products if isinstance(visual, ModifiedResNet) else vit_products
    x0, x1, y0, y1 = WINDOW[side]
    shares = {}
    for name, window in (("BAR", (x0, x1)), ("VP", (y0, y1))):
        total, still = count(visual, side, window)
        shares[name] = still / total
    floor = total * images / peak(backbone.dtype)
    print(f"{backbone.name}, {backbone.dtype}, {images} images: {1e3 * spent:.1f} ms of CPU time")
    print(f"the multiplications alone, at a large product's peak: {1e3 * floor:.1f} ms")
    if isinstance(visual, ModifiedResNet):
        print(convolutions(visual, torch.rand(128, 3, side, side, dtype=backbone.dtype)))
    for name, share in shares.items():
        print(f"still under {name}'s prompt: {share:.1%} of the multiplications")
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(5):
            backbone.encode_images(pixels)
    rows = sorted(found.key_averages(), key=lambda row: -row.self_cpu_time_total)
    whole = sum(row.self_cpu_time_total for row in rows)
    print("| operation | calls | share of the time |\n|---|---:|---:|")
    for row in rows[:9]:
        print(
            f"| {row.key.removeprefix('aten::')} | {row.count // 5} | {row.self_cpu_time_total / whole:.0%} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--images", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{time.strftime('%Y-%m-%d')}, {cpu_name()}, one thread, PyTorch {torch.__version__}")
    precision = "float64" if arguments.model == "mini" else "float32"
    measure(load_backbone(arguments.model, precision=precision), arguments.images)


if __name__ == "__main__":
    main()
