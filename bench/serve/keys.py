"""Who asks: keys, each with a meter of its own. A key is compared in constant time and never written down."""

import hashlib
import hmac
import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.errors import UserError
from bench.serve.refused import Refused

VARIABLE = "BENCH_KEY_"  # and the key's name in capitals: the variable that holds the key


@dataclass
class Account:
    """What one key has used. A query is a request that was answered, of however many images."""

    name: str
    limit: int | None = None  # queries
    price: float = 0.0  # dollars for 1,000 images
    queries: int = 0
    images: int = 0
    texts: int = 0
    replayed: int = 0  # requests answered from memory, which are not counted above
    refused: int = 0  # requests turned away
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def charge(self, images: int, texts: int) -> None:
        """Count one query. Raises Refused (402), and counts nothing then."""
        with self._lock:
            if self.limit is not None and self.queries >= self.limit:
                raise Refused(402, f"the {self.limit:,} queries of this key are spent")
            self.queries += 1
            self.images += images
            self.texts += texts

    def give_back(self, images: int, texts: int) -> None:
        """Undo a charge whose answer could not be made."""
        with self._lock:
            self.queries -= 1
            self.images -= images
            self.texts -= texts

    def shown(self) -> dict[str, Any]:
        """The meter as its owner may read it."""
        names = ("name", "limit", "queries", "images", "texts", "replayed", "refused")
        dollars = {"dollars": round(self.images * self.price / 1000, 6)}
        return {name: getattr(self, name) for name in names} | dollars


class Accounts:
    """All accounts; without any key, one that everybody shares."""

    def __init__(self, secrets: Mapping[str, str], limits: Mapping[str, int], price: float = 0.0) -> None:
        named = {name: Account(name, limits[name], price) for name in secrets}
        self._known = [(_digest(secret), named[name]) for name, secret in secrets.items()]
        self._anyone = None if secrets else Account("anyone", None, price)

    def of(self, header: str | None) -> Account:
        """The account of an Authorization header. Raises Refused (401). Looks at every key each time."""
        if self._anyone is not None:
            return self._anyone
        given = _digest((header or "").removeprefix("Bearer ").strip())
        found = [account for digest, account in self._known if hmac.compare_digest(digest, given)]
        if not found:
            raise Refused(401, "no such key: send Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})
        return found[0]


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def accounts_of(given: Sequence[str], price: float) -> Accounts:
    """The accounts of ['demo:5000'], their keys from $BENCH_KEY_DEMO. Raises UserError."""
    secrets, limits = dict[str, str](), dict[str, int]()
    for text in given:
        name, _, number = text.partition(":")
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or not number.isdecimal():
            raise UserError(f"--key {text}: write NAME:QUERIES, e.g. demo:5000.")
        secret = os.environ.get(VARIABLE + name.upper(), "").strip()
        if not secret or secret in secrets.values() or name in secrets:
            raise UserError(f"--key {text}: set {VARIABLE}{name.upper()} to a key that no other name has.")
        secrets[name], limits[name] = secret, int(number)
    return Accounts(secrets, limits, price)
