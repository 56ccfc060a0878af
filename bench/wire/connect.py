"""From what the user gives to an endpoint that can be asked."""

import json
from collections.abc import Mapping
from typing import Any

from bench.chat import model_names
from bench.errors import UserError
from bench.http import one_line
from bench.remote import Declared, Endpoint, Wiring, declared, endpoint_of
from bench.wire.asker import Asker
from bench.wire.client import Client, checked_url, key_for
from bench.wire.failed import WireFailed
from bench.wire.store import Answers


def endpoint(text: str, dialect: str | None) -> Endpoint:
    """The endpoint of --backbone and --dialect. Reads its metadata, which is free. Raises UserError."""
    found = declared(text, dialect)
    checked_url(found.url)
    client = Client(Wiring(), key_for(found.url), dialect=found.dialect)
    try:
        return endpoint_of(found, told(client, found))
    finally:
        client.close()


def told(client: Client, found: Declared) -> Mapping[str, Any]:
    """What a server tells of its model; nothing where it has no such route. Raises UserError.

    Where the sizes are declared, nothing need be told.
    """
    data = _told(client, found, found.url)
    facts = data.get("parameters") if isinstance(data, dict) else None
    facts = facts if isinstance(facts, dict) else {}
    if found.dialect == "chat" and not found.name and "backbone" not in facts:
        names = model_names(_told(client, found, f"{found.url}/models"))
        if len(names) > 1:
            some = one_line(", ".join(names[:10]))
            raise UserError(
                f"{found.url} serves {len(names)} models ({some}): declare the endpoint in a TOML file with "
                "name = one of them."
            )
        facts = facts | ({"backbone": names[0]} if names else {})
    return facts


def _told(client: Client, found: Declared, url: str) -> Any:
    """The JSON at an address; {} where there is none. Raises UserError, unless the sizes are declared."""
    try:
        reply = client.get(url)
    except WireFailed as error:
        if found.image_size is not None:
            return {}
        raise UserError(f"{error}.") from None
    try:
        return json.loads(reply.body) if reply else {}
    except (ValueError, RecursionError):
        return {}


def connected(found: Endpoint, wiring: Wiring) -> Asker:
    """What asks it. Raises UserError."""
    return Asker(
        found, wiring, Client(wiring, key_for(found.url), dialect=found.dialect), Answers(wiring.store)
    )
