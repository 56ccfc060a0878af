"""A model behind an address: what is known of it before it is asked. Part of a resolved cell.

What the provider publishes is read from the server's metadata, where it has any, or from a TOML file that
declares the endpoint; the file has the last word. Its price is in the file alone, with the date of the price.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import Any

from bench.answered import Level, parse
from bench.errors import UserError, did_you_mean
from bench.toml import read_toml

DIALECTS = ("oip", "hf", "rank", "chat")
# the most that a dialect has words for
CEILING = {"oip": "logits", "hf": "probs", "rank": "logits", "chat": "label"}
AT_ONCE = {"oip": 64, "rank": 64, "hf": 1, "chat": 1}  # images of one request
KNOWN = {"resize_mode": ("shortest", "squash"), "interpolation": ("bicubic", "bilinear")}
TAKES = frozenset({"words", "pixels"})  # beside images and class names, in every dialect: see bench.access

Tokens = tuple[int, int]  # of prompts, of completions


@dataclass(frozen=True)
class Price:
    """Dollars, as the user looked them up on that day. prompt, completion: of a million tokens."""

    date: str  # ISO 8601
    image: float = 0.0
    request: float = 0.0
    prompt: float = 0.0
    completion: float = 0.0
    image_tokens: int | None = None  # tokens of a prompt that an image counts as, at most
    source: str = ""  # where they were found, in words or as an address

    def __post_init__(self) -> None:
        amounts = (self.image, self.request, self.prompt, self.completion, self.image_tokens or 0)
        if not all(0 <= one < float("inf") for one in amounts):
            raise ValueError("price: every amount must be a number, 0 or more")
        if self.prompt and self.image_tokens is None:
            raise ValueError("price: prompt needs image_tokens, the most tokens that an image counts as")
        try:
            date.fromisoformat(self.date)
        except ValueError:
            raise ValueError(f'price: date is {self.date!r}: write date = "2026-01-31"') from None

    @property
    def by_token(self) -> bool:
        """Whether tokens cost something."""
        return bool(self.prompt or self.completion)

    def of(self, images: int, requests: int, tokens: Tokens = (0, 0)) -> float:
        """Dollars."""
        by_tokens = (tokens[0] * self.prompt + tokens[1] * self.completion) / 1e6
        return images * self.image + requests * self.request + by_tokens


def requests_for(images: int, at_once: int) -> int:
    """The requests that so many images take. at_once: images of one request."""
    return -(-images // at_once)


@dataclass(frozen=True)
class Declared:
    """The TOML file. What is left out is taken from the server's metadata."""

    url: str
    dialect: str
    name: str = ""
    answers: str = ""
    image_size: int | None = None
    resize_mode: str = ""
    interpolation: str = ""
    pixel_mean: tuple[float, ...] = ()
    pixel_std: tuple[float, ...] = ()
    logit_scale: float | None = None
    price: Price | None = None


@dataclass(frozen=True)
class Endpoint:
    """An address, how it is asked, and what its provider publishes. See Backbone for the sizes."""

    url: str
    dialect: str
    name: str  # of its model, which the dialect chat asks for; random streams depend on it
    image_size: int
    answers: str  # what it is said to answer with
    resize_mode: str = "shortest"
    interpolation: str = "bicubic"
    pixel_mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)  # CLIP's
    pixel_std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
    logit_scale: float | None = None  # of the cosines; None: not published
    weights: str = ""  # sha256 of its weights, where it says
    price: Price | None = None

    @property
    def place(self) -> str:
        """Dialect and address: its coordinate in a cell."""
        return f"{self.dialect}+{self.url}"

    @property
    def level(self) -> Level:
        """What it grants, as it says and as its dialect can say it."""
        told, most = parse(self.answers), parse(CEILING[self.dialect])
        if self.dialect == "rank" and self.logit_scale is None:
            most = parse("probs")
        return told if most.covers(told) else most

    @property
    def identity(self) -> str:
        """What decides its answers, as far as is known."""
        return f"{self.place} {self.name} {self.weights}"


@dataclass(frozen=True)
class Wiring:
    """How an endpoint is asked. None of it is part of a cell, and no number depends on it."""

    store: str | None = None  # file of the answers that are paid for; None: they are kept while this runs
    run: str = ""  # names this run among those that fill the store
    fresh: bool = False  # answers of earlier runs are ignored
    spend: float | None = None  # dollars of all runs that fill the store
    at_once: int = 8  # requests
    first_wait: float = 1.0  # seconds: see bench.retry.Rule
    drift: float = 0.01  # share of the answers of earlier runs that are asked for again


def is_address(text: str | None) -> bool:
    """Whether a --backbone names an endpoint: an address, or a file that declares one."""
    return bool(text) and ("://" in str(text) or str(text).endswith(".toml"))


def declared(text: str, dialect: str | None) -> Declared:
    """What --backbone and --dialect declare. Raises UserError."""
    found = Declared(text, dialect or "") if "://" in text else read_toml(Path(text), Declared)
    if dialect and found.dialect != dialect:
        raise UserError(f"{text} says dialect = {found.dialect!r}, and --dialect says {dialect}: give one.")
    if not found.dialect:
        raise UserError(
            f"--backbone {text.split('?')[0].rpartition('@')[2]} needs --dialect: {', '.join(DIALECTS)}."
        )
    if found.dialect not in DIALECTS:
        what = "--dialect" if "://" in text else f"{text}: dialect"
        raise UserError(f"{what} {found.dialect!r} is none. {did_you_mean(found.dialect, DIALECTS)}")
    if found.answers:
        parse(found.answers)
    return replace(found, url=found.url.rstrip("/"))


def endpoint_of(found: Declared, told: Mapping[str, Any]) -> Endpoint:
    """The endpoint: what is declared, over what the server tells. Raises UserError for what is missing."""
    usable = {f.name for f in fields(Endpoint)} - {"url", "dialect", "price"}
    facts = {name: value for name, value in _checked(told).items() if name in usable}
    given = {f.name: getattr(found, f.name) for f in fields(Declared)}
    facts |= {name: value for name, value in given.items() if value not in ("", None, ())}
    if "image_size" not in facts:
        raise UserError(
            f"{found.url} does not say how large its images are (it was asked in the dialect "
            f"{found.dialect}, and may speak another): declare the endpoint in a TOML file with "
            "image_size = 224 and give that file as --backbone (see docs/serve.md)."
        )
    if found.dialect == "chat" and "name" not in facts:
        raise UserError(
            f"{found.url} does not say which model it has: declare the endpoint in a TOML file with name = "
            "its model's name, and give that file as --backbone (see docs/serve.md)."
        )
    facts.setdefault("name", found.url.partition("://")[2])
    facts.setdefault("answers", CEILING[found.dialect])
    return Endpoint(**facts)


def _checked(told: Mapping[str, Any]) -> dict[str, Any]:
    """What of a server's metadata has the right type; the rest is taken as not said."""
    found: dict[str, Any] = {}
    if isinstance(name := told.get("backbone"), str) and 0 < len(name) < 200 and name.isprintable():
        found["name"] = name
    if isinstance(weights := told.get("weights"), str) and weights.isalnum() and len(weights) == 64:
        found["weights"] = weights
    if type(size := told.get("image_size")) is int and 1 <= size <= 4096:
        found["image_size"] = size
    for key, known in KNOWN.items():
        if told.get(key) in known:
            found[key] = told[key]
    for key in ("pixel_mean", "pixel_std"):
        value = told.get(key)
        if isinstance(value, list) and len(value) == 3 and all(_positive(one) for one in value):
            found[key] = tuple(map(float, value))
    if _positive(scale := told.get("logit_scale", 0)):
        found["logit_scale"] = float(scale)
    with suppress(UserError):
        found["answers"] = str(parse(str(told.get("answers"))))
    return found


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e6
