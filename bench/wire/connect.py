"""From what the user gives to an endpoint that can be asked."""

import json
from collections.abc import Mapping
from typing import Any

from bench.errors import UserError
from bench.remote import Declared, Endpoint, Wiring, declared, endpoint_of
from bench.wire.asker import Asker
from bench.wire.client import Client, checked_url, key_for
from bench.wire.failed import WireFailed
from bench.wire.store import Answers


def endpoint(text: str, dialect: str | None) -> Endpoint:
    """The endpoint of --backbone and --dialect. Reads its metadata, which is free. Raises UserError."""
    found = declared(text, dialect)
    checked_url(found.url)
    client = Client(Wiring(), key_for(found.url))
    try:
        return endpoint_of(found, told(client, found))
    finally:
        client.close()


def told(client: Client, found: Declared) -> Mapping[str, Any]:
    """What a server tells of its model; nothing where it has no such route. Raises UserError.

    Where the sizes are declared, nothing need be told.
    """
    try:
        reply = client.get(found.url)
    except WireFailed as error:
        if found.image_size is not None:
            return {}
        raise UserError(f"{error}.") from None
    try:
        data = json.loads(reply.body) if reply else {}
    except (ValueError, RecursionError):
        return {}
    facts = data.get("parameters") if isinstance(data, dict) else None
    return facts if isinstance(facts, dict) else {}


def connected(found: Endpoint, wiring: Wiring) -> Asker:
    """What asks it. Raises UserError."""
    return Asker(found, wiring, Client(wiring, key_for(found.url)), Answers(wiring.store))
