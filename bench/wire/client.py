"""One request and its answer: limits on time and length, retries, and a key that is written nowhere."""

import ipaddress
import json
import os
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx2

from bench.access import BILLED
from bench.errors import UserError
from bench.remote import Wiring
from bench.retry import NoAnswer, Rule, Sleep, Tried, Unusable, asked_wait, passing
from bench.wire.failed import WireFailed

KEY = "BENCH_KEY"  # the variable that holds the key
TIMEOUT = httpx2.Timeout(60.0, connect=5.0)  # seconds without a byte
DEADLINE = 300.0  # seconds for one whole answer
MOST = 16 << 20  # bytes of one answer
SAID = 200  # characters of a server's own words in a message


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

    def __post_init__(self) -> None:
        self._stopped = threading.Event()
        # a generator of its own: Python's global one belongs to the cell, which must not move it
        self._jitter = random.Random()
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
        headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency}
        rule = Rule(first=self.wiring.first_wait)
        try:
            return rule.tried(
                lambda: self._sent("POST", url, headers, body), _host(url), self._jitter, self._wait
            )
        except NoAnswer as error:
            raise WireFailed(str(error)) from None

    def get(self, url: str) -> Reply | None:
        """What is told at an address; None where there is no such route. Raises WireFailed."""
        rule = Rule(retries=3, first=self.wiring.first_wait)
        try:
            return rule.tried(lambda: self._sent("GET", url, {}), _host(url), self._jitter, self._wait).value
        except NoAnswer as error:
            raise WireFailed(str(error)) from None
        except _Unknown:
            return None

    def _sent(self, method: str, url: str, more: dict[str, str], body: bytes | None = None) -> Reply:
        """Raises Unusable for what may pass, WireFailed for what will not."""
        self.require()
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", **more}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        try:
            with self._http.stream(method, url, content=body, headers=headers) as response:
                data = self._bounded(response)
        except httpx2.TransportError as error:
            raise Unusable(self._clean(f"{type(error).__name__}: {error}")) from None
        status = response.status_code
        if passing(status):
            wait = asked_wait(response.headers.get("Retry-After"))
            raise Unusable(f"status {status}{self._words(data)}", wait)
        if method == "GET" and status in (404, 405):
            raise _Unknown
        if status != 200:
            redirect = " (a redirect: give the address that it leads to)" if response.is_redirect else ""
            words = f"status {status}{redirect}{self._words(data)}{_advice(status)}"
            raise WireFailed(f"{_host(url)} refuses the request: {words}")
        billed = response.headers.get(BILLED, "")
        return Reply(data, int(billed) if billed.isascii() and billed.isdigit() and len(billed) < 9 else None)

    def _bounded(self, response: httpx2.Response) -> bytes:
        """The body. Raises WireFailed for one that is too long, Unusable for one that is too slow."""
        data, begun = bytearray(), time.monotonic()
        for chunk in response.iter_raw():
            data += chunk
            if len(data) > MOST:
                raise WireFailed(f"the answer of {response.url.host} is longer than {MOST:,} bytes")
            if time.monotonic() - begun > DEADLINE:
                raise Unusable(f"its answer takes longer than {DEADLINE:.0f} s")
        return bytes(data)

    def _words(self, data: bytes) -> str:
        """What the server says about an error, short, on one line, without the key."""
        try:
            error: Any = json.loads(data)["error"]
            text = error if isinstance(error, str) else error["message"]
        except (ValueError, RecursionError, KeyError, TypeError):
            return ""
        return f": {self._clean(' '.join(str(text).split()))[:SAID]}"

    def _clean(self, text: str) -> str:
        text = text.replace(self.key, "[key]") if self.key else text
        return "".join(one for one in text if one.isprintable()).encode("utf-8", "replace").decode()


class Stopped(WireFailed):
    """A request that was not sent, because another one has failed."""


class _Unknown(Exception):
    """There is no such route."""


def _host(url: str) -> str:
    return httpx2.URL(url).netloc.decode()


def _advice(status: int) -> str:
    """What the user can do about a refusal."""
    return {
        401: f": set {KEY} to a key of this server",
        402: ": the key's queries are spent",
        403: f": the key in {KEY} may not do this",
        404: ": check the address and --dialect",
    }.get(status, "")


def key_for(address: str) -> str:
    """The key in the environment for this address, "" without one.

    Raises UserError, which does not show the key, if it is malformed or would cross a public network
    unencrypted.
    """
    key, url = os.environ.get(KEY, "").strip(), httpx2.URL(address)
    if not all("!" <= one <= "~" for one in key):
        raise UserError(f"{KEY} holds characters that no key has: set it again.")
    if key and url.scheme == "http" and not _near(url.host):
        raise UserError(f"{KEY} would go to {url.host} without encryption: use https, or unset it.")
    return key


def _near(host: str) -> bool:
    """Whether a host is this machine, or one of a private network, by its address."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost"


def checked_url(text: str) -> str:
    """An address that is nothing but one. Raises UserError."""
    shown = text.split("?")[0].rpartition("@")[2]  # neither a password nor a key
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        raise UserError(f"--backbone {shown!r} is no address: e.g. http://127.0.0.1:8765/rank.") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise UserError(f"--backbone {shown!r} is no address: e.g. http://127.0.0.1:8765/rank.")
    if url.userinfo or url.query or url.fragment:
        raise UserError(f"--backbone takes an address alone: a key belongs into {KEY}.")
    return text
