"""Questions in, answers out: what was paid for is looked up, the rest is asked, some requests at a time."""

import hashlib
import io
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench import http
from bench.record import Wired
from bench.remote import AT_ONCE, Endpoint, Tokens, Wiring
from bench.wire.client import Client, Stopped
from bench.wire.dialects import Question, address, most_tokens, understood, used_tokens, wording, written
from bench.wire.failed import WireFailed
from bench.wire.store import Answers

SAME = 1e-6  # answers that differ by less are the same

Texts = tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """Images and texts that belong together. images: uint8 [B, 3, S, S]. texts: C."""

    images: Tensor
    texts: Texts


@dataclass(frozen=True)
class Item:
    """One image and its texts, under the name of their answer."""

    key: bytes
    image: np.ndarray  # uint8 [S, S, 3]
    texts: Texts


@dataclass
class Tally:
    """What one cell cost, beside its queries. Counted by several threads."""

    requests: int = 0
    retries: int = 0
    images: int = 0
    hits: int = 0
    checked: int = 0
    drifted: int = 0
    waited: float = 0.0
    dollars: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, tries: int, waited: float, images: int, dollars: float, tokens: Tokens) -> None:
        """One answer."""
        with self.lock:
            self.requests += tries
            self.retries += tries - 1
            self.images += images
            self.waited += waited
            self.dollars += dollars
            self.prompt_tokens += tokens[0]
            self.completion_tokens += tokens[1]

    def shown(self) -> Wired:
        """As a record keeps it."""
        return Wired(
            self.requests,
            self.retries,
            self.images,
            self.hits,
            self.checked,
            self.drifted,
            round(self.waited, 3),
            round(self.dollars, 6),
            self.prompt_tokens,
            self.completion_tokens,
        )


class Asker:
    """Asks one endpoint."""

    def __init__(self, endpoint: Endpoint, wiring: Wiring, client: Client, answers: Answers) -> None:
        self.endpoint, self.wiring, self.client, self.answers = endpoint, wiring, client, answers
        self._checked: set[bytes] = set()

    def close(self) -> None:
        self.client.close()
        self.answers.close()

    def ask(self, asked: Sequence[Asked], tally: Tally, nonce: str = "") -> list[Tensor]:
        """What is said of each [B, C] float64 (see bench.wire.dialects). Raises WireFailed.

        nonce: tells a question from the same one that was asked before.
        """
        items = [[self._item(one.texts, image, nonce) for image in _pictures(one.images)] for one in asked]
        known = self._known([item for row in items for item in row], tally)
        missing = {item.key: item for row in items for item in row if item.key not in known}
        known |= self._paid(list(missing.values()), nonce, tally)
        return [torch.stack([known[item.key] for item in row]) for row in items]

    def _item(self, texts: Texts, image: np.ndarray, nonce: str) -> Item:
        digest = hashlib.sha256(self.endpoint.identity.encode())
        for text in (nonce, str(image.shape), *texts, *filter(None, [wording(self.endpoint)])):
            digest.update(b"\0" + text.encode())
        digest.update(b"\0" + image.tobytes())
        return Item(digest.digest(), image, texts)

    def _known(self, items: Sequence[Item], tally: Tally) -> dict[bytes, Tensor]:
        """The answers that are kept; of those of earlier runs some are asked for again, to be compared."""
        found = self.answers.find(list({item.key for item in items}))
        mine = self.wiring.run
        if self.wiring.fresh:
            found = {key: kept for key, kept in found.items() if kept.run == mine}
        tally.hits += sum(item.key in found for item in items)
        due = {
            item.key: item
            for item in items
            if item.key in found and found[item.key].run != mine and self._due(item.key)
        }
        if due:
            self._compare(list(due.values()), {key: kept.said for key, kept in found.items()}, tally)
        return {key: kept.said for key, kept in found.items()}

    def _due(self, key: bytes) -> bool:
        """Whether an answer is among those that are compared; each once."""
        chosen = int.from_bytes(key[:4], "little") < self.wiring.drift * 2**32
        return chosen and key not in self._checked

    def _compare(self, items: list[Item], known: dict[bytes, Tensor], tally: Tally) -> None:
        nonce = f"again {self.wiring.run}"
        for key, said in self._paid(items, nonce, tally, keep=False).items():
            self._checked.add(key)
            tally.checked += 1
            same = torch.allclose(said, known[key], rtol=0, atol=SAME, equal_nan=True)
            tally.drifted += not same

    # Requests

    def _paid(self, items: list[Item], nonce: str, tally: Tally, keep: bool = True) -> dict[bytes, Tensor]:
        """Answers from the endpoint; each is kept as soon as it is there."""
        found: dict[bytes, Tensor] = {}
        if not items:
            return found
        self.client.start()
        # threads end with the call: none outlives the cell
        with ThreadPoolExecutor(self.wiring.at_once) as pool:
            sent = [pool.submit(self._one, part, nonce, tally, keep) for part in self._parts(items)]
            try:
                wait(sent)
            finally:
                # after an interrupt those on their way end, and are kept; nobody waits for another try
                self.client.stop()
                pool.shutdown(cancel_futures=True)
        if faults := [fault for one in sent if (fault := one.exception())]:
            raise min(faults, key=lambda fault: isinstance(fault, Stopped))
        for one in sent:
            found |= one.result()
        return found

    def _parts(self, items: Sequence[Item]) -> Iterator[list[Item]]:
        """Items that go into one request: of the same texts."""
        by_texts: dict[Texts, list[Item]] = {}
        for item in items:
            by_texts.setdefault(item.texts, []).append(item)
        most = AT_ONCE[self.endpoint.dialect]
        for same in by_texts.values():
            yield from (same[start : start + most] for start in range(0, len(same), most))

    def _one(self, items: Sequence[Item], nonce: str, tally: Tally, keep: bool) -> dict[bytes, Tensor]:
        """The answers of one request. keep: in the store, at once. Where it fails, no other one is sent."""
        try:
            rows = self._answered(items, nonce, tally)
        except WireFailed:
            self.client.stop()
            raise
        if keep:
            self.answers.keep(rows.items(), self.wiring.run)
        return rows

    def _answered(self, items: Sequence[Item], nonce: str, tally: Tally) -> dict[bytes, Tensor]:
        self.client.require()
        question = Question([png(item.image) for item in items], items[0].texts)
        body = written(question, self.endpoint)
        name = hashlib.sha256(f"{nonce} {self.wiring.run if self.wiring.fresh else ''}".encode() + body)
        most = self._price(len(items), most_tokens(question.texts, self.endpoint))
        self.answers.spend(self.wiring.run, most, self.wiring.spend)
        reply = self.client.post(address(self.endpoint), body, name.hexdigest())
        billed = len(items) if reply.value.images is None else reply.value.images
        tokens = used_tokens(reply.value.body, question.texts, self.endpoint)
        dollars = self._price(len(items), tokens)
        self.answers.spend(self.wiring.run, dollars - most, None)
        tally.count(reply.tries, reply.waited, billed, dollars, tokens)
        try:
            said = understood(reply.value.body, question, self.endpoint)
        except WireFailed as error:  # it may quote the server
            raise WireFailed(http.without(str(error), self.client.key)) from None
        return dict(zip((item.key for item in items), said, strict=True))

    def _price(self, images: int, tokens: Tokens) -> float:
        """Dollars of one request."""
        price = self.endpoint.price
        return price.of(images, 1, tokens) if price else 0.0


def _pictures(images: Tensor) -> list[np.ndarray]:
    """uint8 [B, 3, S, S] -> B of [S, S, 3]."""
    whole = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return list(whole)


def png(image: np.ndarray) -> bytes:
    """uint8 [S, S, 3] -> a PNG, which keeps every pixel."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()
