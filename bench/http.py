"""One request over HTTP, and the rules of every client here: of a language model and of a prediction API.

An address holds no key. A key comes from the environment, goes into a header, and is in no other text. It
does not cross a public network unencrypted. Redirects are not followed. An answer has a longest size and
duration. When a request is sent again is decided in bench/retry.py.
"""

import ipaddress
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from bench.errors import UserError
from bench.retry import Unusable, asked_wait, passing

SAID = 200  # the most characters of a server's own words in a message


class Refused(Exception):
    """The answer is a no, in one line; another try does not help. status: the server's; 0 without one."""

    def __init__(self, words: str, status: int = 0) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True)
class Reply:
    """A good answer."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Rules:
    """How one server is asked.

    most: bytes of one answer. deadline: seconds for one whole answer. advice: what the user can do about a
    refusal, by its status.
    """

    most: int
    deadline: float
    key: str = field(default="", repr=False)
    advice: Mapping[int, str] = field(default_factory=dict)

    def send(
        self,
        client: httpx2.Client,
        method: str,
        url: str,
        body: bytes | None = None,
        more: Mapping[str, str] | None = None,
    ) -> Reply:
        """The answer to one request. body: JSON. more: headers.

        Raises Unusable if another try may help, otherwise Refused.
        """
        headers = self._headers(body is not None) | dict(more or {})
        try:
            with client.stream(method, url, content=body, headers=headers) as response:
                data = self._bounded(response)
        except httpx2.TransportError as error:
            raise Unusable(one_line(without(f"{type(error).__name__}: {error}", self.key))) from None
        status = response.status_code
        if passing(status):
            wait = asked_wait(response.headers.get("Retry-After"))
            raise Unusable(f"status {status}{self.words(data)}", wait)
        if status != 200:
            redirect = " (a redirect: give the address that it leads to)" if response.is_redirect else ""
            words = f"status {status}{redirect}{self.words(data)}{self.advice.get(status, '')}"
            raise Refused(f"{host(url)} refuses the request: {words}", status)
        return Reply(data, response.headers)

    def words(self, data: bytes) -> str:
        """What a server says about an error, after a colon: short, on one line, without the key."""
        try:
            error: Any = json.loads(data)["error"]
            text = error if isinstance(error, str) else error["message"]
        except (ValueError, RecursionError, KeyError, TypeError):
            return ""
        return f": {one_line(without(str(text), self.key))[:SAID]}"

    def _headers(self, body: bool) -> dict[str, str]:
        found = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if body:
            found["Content-Type"] = "application/json"
        if self.key:
            found["Authorization"] = f"Bearer {self.key}"
        return found

    def _bounded(self, response: httpx2.Response) -> bytes:
        """The body. Raises Refused for one that is too long, Unusable for one that is too slow."""
        data, begun = bytearray(), time.monotonic()
        for chunk in response.iter_raw():
            data += chunk
            if len(data) > self.most:
                raise Refused(f"the answer of {response.url.host} is longer than {self.most:,} bytes")
            if time.monotonic() - begun > self.deadline:
                raise Unusable(f"its answer takes longer than {self.deadline:.0f} s")
        return bytes(data)


def without(text: str, key: str) -> str:
    """The text without the key, which a server may repeat, and without characters that UTF-8 lacks."""
    return (text.replace(key, "[key]") if key else text).encode("utf-8", "replace").decode()


def one_line(text: str) -> str:
    """The text on one line, without characters that steer a terminal."""
    return "".join(one for one in " ".join(text.split()) if one.isprintable())


def host(url: str) -> str:
    """The host of an address, with the port if the address has one."""
    return httpx2.URL(url).netloc.decode()


def checked_url(text: str, flag: str, key: str, example: str) -> httpx2.URL:
    """An address that is nothing else. key: the variable for what some put into an address.

    Raises UserError, which shows neither a password nor a key, and names the flag and an example.
    """
    shown = text.split("?")[0].rpartition("@")[2]
    try:
        url = httpx2.URL(text.rstrip("/"))
    except (httpx2.InvalidURL, ValueError):
        raise UserError(f"{flag} {shown!r} is no address: e.g. {example}.") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise UserError(f"{flag} {shown!r} is no address: e.g. {example}.")
    if url.userinfo or url.query or url.fragment:
        raise UserError(f"{flag} takes an address alone: a key belongs into {key}.")
    return url


def key_from(variable: str, url: str) -> str:
    """The key in an environment variable, for the server at this address; "" if there is none.

    Raises UserError, which does not show the key, if no header can hold it, or if it would cross a public
    network unencrypted.
    """
    key, place = os.environ.get(variable, "").strip(), httpx2.URL(url)
    if not all("!" <= one <= "~" for one in key):
        raise UserError(f"{variable} holds characters that no key has: set it again.")
    if key and place.scheme == "http" and not _near(place.host):
        raise UserError(
            f"{variable} would go to {place.host} without encryption: use https, or the address of a "
            "private network, or unset it."
        )
    return key


def _near(host: str) -> bool:
    """Whether a host is this machine, or one of a private network, by its address."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost"
