"""The server's process: a socket, and the application on it until it is stopped."""

import socket

import uvicorn
from starlette.applications import Starlette

from bench.errors import UserError

CONNECTIONS = 200  # at once; what comes beyond them gets 503


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0: a free one. Raises UserError."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        place = socket.create_server((host, port), family=family, backlog=256)
        # Inherited by each connection. Otherwise the end of an answer waits for the client's delayed
        # acknowledgement, about 40 ms: asyncio sets this only on sockets that name their protocol.
        place.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return place
    except OSError as error:
        raise UserError(
            f"cannot listen at {host}, port {port}: {error.strerror or error}. Give another --port."
        ) from None


def run(app: Starlette, place: socket.socket) -> None:
    """Answer until a signal comes. No request is logged: its header holds a key."""
    config = uvicorn.Config(
        app,
        log_level="critical",
        access_log=False,
        lifespan="off",
        server_header=False,
        limit_concurrency=CONNECTIONS,
    )
    uvicorn.Server(config).run(sockets=[place])
