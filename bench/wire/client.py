"""The client of a prediction API: retries, and a stop for all requests when one has failed."""

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx2

from bench import http
from bench.access import BILLED
from bench.http import Refused, Rules
from bench.remote import DIALECTS, Wiring
from bench.retry import NoAnswer, Rule, Sleep, Tried
from bench.wire.failed import WireFailed

KEY = "BENCH_KEY"  # the variable that holds the key
TIMEOUT = httpx2.Timeout(60.0, connect=5.0)  # seconds without a byte
DEADLINE = 300.0  # seconds for one whole answer
MOST = 16 << 20  # bytes of one answer
ADVICE = {
    401: f": set {KEY} to a key of this server",
    402: ": the key's queries are spent",
    403: f": the key in {KEY} may not do this",
}
ELSEWHERE = (400, 404, 405, 415, 422)  # with these a server refuses what is written in another dialect


@dataclass(frozen=True)
class Reply:
    """A good answer. images: those it was billed for, as the server says; None where it does not."""

    body: bytes
    images: int | None = None


@dataclass
class Client:
    """Sends requests to one server. Threads may share it."""

    wiring: Wiring
    key: str = field(repr=False)
    transport: httpx2.BaseTransport | None = None
    sleep: Sleep | None = None
    dialect: str = ""  # in which it is asked, for the advice after a refusal

    def __post_init__(self) -> None:
        self._stopped = threading.Event()
        # a generator of its own: Python's global one belongs to the cell, which must not move it
        self._jitter = random.Random()
        self._rules = Rules(MOST, DEADLINE, self.key, ADVICE | _elsewhere(self.dialect))
        limits = httpx2.Limits(max_connections=self.wiring.at_once)
        # from the environment comes the key alone: neither a proxy nor what ~/.netrc holds
        self._http = httpx2.Client(
            timeout=TIMEOUT,
            limits=limits,
            transport=self.transport,
            follow_redirects=False,
            trust_env=False,
        )

    def start(self) -> None:
        """Requests may be sent, and sent again."""
        self._stopped.clear()

    def stop(self) -> None:
        """No request is sent from now on, and who waits for another try waits no longer."""
        self._stopped.set()

    def require(self) -> None:
        """Raise Stopped if nothing may be sent."""
        if self._stopped.is_set():
            raise Stopped("another request has failed")

    def _wait(self, seconds: float) -> None:
        if self.sleep is None:
            self._stopped.wait(seconds)
        else:
            self.sleep(seconds)

    def close(self) -> None:
        self._http.close()

    def post(self, url: str, body: bytes, idempotency: str) -> Tried[Reply]:
        """The answer to a question. idempotency: names it, however often it is sent. Raises WireFailed."""
        rule, named = Rule(first=self.wiring.first_wait), {"Idempotency-Key": idempotency}
        try:
            return self._tried(rule, "POST", url, body, named)
        except (NoAnswer, Refused) as error:
            raise WireFailed(str(error)) from None

    def get(self, url: str) -> Reply | None:
        """What is told at an address; None where there is no such route. Raises WireFailed."""
        try:
            return self._tried(Rule(retries=3, first=self.wiring.first_wait), "GET", url).value
        except NoAnswer as error:
            raise WireFailed(str(error)) from None
        except Refused as error:
            if error.status in (404, 405):
                return None
            raise WireFailed(str(error)) from None

    def _tried(
        self,
        rule: Rule,
        method: str,
        url: str,
        body: bytes | None = None,
        more: Mapping[str, str] | None = None,
    ) -> Tried[Reply]:
        """Raises NoAnswer, Refused, Stopped."""

        def send() -> Reply:
            self.require()
            found = self._rules.send(self._http, method, url, body, more)
            billed = found.headers.get(BILLED, "")
            count = billed.isascii() and billed.isdigit() and len(billed) < 9
            return Reply(found.body, int(billed) if count else None)

        return rule.tried(send, http.host(url), self._jitter, self._wait)


def _elsewhere(dialect: str) -> dict[int, str]:
    """The advice for a refusal that another dialect or another address may end."""
    others = ", ".join(one for one in DIALECTS if one != dialect)
    said = f": check the address and --dialect: it was asked in the dialect {dialect}, and may speak {others}"
    return dict.fromkeys(ELSEWHERE, said) if dialect else {}


class Stopped(WireFailed):
    """A request that was not sent, because another one has failed."""


def checked_url(text: str) -> str:
    """An address that --backbone or its file gives, and nothing else. Raises UserError."""
    http.checked_url(text, "--backbone", KEY, "http://127.0.0.1:8765/rank")
    return text


def key_for(address: str) -> str:
    """The key in the environment for this address, "" without one. Raises UserError (see http.key_from)."""
    return http.key_from(KEY, address)
