"""An answer whose connection is cut in the middle."""

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class Cut(Response):
    """Sends half of its body and leaves; the server then closes the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": half, "more_body": True})
