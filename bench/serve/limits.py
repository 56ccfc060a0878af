"""How much one request may hold. What is above a limit is refused before it is worked on."""

import asyncio
import json
from typing import Any

from starlette.requests import ClientDisconnect, Request

from bench.serve.refused import Refused

BODY = 32 << 20  # bytes
PATIENCE = 60.0  # seconds for a body to arrive
SIDE = 4096  # pixels of an image's side
PIXELS = 64 << 20  # of all images of a request together
IMAGES = 1024
TEXTS = 1000
LETTERS = 1000  # characters of a text


async def body_of(request: Request) -> bytes:
    """The whole body. Raises Refused for one that is too long (413) or too slow (408)."""
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > BODY:
        raise Refused(413, f"the body has more than {BODY:,} bytes")
    try:
        return await asyncio.wait_for(_read(request), PATIENCE)
    except asyncio.TimeoutError:
        raise Refused(408, f"the body did not arrive in {PATIENCE:.0f} s") from None
    except ClientDisconnect:
        raise Refused(400, "the body ended early") from None


async def _read(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY:
            raise Refused(413, f"the body has more than {BODY:,} bytes")
    return bytes(data)


def json_of(body: bytes) -> Any:
    """The JSON object of a body. Raises Refused (400)."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is no JSON") from None
    if not isinstance(found, dict):
        raise Refused(400, "the body has to be a JSON object")
    return found


def texts_of(value: Any, name: str, least: int = 1) -> tuple[str, ...]:
    """A list of texts. Raises Refused (422; 413 for too many)."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Refused(422, f"{name} has to be a list of texts")
    if len(value) < least:
        raise Refused(422, f"{name} has to name at least {least}")
    if len(value) > TEXTS or any(len(one) > LETTERS for one in value):
        raise Refused(413, f"{name}: at most {TEXTS:,} texts of at most {LETTERS:,} characters")
    return tuple(one.encode("utf-8", "replace").decode() for one in value)


def images_of(value: Any, name: str) -> list[str]:
    """A list of images, each a text in base64, not read yet. Raises Refused (422; 413 for too many)."""
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise Refused(422, f"{name} has to be a list of images in base64")
    if len(value) > IMAGES:
        raise Refused(413, f"{name}: at most {IMAGES:,} images in one request")
    return value
