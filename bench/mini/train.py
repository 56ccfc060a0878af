"""Trains the mini suite's CLIP and the small frozen encoder: one run, one seed, a fixed number of steps.

    python -m bench.mini.train

This takes about 25 minutes on 2 cores, and writes the weights, the merges file and the log beside this file.
The images come from the random stream "pretraining". Every split of a task has its own stream, so none of its
images is used here.
"""

import argparse
import csv
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from bench.mini import vocabulary
from bench.mini.captions import caption
from bench.mini.files import FILES, write_checksums
from bench.mini.model import MEAN, STD, Encoder, config
from bench.mini.paint import paint
from bench.mini.scenes import COLORS, KINDS, MAX_COUNT, PLACES, STYLES, TEXTURES, THINGS, Scenes, sample
from bench.mini.world import stream


@dataclass(frozen=True)
class Recipe:
    """Everything that a run of this training depends on."""

    seed: int = 0
    steps: int = 5000
    encoder_steps: int = 600
    batch: int = 256  # pairs with different captions
    pool: int = 163_840  # pretraining images; each use of an image draws a new caption
    lr: float = 1.5e-3
    weight_decay: float = 0.05
    warmup: int = 200  # steps
    aux: float = 0.5  # weight of the attribute heads
    log_every: int = 250  # steps


class Pool:
    """The pretraining pictures, and batches of them with new captions."""

    def __init__(self, recipe: Recipe) -> None:
        self.rng, generator = stream("pretraining", recipe.seed)
        self.scenes = sample(self.rng, recipe.pool)
        self.images = torch.from_numpy(paint(self.scenes, generator))  # uint8 [N, S, S, 3]
        self.targets = _targets(self.scenes)
        tokenizer = vocabulary.tokenizer(FILES["merges"])
        self.encode = lru_cache(maxsize=None)(tokenizer.encode)  # of single words
        self.ends = tokenizer.sot_token_id, tokenizer.eot_token_id
        self.batch = recipe.batch

    def draw(self) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """A batch: images [B, 3, S, S] in [0, 1], tokens [B, L] by rising length, {attribute: target [B]}."""
        openings = int(self.rng.integers(2, 5)) if self.rng.random() < 0.12 else 1
        chosen: dict[str, int] = {}
        while len(chosen) < self.batch:
            i = int(self.rng.integers(len(self.scenes)))
            chosen.setdefault(caption(self.scenes, i, self.rng, openings), i)
        tokens = self.tokenize(list(chosen))
        order = tokens.argmax(1).argsort(stable=True)
        index = torch.tensor(list(chosen.values()))[order]
        images = _shift(self.images[index].permute(0, 3, 1, 2).float() / 255, self.rng)
        return images, tokens[order], {k: v[index] for k, v in self.targets.items()}

    def tokenize(self, texts: list[str]) -> torch.Tensor:
        """The tokenizer's result for lower-case texts, int64 [N, L]; each word is tokenised only once."""
        start, end = self.ends
        tokens = torch.zeros(len(texts), vocabulary.CONTEXT_LENGTH, dtype=torch.long)
        for row, text in zip(tokens, texts, strict=True):
            ids = [start, *(i for word in text.split() for i in self.encode(word))][: len(row) - 1]
            row[: len(ids) + 1] = torch.tensor([*ids, end])
        return tokens


def _shift(images: torch.Tensor, rng: np.random.Generator, most: int = 2) -> torch.Tensor:
    """The batch moved by up to `most` pixels in each direction; the edges are repeated."""
    dx, dy = rng.integers(0, 2 * most + 1, 2)
    size = images.shape[-1]
    padded = F.pad(images, (most,) * 4, mode="replicate")
    return padded[:, :, dy : dy + size, dx : dx + size].contiguous(memory_format=torch.channels_last)


HEADS = {
    "thing": sum(len(names) for names in THINGS.values()), "ink": len(COLORS), "ground": len(COLORS),
    "texture": len(TEXTURES) + 1, "place": len(PLACES) + 1, "count": MAX_COUNT, "style": len(STYLES),
}  # fmt: skip
IGNORE = -100


def _targets(s: Scenes) -> dict[str, torch.Tensor]:
    """The targets of the attribute heads, int64 [N]; IGNORE if the picture does not show the attribute."""
    offset = np.cumsum([0, *(len(names) for names in THINGS.values())])[:-1]
    land, texture = s.kind == KINDS.index("land"), s.kind == KINDS.index("texture")
    shape = s.kind == KINDS.index("shape")
    targets = {
        "thing": offset[s.kind] + s.thing,
        "ink": np.where(land | texture, IGNORE, s.ink),
        "ground": np.where(land | texture, IGNORE, s.ground),
        "texture": np.where(land, IGNORE, s.texture),
        "place": s.place + 1,
        "count": np.where(shape, s.count - 1, IGNORE),
        "style": np.where(land | texture, IGNORE, s.style),
    }
    return {k: torch.from_numpy(v) for k, v in targets.items()}


class Heads(nn.Module):
    """One linear classifier per attribute on image features [B, width]; they are not saved."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, sum(HEADS.values()))

    def loss(self, features: torch.Tensor, targets: dict[str, torch.Tensor]) -> torch.Tensor:
        """The mean cross-entropy over the attributes; features [B, width], targets [B] by attribute."""
        logits = self.linear(features).split(list(HEADS.values()), dim=1)
        losses = [
            F.cross_entropy(z, targets[k], ignore_index=IGNORE) for k, z in zip(HEADS, logits, strict=True)
        ]
        return torch.stack(losses).mean()


def encode_text(model: CLIP, tokens: torch.Tensor, groups: int = 4) -> torch.Tensor:
    """Text features [B, e] of unit norm. Tokens are sorted by length; each group is cut after its longest."""
    out = []
    for part in tokens.chunk(groups):
        end = part.argmax(1)  # EOT has the highest id
        length = int(end.max()) + 1
        x = model.token_embedding(part[:, :length]) + model.positional_embedding[:length]
        x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
        x = model.ln_final(x[torch.arange(len(x)), end])
        out.append(x @ model.text_projection)
    return F.normalize(torch.cat(out), dim=-1)


def train_clip(pool: Pool, recipe: Recipe, log: "Log") -> CLIP:
    """Train the CLIP with the contrastive loss plus `recipe.aux` times the loss of the attribute heads.

    Each tower runs in its own thread on one core. For such small tensors this is faster than two threads per
    operation, and the result does not depend on it.
    """
    cfg = config()
    model = CLIP(**cfg)
    model.visual.to(memory_format=torch.channels_last)
    heads = Heads(cfg["embed_dim"])
    optimizer, schedule = _optimizer([model, heads], recipe, recipe.steps)
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as side:
        batch = side.submit(pool.draw)
        for step in range(1, recipe.steps + 1):
            images, tokens, targets = batch.result()
            text_job = side.submit(encode_text, model, tokens)
            image_top = model.encode_image((images - MEAN) / STD)
            text_top = text_job.result()
            features, text = (top.detach().requires_grad_() for top in (image_top, text_top))
            logits = model.logit_scale.exp() * F.normalize(features, dim=-1) @ text.T
            same = torch.arange(len(logits))
            contrast = (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2
            aux = heads.loss(features, targets)
            optimizer.zero_grad()
            (contrast + recipe.aux * aux).backward()
            text_job = side.submit(text_top.backward, text.grad)
            batch = side.submit(pool.draw)
            image_top.backward(features.grad)
            text_job.result()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, np.log(100))
            if step % recipe.log_every == 0 or step == recipe.steps:
                log.clip(step, contrast.item(), aux.item(), model)
    return model.eval()


def train_encoder(pool: Pool, recipe: Recipe, log: "Log") -> Encoder:
    """Train the frozen encoder for BlackVIP, only on the attributes and without text."""
    encoder = Encoder().to(memory_format=torch.channels_last)
    heads = Heads(encoder.width)
    optimizer, schedule = _optimizer([encoder, heads], recipe, recipe.encoder_steps)
    for step in range(1, recipe.encoder_steps + 1):
        images, _, targets = pool.draw()
        loss = heads.loss(encoder(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % recipe.log_every == 0 or step == recipe.encoder_steps:
            log.encoder(step, loss.item())
    return encoder.eval()


def _optimizer(
    modules: list[nn.Module], recipe: Recipe, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW and its schedule: warm-up, then a cosine to zero. Vectors and scalars have no weight decay."""
    parameters = [p for m in modules for p in m.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98), fused=True)

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / recipe.warmup)
        return warm * 0.5 * (1 + np.cos(np.pi * step / steps))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


class Log:
    """Writes training.csv: one row per interval, with zero-shot accuracies on validation splits."""

    def __init__(self, path: Path) -> None:
        from bench.mini.evaluate import Evaluation

        self.evaluation = Evaluation("val")
        self.start = time.perf_counter()
        self.file = path.open("w", newline="")
        self.csv = csv.writer(self.file, lineterminator="\n")
        self.csv.writerow(["network", "step", "seconds", "loss", "attribute_loss", *self.evaluation.names])

    def clip(self, step: int, loss: float, aux: float, model: CLIP) -> None:
        """Add a row about the CLIP: its losses and its zero-shot accuracies in %."""
        model.eval()
        scores = [f"{v:.1f}" for v in self.evaluation.zero_shot(model).values()]
        model.train()
        self._row(["clip", step, self._seconds(), f"{loss:.4f}", f"{aux:.4f}", *scores])

    def encoder(self, step: int, loss: float) -> None:
        """Add a row about the encoder: its loss."""
        self._row(["encoder", step, self._seconds(), "", f"{loss:.4f}"])

    def _seconds(self) -> int:
        return round(time.perf_counter() - self.start)

    def _row(self, row: list[object]) -> None:
        self.csv.writerow(row)
        self.file.flush()
        print(*row, flush=True)


def _save(module: nn.Module, path: Path) -> None:
    """Save a state dict as safetensors, with floating-point numbers as fp16."""
    half = {k: v.half() if v.is_floating_point() else v for k, v in module.state_dict().items()}
    save_file({k: v.contiguous() for k, v in half.items()}, path)


def main() -> None:
    """Train both networks and write all files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("seed", "steps", "encoder_steps"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Recipe, name))
    recipe = Recipe(**vars(parser.parse_args()))
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)
    vocabulary.write_merges(FILES["merges"])
    FILES["config"].write_text(json.dumps(config(), indent=2) + "\n")
    log = Log(FILES["log"])
    pool = Pool(recipe)
    _save(train_encoder(pool, recipe, log), FILES["encoder"])
    _save(train_clip(pool, recipe, log), FILES["clip"])
    write_checksums()


if __name__ == "__main__":
    main()
