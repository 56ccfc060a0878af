"""What a method sends and reads, named by its declared access, and which real APIs grant that.

Facts about the APIs were read in their documentation in 2026: Hugging Face's zero-shot-image-classification
task (@huggingface/tasks 0.19), BentoML's CLIP-API-service (/rank, /encode), Jina's clip-as-service, AWS
Rekognition Custom Labels, OpenAI-compatible vision chat, and the Open Inference Protocol v2 of KServe and
Triton, with which a provider can offer any model. No public API takes a soft context or visual tokens:
methods that send these need a provider's consent.
"""

from collections.abc import Collection
from dataclasses import dataclass

from bench.answered import KINDS

# The access level that a black box must grant for each part of a prompt. A method declares what it needs.
ACCESS = {
    "context": "text context",
    "template": "template",
    "pixels": "pixels",
    "tokens": "visual tokens",
    "head": "logits head",
    "adapter": "features",
    "local": "own model",
}
WHITE_BOX = "white box"
LANGUAGE_MODEL = "language model"  # a second model, which has its own costs: see bench/chat.py
FEATURES = ACCESS["adapter"]
# These levels grant more than predictions. Methods with them are references: shown separately, never ranked.
REFERENCES = frozenset({WHITE_BOX, FEATURES})
LEAST_ANSWER = "top"  # some probabilities, as a method that follows a loss needs

# What is sent to the API, by access level. A head, an adapter and an own model run on the caller's side.
SENT = {
    ACCESS["context"]: "soft context",
    ACCESS["template"]: "words",
    ACCESS["pixels"]: "pixels",
    ACCESS["tokens"]: "visual tokens",
}
GRADIENTS = "gradients"
CLASS_NAMES = "class names"  # every method sends these, in the data set's hand template


@dataclass(frozen=True)
class API:
    """A kind of API. takes: what can be sent besides images and class names. answers: one of KINDS."""

    name: str
    takes: frozenset[str]
    answers: str
    features: bool = False


APIS = (
    API("zero-shot endpoint", frozenset({"words", "pixels"}), "probs"),
    API("rank service", frozenset({"words", "pixels"}), "logits"),
    API("encode service", frozenset({"words", "pixels"}), "logits", features=True),
    API("vision chat", frozenset({"words", "pixels"}), "label"),
    API("custom labels", frozenset({"pixels"}), "top"),
)
BILLED = "X-Billed-Images"  # the header in which a server says how many images an answer was billed for
CONSENT = "a provider's consent"  # for methods that no API of this list can serve


def sent(access: Collection[str]) -> str:
    """What a method sends besides images, e.g. 'words' or 'soft context, pixels'."""
    found = [words for level, words in SENT.items() if level in access]
    return ", ".join(found) or CLASS_NAMES


def needed(access: Collection[str], least: str = LEAST_ANSWER) -> str:
    """The least kind of answer that a method needs: "logits" for features and gradients, else `least`."""
    return "logits" if REFERENCES & set(access) else least


def answered(access: Collection[str], needs: str) -> str:
    """What a method reads from the model: 'gradients', 'features', or the least kind of answer it needs."""
    if WHITE_BOX in access:
        return GRADIENTS
    return FEATURES if FEATURES in access else needs


def takes(taken: Collection[str], access: Collection[str]) -> bool:
    """Whether a method can send what it sends, and needs no more than answers. taken: as in API.takes."""
    wanted = {words for level, words in SENT.items() if level in access}
    return not REFERENCES & set(access) and wanted <= set(taken)


def runs_on(access: Collection[str], needs: str) -> tuple[str, ...]:
    """The kinds of API on which a method can run; (CONSENT,) if none grants what it needs."""
    wanted = {words for level, words in SENT.items() if level in access}
    fits = (
        api.name
        for api in APIS
        if WHITE_BOX not in access
        and wanted <= api.takes
        and KINDS.index(api.answers) >= KINDS.index(needs)
        and (FEATURES not in access or api.features)
    )
    return tuple(fits) or (CONSENT,)
