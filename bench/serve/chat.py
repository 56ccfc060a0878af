"""The shape of an OpenAI-compatible vision chat: one image and a list of texts in words, one text in return.

{"model", "messages": [{"role": "user", "content": [{"type": "text", "text"},
{"type": "image_url", "image_url": {"url": "data:image/png;base64,.."}}]}]}
-> {"choices": [{"message": {"content": ".."}}], "usage": {"prompt_tokens", "completion_tokens"}}.
The lines of the text that begin with "- " are what the model chooses from.
"""

import time
from hashlib import sha256
from typing import Any

from torch import Tensor

from bench.answered import Level
from bench.serve.dialect import Question
from bench.serve.limits import images_of, texts_of
from bench.serve.model import Model
from bench.serve.refused import Refused

ITEM = "- "
# In place of a tokenizer: so many bytes of text, and so many pixels a side, are a token.
BYTES, SIDE = 4, 32


class Chat:
    """See Dialect. model: the one name that a request may ask for."""

    def __init__(self, model: str) -> None:
        self.model = model

    def read(self, data: dict[str, Any]) -> Question:
        if data.get("model") != self.model:
            raise Refused(404, f"the one model here is {self.model}")
        if data.get("stream"):
            raise Refused(422, "answers are not streamed")
        parts = _parts(data.get("messages"))
        text = "\n".join(_part(one, "text") for one in parts if one.get("type") == "text")
        images = [_part(one.get("image_url"), "url") for one in parts if one.get("type") == "image_url"]
        if len(images) != 1 or not images[0].startswith("data:"):
            raise Refused(422, "a message has one image, as a data URL; addresses are not opened")
        lines = [line.removeprefix(ITEM) for line in text.split("\n") if line.startswith(ITEM)]
        texts = texts_of(lines, "the list of texts", least=2)
        details = {"tokens": tokens(text)}
        return Question(images_of(images, "image_url"), texts, details=details)

    def write(self, question: Question, images: Tensor, texts: Tensor, model: Model) -> Any:
        (said,) = model.said(images @ texts.T, Level("label"))
        reply = question.texts[int(said.nan_to_num(0.0).argmax())]
        sent = question.details["tokens"] + (-(-model.view.size // SIDE)) ** 2
        usage = {"prompt_tokens": sent, "completion_tokens": tokens(reply)}
        message = {"role": "assistant", "content": reply}
        return {
            "id": f"chatcmpl-{sha256(reply.encode()).hexdigest()[:16]}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage | {"total_tokens": sum(usage.values())},
        }


def _parts(messages: Any) -> list[dict[str, Any]]:
    """The parts of the last message. Raises Refused (422)."""
    last = messages[-1] if isinstance(messages, list) and messages else None
    content = last.get("content") if isinstance(last, dict) else None
    if not isinstance(content, list) or not all(isinstance(one, dict) for one in content):
        raise Refused(422, "the last of the messages has to have a list of parts as its content")
    return content


def _part(holder: Any, name: str) -> str:
    """A text in a part. Raises Refused (422)."""
    text = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(text, str):
        raise Refused(422, f"a part of the message lacks its {name}")
    return text


def tokens(text: str) -> int:
    """How many tokens a text counts as."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES)
