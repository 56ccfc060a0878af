"""The shape of BentoML's CLIP-API-service: POST /rank, and POST /encode where features are granted.

/rank: {"queries": [{"img_blob": base64}], "candidates": [{"text": ".."}]} -> {"probabilities": [B][C]}, and
"cosine_similarities" where logits are granted. /encode: {"data": [{"img_blob" or "text"}]} -> [vector, ..].
"""

from typing import Any

from torch import Tensor

from bench.answered import Level
from bench.serve.dialect import Question, numbers
from bench.serve.limits import images_of, texts_of
from bench.serve.model import Model
from bench.serve.refused import Refused


class Rank:
    """See Dialect."""

    def read(self, data: dict[str, Any]) -> Question:
        queries, candidates = _objects(data, "queries"), _objects(data, "candidates")
        images = images_of([one.get("img_blob") for one in queries], "img_blob")
        return Question(images, texts_of([one.get("text") for one in candidates], "candidates"))

    def write(self, question: Question, images: Tensor, texts: Tensor, model: Model) -> Any:
        cosines = images @ texts.T
        if model.level.kind == "logits":
            probabilities = numbers(model.said(cosines, Level("probs")))
            return {"probabilities": probabilities, "cosine_similarities": numbers(cosines.double())}
        return {"probabilities": numbers(model.said(cosines))}


class Encode:
    """See Dialect. The items are sent under "data"."""

    def read(self, data: dict[str, Any]) -> Question:
        items = _objects(data, "data")
        images = [one["img_blob"] for one in items if "img_blob" in one]
        texts = [one["text"] for one in items if "text" in one]
        if len(images) + len(texts) != len(items):
            raise Refused(422, "each item has an img_blob or a text")
        kinds = ["img_blob" if "img_blob" in one else "text" for one in items]
        read = images_of(images, "img_blob") if images else []
        return Question(read, texts_of(texts, "text", least=0), details={"kinds": kinds})

    def write(self, question: Question, images: Tensor, texts: Tensor, model: Model) -> Any:
        rows = {"img_blob": iter(images.double().tolist()), "text": iter(texts.double().tolist())}
        return [next(rows[kind]) for kind in question.details["kinds"]]


def _objects(data: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Raises Refused (422), also for an address in place of an image."""
    given = data.get(name)
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise Refused(422, f"{name} has to be a list of objects")
    if any("img_uri" in one or "uri" in one for one in given):
        raise Refused(422, "img_uri is not opened: send the image as img_blob")
    return given
