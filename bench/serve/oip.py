"""The Open Inference Protocol v2 of KServe and Triton, as JSON.

https://github.com/kserve/open-inference-protocol (inference_rest.yaml). Inputs: images BYTES [B], each in
base64, and texts BYTES [C]. Outputs: scores FP64 [B, C]; where answers are cut to K of the texts, labels
INT64 [B, K], places in the list of texts, and scores [B, K] unless the label alone is answered.
"""

from typing import Any

from torch import Tensor

from bench.serve.dialect import Question
from bench.serve.limits import images_of, texts_of
from bench.serve.model import Model
from bench.serve.refused import Refused

NAME = "clip"
LETTERS = 200  # of an id


class OpenInference:
    """See Dialect."""

    def read(self, data: dict[str, Any]) -> Question:
        given = data.get("inputs")
        if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
            raise Refused(422, "inputs has to be a list of tensors")
        inputs = {one["name"]: one for one in given if isinstance(one.get("name"), str)}
        if set(inputs) != {"images", "texts"} or len(given) != 2:
            raise Refused(422, "the inputs are images and texts, once each")
        images = images_of(_flat(inputs["images"]), "images")
        texts = texts_of(_flat(inputs["texts"]), "texts")
        number = data.get("id")
        if number is not None and not (isinstance(number, str) and len(number) <= LETTERS):
            raise Refused(422, f"id has to be a text of at most {LETTERS} characters")
        return Question(images, texts, details={} if number is None else {"id": number})

    def write(self, question: Question, images: Tensor, texts: Tensor, model: Model) -> Any:
        said = model.said(images @ texts.T)
        named = ~said.isnan()
        if bool(named.all()):
            outputs = [_output("scores", "FP64", said)]
        else:
            count = int(named[0].sum())
            places = named.long().sort(dim=-1, descending=True, stable=True).indices[:, :count]
            outputs = [_output("labels", "INT64", places)]
            if model.level.kind != "label":
                outputs.append(_output("scores", "FP64", said.gather(-1, places)))
        return {"model_name": NAME, "model_version": "1", **question.details, "outputs": outputs}


def _flat(given: dict[str, Any]) -> list[Any]:
    """The data of a BYTES tensor of one dimension. Raises Refused (422)."""
    data, name = given.get("data"), given["name"]
    if given.get("datatype") != "BYTES" or not isinstance(data, list):
        raise Refused(422, f"{name} has to be of datatype BYTES, its data a list")
    if given.get("shape") != [len(data)]:
        raise Refused(422, f"{name}: its shape is not that of its data, [{len(data)}]")
    return data


def _output(name: str, datatype: str, values: Tensor) -> dict[str, Any]:
    flat = values.flatten().tolist()
    return {"name": name, "datatype": datatype, "shape": list(values.shape), "data": flat}


def metadata(model: Model) -> dict[str, Any]:
    """The model's metadata; `parameters` says what a caller of this project wants to know."""
    texts = {"name": "texts", "datatype": "BYTES", "shape": [-1]}
    images = {"name": "images", "datatype": "BYTES", "shape": [-1]}
    scores = {"name": "scores", "datatype": "FP64", "shape": [-1, -1]}
    return {
        "name": NAME,
        "versions": ["1"],
        "platform": "bench",
        "inputs": [images, texts],
        "outputs": [scores],
        "parameters": model.described(),
    }
