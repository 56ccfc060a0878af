"""Tip-Adapter: training-free adaption of CLIP for few-shot classification. Reads features: a reference row.

Zhang, Zhang, Fang, Gao, Li, Dai, Qiao, Li. ECCV 2022, https://arxiv.org/abs/2207.09519
The features of the training images are kept as keys K [N, e], and their labels as values Y [N, C]:

    logits = scale f t^T + alpha exp(-beta (1 - f K^T)) Y

f is an image's feature and t a class's, from the hand template. Nothing is trained. The cache knows the
classes of its images; new classes are answered by the hand template alone.

The authors' code (main.py of gaopengcuhk/Tip-Adapter) starts from the values below and then chooses alpha and
beta on the validation images. A method here has only its training images, so each of them is answered by the
cache without it, and the values that answer most of them right are taken; the grid is ours and spans their
ranges. Their keys are means over 10 augmented passes; here `views` is 1, one plain pass, by default. Their
variant that trains the keys (Tip-Adapter-F) is left out: it chooses its epoch on the test set.
"""

from dataclasses import dataclass
from itertools import islice, product

import torch
import torch.nn.functional as F
from torch import Tensor

from bench import exact
from bench.method import Method
from bench.prompt import Prompt

GRID = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # of alpha and of beta; the authors' ranges are 0.1 to 3 .. 50
ROWS = 1024  # images at once, so that ImageNet's 16,000 keys need no table of 16,000 x 16,000


@dataclass(frozen=True)
class Params:
    """The values of the authors' code for ImageNet, before its search."""

    alpha: float = 1.17  # the cache's share; 2 to 10 for other data sets
    beta: float = 1.0  # its sharpness
    search: bool = True  # choose both by leaving out one image after the other
    views: int = 1  # passes over the train set; from the second on they are augmented where the suite does
    crop_scale: tuple[float, float] = (0.5, 1.0)  # share of the area, from the second pass on

    def __post_init__(self) -> None:
        if self.views < 1:
            raise ValueError(f"views must be at least 1, not {self.views}")


class TipAdapter(Method):
    """A cache of the training images' features."""

    title = "Tip-Adapter"
    paper = "Zhang et al., ECCV 2022"
    access = ("features",)
    Params = Params

    def setup(self) -> None:
        labels = torch.cat([batch.labels for batch in self.box.train_pass()])
        self.Y = F.one_hot(labels, len(self.box.classes)).double()  # [N, C]

    @property
    def n_params(self) -> int:
        """The numbers that are kept: alpha, beta and the keys. None of them is trained."""
        return 2 + len(self.Y) * self.box.spec.feature_width

    def start(self) -> Tensor:
        """alpha = 0: the hand template's own answers."""
        return torch.zeros(self.n_params, dtype=torch.float64, device=self.box.device)

    def prompt(self, state: Tensor) -> Prompt:
        alpha, beta, keys = state[0], state[1], state[2:].view(len(self.Y), -1)

        def adapter(image: Tensor, text: Tensor) -> Tensor:
            """[B, e], [C, e] -> [B, C]."""
            cached = torch.exp(-beta * (1 - image @ keys.T)) @ self.Y
            return self.box.spec.logit_scale * (image @ text.T) + alpha * cached

        return Prompt(adapter=adapter, state=state)

    def tune(self) -> None:
        p, whole = self.params, self.box.train_pass()
        self.box.require(len(whole) * p.views)
        stream = self.box.batches(keep_last=True, crop_scale=p.crop_scale)
        keys = torch.zeros(len(self.Y), self.box.spec.feature_width, dtype=torch.float64)
        keys = keys.to(self.box.device)
        for batch in (*whole, *islice(stream, len(whole) * (p.views - 1))):
            image, text = self.box.features(batch)
            keys[batch.index] += image
        keys = exact.stored(exact.kept(F.normalize(keys, dim=-1)))
        alpha, beta = self.chosen(keys, text) if p.search else (p.alpha, p.beta)
        values = torch.tensor([alpha, beta], dtype=torch.float64, device=self.box.device)
        self.box.report(self.prompt(exact.stored(torch.cat([values, keys.flatten()]))))

    def chosen(self, keys: Tensor, text: Tensor) -> tuple[float, float]:
        """alpha and beta that answer most training images right, each without its own key; of equals the
        smaller ones."""
        plain = exact.answer(self.box.spec.logit_scale * (keys @ text.T))
        labels = self.Y.argmax(1)
        right = dict.fromkeys(product(GRID, GRID), 0)
        for rows, beta in product(torch.arange(len(keys), device=keys.device).split(ROWS), GRID):
            affinity = torch.exp(-beta * (1 - keys[rows] @ keys.T))
            affinity[torch.arange(len(rows)), rows] = 0.0
            cached = affinity @ self.Y
            for alpha in GRID:
                answers = exact.answer(plain[rows] + alpha * cached)
                right[alpha, beta] += int((answers.argmax(1) == labels[rows]).sum())
        return max(right, key=lambda pair: right[pair])
