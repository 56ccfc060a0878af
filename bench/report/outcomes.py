"""Checks what a record says about single images and classes against its accuracy and against itself."""

import base64
import binascii
from dataclasses import replace

import numpy as np

from bench.answered import parse
from bench.outcome import MOST, bits
from bench.outcome import accuracy as accuracy_of
from bench.record import Outcome, Record


def outcome_faults(record: Record) -> list[str]:
    """Every fault of a record's outcomes; none if it holds none, as the first records do."""
    if not record.outcomes:
        return []
    faults, probable = [], parse(record.cell.answers).grants("probs")
    if set(record.outcomes) != set(record.accuracy):
        faults.append("outcomes has other test sets than accuracy")
    for test, found in record.outcomes.items():
        wrong = _shape(found) or [*_images(record, test, found), *_confusions(found), *_calibration(found)]
        faults += [f"outcomes.{test}: {fault}" for fault in wrong]
        if found.calibration_error is not None and not probable:
            faults.append(f"outcomes.{test}: {record.cell.answers} answers have no calibration error")
        if probable and (found.calibration_error is None or found.log_loss is None):
            faults.append(f"outcomes.{test}: the calibration error or the log loss is missing")
    return faults


def _shape(found: Outcome) -> list[str]:
    """Faults that leave nothing else to check."""
    if len(found.right) != len(found.images):
        return [f"right has {len(found.right)} classes, but images has {len(found.images)}"]
    if any(not 0 <= right <= images for right, images in zip(found.right, found.images, strict=True)):
        return ["a class has more images answered correctly than images, or fewer than none"]
    n = sum(found.images)
    try:
        size = len(base64.b64decode(found.correct, validate=True))
    except (binascii.Error, ValueError):
        return ["correct is not base64"]
    if size != -(-n // 8):
        return [f"correct has {size} bytes, but {n} images need {-(-n // 8)}"]
    packed = base64.b64encode(np.packbits(bits(found)).tobytes()).decode()
    return [] if packed == found.correct else ["correct marks images that the test set does not have"]


def _images(record: Record, test: str, found: Outcome) -> list[str]:
    """Compare the sums over classes with the bits of single images, n_test and the accuracy."""
    n, right, ones = sum(found.images), sum(found.right), int(bits(found).sum())
    accuracy, faults = record.accuracy.get(test), []
    if n != record.n_test.get(test):
        faults.append(f"the classes have {n} images, but n_test says {record.n_test.get(test)}")
    if ones != right:
        faults.append(f"{ones} images are marked correct, but the classes sum up to {right}")
    if n and accuracy is not None and accuracy != accuracy_of(replace(found, right=(ones,), images=(n,))):
        faults.append(f"{ones} of {n} images are marked correct, but the accuracy is {accuracy} %")
    return faults


def _confusions(found: Outcome) -> list[str]:
    """Compare the confusions with the images of each class that were answered wrongly."""
    wrong = [images - right for images, right in zip(found.images, found.right, strict=True)]
    pairs = [(one.label, one.answered) for one in found.confusions]
    counts = [one.images for one in found.confusions]
    if any(not (0 <= a < len(wrong) and 0 <= b < len(wrong)) or a == b for a, b in pairs):
        return ["a confusion is not between two of the classes"]
    ranked = sorted(zip(counts, pairs, strict=True), key=lambda one: (-one[0], one[1]))
    if len(set(pairs)) < len(pairs) or min(counts, default=1) < 1 or pairs != [pair for _, pair in ranked]:
        return ["the confusions are not different, in order, and of at least one image each"]
    listed = [
        sum(one.images for one in found.confusions if one.label == label) for label in range(len(wrong))
    ]
    more = [label for label, images in enumerate(listed) if images > wrong[label]]
    if more:
        return [f"class {more[0]} has more confusions than images answered wrongly"]
    if len(pairs) < MOST and listed != wrong:
        return [f"the confusions have {sum(listed)} images, but {sum(wrong)} were answered wrongly"]
    return []


def _calibration(found: Outcome) -> list[str]:
    faults = []
    if found.calibration_error is not None and not 0 <= found.calibration_error <= 100:
        faults.append(f"calibration_error is {found.calibration_error}, but must be between 0 and 100 %")
    if found.log_loss is not None and found.log_loss < 0:
        faults.append(f"log_loss is {found.log_loss}, but must be at least 0")
    return faults
