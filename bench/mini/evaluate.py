"""Measures how much a tuning method can gain on the mini suite: zero-shot accuracy, and CoOp's gain over it.

    python -m bench.mini.evaluate [--score val|test] [--shots 16] [--steps 300] [NAME ...]

CoOp is a plain loop on image features here (white box, 16 context tokens, Adam, cosine schedule, last
iterate). Nothing in it is chosen by the scores.
"""

import argparse

import numpy as np
import torch
from open_clip.model import CLIP
from torch.nn import functional as F

from bench.data.card import Card, card_names, load_card
from bench.mini.files import FILES
from bench.mini.model import MEAN, STD, load
from bench.mini.vocabulary import tokenizer
from bench.mini.world import render

GENERIC = "a photo of a {}."


class Evaluation:
    """Zero-shot and CoOp accuracies, in percent, of a model on one split of the mini data sets."""

    def __init__(self, score: str = "val", names: list[str] | None = None) -> None:
        self.cards: dict[str, Card] = {
            name: load_card(name) for name in card_names() if load_card(name).reader == "mini"
        }
        if names:
            self.cards = {name: self.cards[name] for name in names}
        self.names = list(self.cards)
        self.score = score
        self.tokens = tokenizer(FILES["merges"])

    def zero_shot(self, model: CLIP, template: str | None = None) -> dict[str, float]:
        """{data set: accuracy} with each card's template, or with one template for all."""
        return {
            name: accuracy(
                *features(model, name, self.score), self.text(model, card, template or card.template)
            )
            for name, card in self.cards.items()
        }

    @torch.no_grad()
    def text(self, model: CLIP, card: Card, template: str) -> torch.Tensor:
        """Unit text features [C, e]."""
        return model.encode_text(self.tokens([template.format(c) for c in class_names(card)]), normalize=True)

    def coop(self, model: CLIP, name: str, shots: int = 16, steps: int = 300, seed: int = 1) -> float:
        """Accuracy in % of a context of 16 vectors, tuned by back-propagation on `shots` images per class."""
        names = class_names(self.cards[name])
        images, labels = few_shot(*features(model, name, "train"), shots, seed)
        g = torch.Generator().manual_seed(seed)
        context = (0.02 * torch.randn(16, model.token_embedding.embedding_dim, generator=g)).requires_grad_()
        tokens = self.tokens([f"{name}." for name in names])
        optimizer = torch.optim.Adam([context], lr=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            batch = torch.randperm(len(labels), generator=g)[:32]
            text = encode_context(model, context, tokens)
            loss = F.cross_entropy(model.logit_scale.exp().detach() * images[batch] @ text.T, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            return accuracy(*features(model, name, self.score), encode_context(model, context, tokens))


def class_names(card: Card) -> list[str]:
    """The class names of a mini data set, with spaces for underscores."""
    assert not isinstance(card.classes, int)  # cards of the mini reader have the names
    return [name.replace("_", " ") for name in card.classes]


@torch.no_grad()
def features(model: CLIP, name: str, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The image features [N, e] of unit norm and the labels [N] of one split."""
    images, labels = render(name)[split]
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    parts = [model.encode_image(part, normalize=True) for part in ((pixels - MEAN) / STD).split(500)]
    return torch.cat(parts), torch.from_numpy(labels)


def accuracy(images: torch.Tensor, labels: torch.Tensor, text: torch.Tensor) -> float:
    """The share in % of images whose nearest text feature is that of their class."""
    return 100 * float((images @ text.T).argmax(1).eq(labels).float().mean())


def few_shot(
    images: torch.Tensor, labels: torch.Tensor, shots: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The features and labels of `shots` random images per class."""
    rng = np.random.default_rng(seed)
    classes = [np.flatnonzero(labels.numpy() == c) for c in range(int(labels.max()) + 1)]
    chosen = torch.from_numpy(np.concatenate([rng.permutation(c)[:shots] for c in classes]))
    return images[chosen], labels[chosen]


def encode_context(model: CLIP, context: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Text features [C, e] of unit norm of SOS, the context [m, d], then `tokens` [C, L] without their SOS.

    Differentiable. The prompts are cut after the longest one, which is exact because the tower is causal.
    """
    end = tokens.argmax(1) + len(context)
    embedded = model.token_embedding(tokens)
    shared = context.expand(len(tokens), -1, -1)
    length = int(end.max()) + 1
    x = (
        torch.cat([embedded[:, :1], shared, embedded[:, 1:]], 1)[:, :length]
        + model.positional_embedding[:length]
    )
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x[torch.arange(len(x)), end])
    return F.normalize(x @ model.text_projection, dim=-1)


def main() -> None:
    """Print one line per data set: classes, images, accuracy of both templates and of CoOp, and its gain."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="data sets; default: all of the suite")
    parser.add_argument("--score", choices=("val", "test"), default="test", help="split; default: test")
    parser.add_argument("--shots", type=int, default=16, help="training images per class; default: 16")
    parser.add_argument("--steps", type=int, default=300, help="steps of CoOp; default: 300")
    args = parser.parse_args()
    model, _ = load()
    model.requires_grad_(False)
    evaluation = Evaluation(args.score, args.names)
    hand, generic = evaluation.zero_shot(model), evaluation.zero_shot(model, GENERIC)
    print(f"{'data set':24} {'C':>3} {'N':>5} {'hand':>6} {'generic':>8} {'CoOp':>6} {'gain':>6}")
    for name, card in evaluation.cards.items():
        coop = evaluation.coop(model, name, args.shots, args.steps)
        count = len(render(name)[args.score][1])
        print(f"{name:24} {card.n_classes:3} {count:5} {hand[name]:6.1f} {generic[name]:8.1f} {coop:6.1f} "
              f"{coop - hand[name]:+6.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
