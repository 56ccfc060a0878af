"""Computes the outcome of a prompt on a test set, image by image, in a form small enough for a record."""

import base64
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from bench.record import Confusion, Outcome

if TYPE_CHECKING:  # reports read outcomes without torch
    from torch import Tensor

MOST = 50  # number of confusions in a record: the most frequent ones
BINS = 15  # of the calibration error (Guo et al., ICML 2017)
DECIMALS = 6  # of the calibration error and the log-loss: further decimals depend on the processor


def outcome(answers: "Tensor", labels: "Tensor", probable: bool) -> Outcome:
    """Answers [N, C] and labels [N] -> the outcome. probable: whether the answers are probabilities."""
    import torch

    answered = answers.argmax(1)
    correct = (answered == labels).numpy()
    sizes = torch.bincount(labels, minlength=answers.shape[1]).tolist()
    right = torch.bincount(labels[torch.from_numpy(correct)], minlength=answers.shape[1]).tolist()
    wrong = Counter(zip(labels[~correct].tolist(), answered[~correct].tolist(), strict=True))
    frequent = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:MOST]
    log_probs = answers.double().log_softmax(1)
    return Outcome(
        correct=base64.b64encode(np.packbits(correct).tobytes()).decode(),
        right=tuple(right),
        images=tuple(sizes),
        confusions=tuple(Confusion(true, said, n) for (true, said), n in frequent),
        calibration_error=calibration_error(log_probs.exp(), labels) if probable else None,
        log_loss=round(float(-log_probs.gather(1, labels[:, None]).mean()), DECIMALS) if probable else None,
    )


def accuracy(found: Outcome) -> float:
    """The accuracy in %."""
    return round(100 * sum(found.right) / sum(found.images), 4)


def bits(found: Outcome) -> np.ndarray:
    """bool [N]: whether each image was answered correctly, in the order of the test set."""
    packed = np.frombuffer(base64.b64decode(found.correct), dtype=np.uint8)
    return np.unpackbits(packed, count=sum(found.images)).astype(bool)


def calibration_error(probs: "Tensor", labels: "Tensor") -> float:
    """Expected calibration error in %: |accuracy - confidence| per bin of confidence, weighted by images."""
    import torch

    confidence, answered = probs.max(1)
    correct = (answered == labels).double()
    # Kernels differ in the last digits of a confidence. It is rounded, so that it always gets the same bin.
    places = (confidence.mul(2**30).round() / 2**30 * BINS).ceil().long().clamp(1, BINS) - 1
    gaps = torch.zeros(BINS, dtype=torch.float64).index_add(0, places, correct - confidence)
    return round(float(100 * gaps.abs().sum() / len(labels)), DECIMALS)
