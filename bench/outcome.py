"""Computes the outcome of a prompt on a test set, image by image, in a form small enough for a record."""

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from bench.record import Confusion, Outcome

if TYPE_CHECKING:  # reports read outcomes without torch
    from torch import Tensor

MOST = 50  # number of confusions in a record: the most frequent ones
BINS = 15  # of the calibration error (Guo et al., ICML 2017)
DECIMALS = 6  # of the calibration error and the log-loss: further decimals depend on the processor


@dataclass(frozen=True)
class Judged:
    """What an outcome needs of the answers on N images: a few numbers per image, whatever the classes.

    said, likeliest: [N] the class with the largest answer, and with the largest probability (two answers can
    differ where their probabilities do not). sure: [N] that probability. log_prob: [N, 1] of the right class.
    """

    said: "Tensor"
    likeliest: "Tensor"
    sure: "Tensor"
    log_prob: "Tensor"


def judge(answers: "Tensor", labels: "Tensor") -> Judged:
    """Answers [B, C] and labels [B]. Raises FloatingPointError for answers that are not finite."""
    if not answers.isfinite().all():
        raise FloatingPointError("the reported prompt's logits are not finite: it diverged")
    log_probs = answers.double().log_softmax(1)
    sure, likeliest = log_probs.exp().max(1)
    return Judged(answers.argmax(1), likeliest, sure, log_probs.gather(1, labels[:, None]))


def joined(parts: "Sequence[Judged]") -> Judged:
    """The parts of a test set as one."""
    import torch

    return Judged(*(torch.cat([getattr(part, one.name) for part in parts]) for one in fields(Judged)))


def outcome(found: Judged, labels: "Tensor", classes: int, probable: bool) -> Outcome:
    """The outcome on N images with these labels. probable: whether the answers are probabilities."""
    import torch

    correct = (found.said == labels).numpy()
    sizes = torch.bincount(labels, minlength=classes).tolist()
    right = torch.bincount(labels[torch.from_numpy(correct)], minlength=classes).tolist()
    wrong = Counter(zip(labels[~correct].tolist(), found.said[~correct].tolist(), strict=True))
    frequent = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:MOST]
    return Outcome(
        correct=base64.b64encode(np.packbits(correct).tobytes()).decode(),
        right=tuple(right),
        images=tuple(sizes),
        confusions=tuple(Confusion(true, said, n) for (true, said), n in frequent),
        calibration_error=calibration_error(found, labels) if probable else None,
        log_loss=round(float((-found.log_prob).mean()), DECIMALS) if probable else None,
    )


def accuracy(found: Outcome) -> float:
    """The accuracy in %."""
    return round(100 * sum(found.right) / sum(found.images), 4)


def bits(found: Outcome) -> np.ndarray:
    """bool [N]: whether each image was answered correctly, in the order of the test set."""
    packed = np.frombuffer(base64.b64decode(found.correct), dtype=np.uint8)
    return np.unpackbits(packed, count=sum(found.images)).astype(bool)


def calibration_error(found: Judged, labels: "Tensor") -> float:
    """Expected calibration error in %: |accuracy - confidence| per bin of confidence, weighted by images."""
    import torch

    correct = (found.likeliest == labels).double()
    # Kernels differ in the last digits of a confidence. It is rounded, so that it always gets the same bin.
    places = (found.sure.mul(2**30).round() / 2**30 * BINS).ceil().long().clamp(1, BINS) - 1
    gaps = torch.zeros(BINS, dtype=torch.float64).index_add(0, places, correct - found.sure)
    return round(float(100 * gaps.abs().sum() / len(labels)), DECIMALS)
