"""The predictor whose model is behind an address: words and images go out, answers come back."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bench import exact
from bench.access import FEATURES
from bench.answered import Level
from bench.blackbox import AccessDenied, ModelSpec
from bench.coarse import coarse, filled, narrowed
from bench.loader import Sample
from bench.pixels import to_bytes
from bench.predictor import Answers, Encodings
from bench.prompt import Prompt
from bench.record import Wired
from bench.remote import Endpoint
from bench.wire.asker import Asked, Asker, Tally
from bench.wire.failed import WireFailed

NAN = float("nan")


class RemotePredictor:
    """See Predictor. level: what its answers are cut down to; the endpoint grants that, or more."""

    def __init__(self, asker: Asker, level: Level, device: str, dtype: torch.dtype) -> None:
        self._asker, self._tally = asker, Tally()
        self.level, self.device, self.dtype = level, device, dtype
        self.model = spec_of(asker.endpoint)

    @property
    def cost(self) -> Wired | None:
        """See Predictor."""
        return self._tally.shown()

    def embed_words(self, words: str) -> Tensor:
        """Refused: an endpoint takes words, and gives no table of tokens."""
        raise AccessDenied("an endpoint takes words; it gives no token embeddings")

    def encode(self, prompts: Sequence[Prompt], classes: tuple[str, ...], template: str) -> Encodings:
        """Refused: no dialect here carries features."""
        raise AccessDenied(f"the endpoint answers with {self.level}; {FEATURES} are not granted")

    def prepare(self, prompts: Sequence[Prompt], classes: tuple[str, ...], template: str) -> Answers:
        """See Predictor. All prompts of a call are sent together, some requests at a time."""
        if any(prompt.context is not None or prompt.tokens is not None for prompt in prompts):
            raise AccessDenied("an endpoint takes words and pixels; it takes no soft context and no tokens")
        texts = [texts_of(prompt.template or template, classes) for prompt in prompts]

        def answer(sample: Sample) -> Tensor:
            pairs = zip(prompts, texts, strict=True)
            asked = [Asked(self._images(sample, prompt), words) for prompt, words in pairs]
            said = torch.stack(self._asker.ask(asked, self._tally))  # [K, B, C]
            return self._cut(said).to(self.device)

        return answer

    def _images(self, sample: Sample, prompt: Prompt) -> Tensor:
        """uint8 [B, 3, S, S]: what is sent."""
        if prompt.pixels is not None:
            return to_bytes(prompt.pixels(sample.batch))
        if "bytes" not in sample.memo:
            sample.memo["bytes"] = to_bytes(sample.images)
        return sample.memo["bytes"]

    def _cut(self, said: Tensor) -> Tensor:
        """What the endpoint says -> answers as a model of this process gives them at this level."""
        if self._asker.endpoint.level.kind == "logits":
            return coarse(exact.answer(said), self.level)
        needed = {"label": 1, "top": self.level.number or 1}.get(self.level.kind, said.shape[-1])
        named = int((~said.isnan()).sum(-1).min())
        if named < min(needed, said.shape[-1]):
            raise WireFailed(
                f"it answered with {named} of {said.shape[-1]} labels, "
                f"and --answers {self.level} needs {needed}"
            )
        return filled(narrowed(said, self.level), self.level)


def texts_of(template: str, classes: tuple[str, ...]) -> tuple[str, ...]:
    """[C] class names in a template."""
    return tuple(template.format(name) for name in classes)


def other_than(template: str) -> str:
    """Another template: the class name alone, or a few words around it."""
    return "{}" if template.strip(" .") != "{}" else "a photo of a {}."


def spec_of(endpoint: Endpoint) -> ModelSpec:
    """What its provider publishes; 0 and NaN for what concerns parts that it does not take."""
    return ModelSpec(
        image_size=endpoint.image_size,
        feature_width=0,
        text_width=0,
        vision_width=None,
        pixel_mean=endpoint.pixel_mean,
        pixel_std=endpoint.pixel_std,
        token_std=NAN,
        patch_mean=NAN,
        patch_std=NAN,
        logit_scale=NAN if endpoint.logit_scale is None else endpoint.logit_scale,
    )
