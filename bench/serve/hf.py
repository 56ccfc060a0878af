"""Hugging Face's zero-shot-image-classification task (@huggingface/tasks): one image a request.

{"inputs": base64, "parameters": {"candidate_labels": [..], "hypothesis_template": "This is a photo of {}."}}
-> [{"label", "score"}, ..], the best first. Where the label alone is answered, there is no score.
"""

from typing import Any

from torch import Tensor

from bench.answered import Level
from bench.serve.dialect import Question
from bench.serve.limits import images_of, texts_of
from bench.serve.model import Model
from bench.serve.refused import Refused

TEMPLATE = "This is a photo of {}."  # the task's default


class HuggingFace:
    """See Dialect."""

    def read(self, data: dict[str, Any]) -> Question:
        parameters = data.get("parameters")
        if not isinstance(parameters, dict):
            raise Refused(422, "parameters has to be an object with candidate_labels")
        names = texts_of(parameters.get("candidate_labels"), "candidate_labels", least=2)
        template = parameters.get("hypothesis_template", TEMPLATE)
        if not isinstance(template, str) or template.count("{}") != 1:
            raise Refused(422, "hypothesis_template has to hold one {}")
        # replaced, not formatted: a template is data
        texts = texts_of([template.replace("{}", name) for name in names], "candidate_labels")
        return Question(images_of([data.get("inputs")], "inputs"), texts, names)

    def write(self, question: Question, images: Tensor, texts: Tensor, model: Model) -> Any:
        level = Level("probs") if model.level.kind == "logits" else model.level
        (said,) = model.said(images @ texts.T, level)
        order = said.nan_to_num(-1.0).sort(stable=True, descending=True).indices.tolist()
        found: list[dict[str, Any]] = []
        for place in order:
            if not bool(said[place].isnan()):
                score = {} if level.kind == "label" else {"score": said[place].item()}
                found.append({"label": question.names[place], **score})
        return found
