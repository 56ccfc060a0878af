"""How each dialect writes a question, and how its answer is read. An answer is believed in nothing.

A question is B images as PNG and C texts; the answer is a tensor [B, C] in float64: logits, or probabilities,
NaN where nothing is said. Where the label alone is said, it has the probability 1.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.chat import answer_of
from bench.http import SAID, one_line
from bench.remote import Endpoint, Tokens
from bench.wire.failed import WireFailed

# The dialect chat has no field for class texts, so they are listed in words. The server of this project
# (bench/serve/chat.py) reads the list as a model would. The answers depend on these words.
ASKED = "Which line describes the image best? Answer with that line alone, exactly as it is written."
ITEM = "- "  # the beginning of a listed text
QUOTES = "\"'`"
FRAME = 16  # tokens of the frame around a message, at most


@dataclass(frozen=True)
class Question:
    """images: B, each the bytes of a PNG. texts: C, whole."""

    images: Sequence[bytes]
    texts: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """[B, C]."""
        return len(self.images), len(self.texts)


def address(endpoint: Endpoint) -> str:
    """Where questions go."""
    return endpoint.url + {"oip": "/infer", "chat": "/chat/completions"}.get(endpoint.dialect, "")


def wording(endpoint: Endpoint) -> str:
    """What a question holds beside images and texts, and what its answer depends on."""
    return ASKED if endpoint.dialect == "chat" else ""


def written(question: Question, endpoint: Endpoint) -> bytes:
    """The body of a request: the same bytes for the same question. Raises WireFailed."""
    images = [base64.b64encode(one).decode() for one in question.images]
    texts = list(question.texts)
    data: dict[str, Any]
    if endpoint.dialect == "oip":
        inputs = (("images", images), ("texts", texts))
        data = {"inputs": [_bytes(name, values) for name, values in inputs]}
    elif endpoint.dialect == "rank":
        candidates = [{"text": text} for text in texts]
        data = {"queries": [{"img_blob": image} for image in images], "candidates": candidates}
    else:
        if len(set(texts)) < len(texts):
            raise WireFailed("two classes have the same text, and this dialect tells classes apart by it")
        if endpoint.dialect == "hf":
            parameters = {"candidate_labels": texts, "hypothesis_template": "{}"}
            data = {"inputs": images[0], "parameters": parameters}
        else:
            data = _chat_request(images[0], question.texts, endpoint.name)
    return json.dumps(data, separators=(",", ":")).encode()


def _bytes(name: str, values: list[str]) -> dict[str, Any]:
    return {"name": name, "shape": [len(values)], "datatype": "BYTES", "data": values}


def _chat_request(image: str, texts: tuple[str, ...], model: str) -> dict[str, Any]:
    """One user message: a list of the texts, and the image as a data URL."""
    if any(text != text.strip() or not text.isprintable() for text in texts):
        raise WireFailed("a class text has a line break or outer blanks, and this dialect lists one a line")
    content = [
        {"type": "text", "text": _listed(texts)},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
    ]
    return {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "temperature": 0.0,
        "seed": 0,
        "max_tokens": _longest(texts),
        "stream": False,
    }


def _listed(texts: tuple[str, ...]) -> str:
    return "\n".join([ASKED, *(f"{ITEM}{text}" for text in texts)])


def _longest(texts: tuple[str, ...]) -> int:
    """The tokens of an answer, at most: one for a byte of the longest text, and a frame."""
    return max(len(text.encode()) for text in texts) + FRAME


def most_tokens(texts: tuple[str, ...], endpoint: Endpoint) -> Tokens:
    """The tokens of a question and of its answer, at most; (0, 0) where a dialect has none."""
    if endpoint.dialect != "chat":
        return 0, 0
    of_image = (endpoint.price.image_tokens if endpoint.price else 0) or 0
    return len(_listed(texts).encode()) + FRAME + of_image, _longest(texts)


def used_tokens(body: bytes, texts: tuple[str, ...], endpoint: Endpoint) -> Tokens:
    """The tokens that an answer says it took. Those that it does not say count as `most_tokens`."""
    most = most_tokens(texts, endpoint)
    if endpoint.dialect != "chat":
        return most
    try:
        said = answer_of(json.loads(body))
    except (ValueError, RecursionError):
        return most
    sent, wrote = said.prompt_tokens, said.completion_tokens
    return most[0] if sent is None else sent, most[1] if wrote is None else wrote


def understood(body: bytes, question: Question, endpoint: Endpoint) -> Tensor:
    """What an answer says, [B, C]. Raises WireFailed, in one line, for one that cannot be true."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise WireFailed("its answer is no JSON") from None
    try:
        read = {"oip": _oip, "rank": _rank, "hf": _hf, "chat": _chat}[endpoint.dialect]
        said = read(data, question, endpoint)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError, RuntimeError):
        raise WireFailed(f"its answer has not the shape of the dialect {endpoint.dialect}") from None
    if said.isinf().any() or said.isnan().all(-1).any():
        raise WireFailed("its answer holds numbers that are not finite")
    if endpoint.level.kind != "logits" and bool(((said < 0) | (said > 1)).any()):
        raise WireFailed("its answer holds scores that are no probabilities")
    return said


def _oip(data: Any, question: Question, endpoint: Endpoint) -> Tensor:
    outputs = {one["name"]: one for one in data["outputs"]}
    if "labels" not in outputs:
        return _matrix(outputs["scores"]["data"], question.shape)
    (images, classes), places = question.shape, outputs["labels"]["data"]
    named = len(places) // images
    if not places or len(places) != images * named:
        raise WireFailed(f"its answer has {len(places)} labels for {images} images")
    rows = [places[i * named : (i + 1) * named] for i in range(images)]
    scores = [1.0] * len(places)
    if "scores" in outputs:
        scores = _matrix(outputs["scores"]["data"], (images, named)).flatten().tolist()
    said = torch.full(question.shape, torch.nan, dtype=torch.float64)
    for i, row in enumerate(rows):
        if any(type(place) is not int or not 0 <= place < classes for place in row):
            raise WireFailed("its answer names a label that was not sent")
        if len(set(row)) < named:
            raise WireFailed("its answer names a label twice")
        for place, score in zip(row, scores[i * named : (i + 1) * named], strict=True):
            said[i, place] = score
    return said


def _rank(data: Any, question: Question, endpoint: Endpoint) -> Tensor:
    if endpoint.level.kind == "logits":
        assert endpoint.logit_scale is not None
        flat = [one for row in data["cosine_similarities"] for one in row]
        return endpoint.logit_scale * _matrix(flat, question.shape)
    return _matrix([one for row in data["probabilities"] for one in row], question.shape)


def _hf(data: Any, question: Question, endpoint: Endpoint) -> Tensor:
    said = torch.full(question.shape, torch.nan, dtype=torch.float64)
    places = {text: place for place, text in enumerate(question.texts)}
    if not isinstance(data, list) or not data:
        raise WireFailed("its answer is no list of labels")
    seen = set()
    for one in data:
        label = one["label"]
        if label not in places:
            raise WireFailed("its answer names a label that was not sent")
        if label in seen:
            raise WireFailed("its answer names a label twice")
        seen.add(label)
        said[0, places[label]] = _matrix([one.get("score", 1.0)], (1, 1))[0, 0]
    return said


def _chat(data: Any, question: Question, endpoint: Endpoint) -> Tensor:
    """The reply has to be one of the texts, apart from blanks, the sign of the list, or quotes around it."""
    reply = answer_of(data).text.strip()
    item = reply.removeprefix(ITEM).strip()
    forms = (reply, item, *(item[1:-1] for quote in QUOTES if item[:1] == quote == item[-1:]))
    place = next((question.texts.index(one) for one in forms if one in question.texts), None)
    if place is None:
        raise WireFailed(f"its answer names a label that was not sent: {one_line(reply)[:SAID]!r}")
    said = torch.full(question.shape, torch.nan, dtype=torch.float64)
    said[0, place] = 1.0
    return said


def _matrix(flat: Any, shape: tuple[int, int]) -> Tensor:
    """[B, C] float64. Raises WireFailed for another number of numbers, and for what is none."""
    if not isinstance(flat, list) or len(flat) != shape[0] * shape[1]:
        count = len(flat) if isinstance(flat, list) else "no"
        raise WireFailed(f"its answer has {count} scores where {shape[0]} x {shape[1]} belong")
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in flat):
        raise WireFailed("its answer holds scores that are no numbers")
    found = torch.tensor([float(one) for one in flat], dtype=torch.float64).view(shape)
    if not bool(found.isfinite().all()):
        raise WireFailed("its answer holds numbers that are not finite")
    return found
