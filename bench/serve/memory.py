"""Idempotency: a request that comes again under its key is answered from memory, and not paid for again.

As in the draft of the Idempotency-Key header (IETF, httpapi): the same key with another body is an error.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench.serve.refused import Refused

MOST = 256 << 20  # bytes of answers that are remembered
KEY = 256  # characters of a key


@dataclass(frozen=True)
class Answer:
    """A good answer. images: how many it was billed for."""

    body: bytes
    images: int


class Memory:
    """Answers by account and key. The oldest are forgotten."""

    def __init__(self, most: int = MOST) -> None:
        self._most, self._held = most, 0
        self._known: OrderedDict[tuple[str, str], tuple[bytes, asyncio.Future[Answer]]] = OrderedDict()

    async def once(
        self, name: str, key: str, body: bytes, make: Callable[[], Awaitable[Answer]]
    ) -> tuple[Answer, bool]:
        """The answer, and whether it was made before. Whoever comes meanwhile waits for the first.

        Raises Refused (422 for another body under the key), and what `make` raises, which is not remembered.
        """
        if not key:
            return await make(), False
        if len(key) > KEY:
            raise Refused(422, f"an Idempotency-Key has at most {KEY} characters")
        place, digest = (name, key), hashlib.sha256(body).digest()
        if place in self._known:
            then, waiting = self._known[place]
            if then != digest:
                raise Refused(422, "this Idempotency-Key was used with another body")
            return await asyncio.shield(waiting), True
        promise = asyncio.get_running_loop().create_future()
        self._known[place] = digest, promise
        try:
            answer = await make()
        except BaseException as error:
            del self._known[place]
            # whoever waits for it tries again
            promise.set_exception(error if isinstance(error, Refused) else Refused(503, "try again"))
            promise.exception()  # nobody may be waiting
            raise
        promise.set_result(answer)
        self._forget(len(answer.body))
        return answer, False

    def _forget(self, more: int) -> None:
        self._held += more
        while self._held > self._most and len(self._known) > 1:
            place, (_, promise) = next(iter(self._known.items()))
            if not promise.done():
                break
            del self._known[place]
            self._held -= len(promise.result().body)
