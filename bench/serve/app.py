"""The application: the way of a request from its key to its answer."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import torch
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bench.access import BILLED
from bench.serve.batcher import Batcher
from bench.serve.bucket import Bucket
from bench.serve.chat import Chat
from bench.serve.cut import Cut
from bench.serve.dialect import Dialect
from bench.serve.faults import SLOW, WAIT, Fault, Faults
from bench.serve.hf import HuggingFace
from bench.serve.keys import Account, Accounts
from bench.serve.limits import body_of, json_of
from bench.serve.memory import Answer, Memory
from bench.serve.model import Model
from bench.serve.oip import NAME, OpenInference, metadata
from bench.serve.pictures import pictures
from bench.serve.rank import Encode, Rank
from bench.serve.refused import Refused

Handler = Callable[[Request, Account], Awaitable[Response]]


@dataclass(frozen=True)
class Manners:
    """How the server behaves. rate: requests per second and key. latency: seconds on top of every answer."""

    rate: float | None = None
    latency: float = 0.0
    faults: float = 0.0  # share of the requests
    seed: int = 0


class Service:
    """What the routes share."""

    def __init__(self, model: Model, accounts: Accounts, manners: Manners) -> None:
        self.model, self.accounts, self.manners = model, accounts, manners
        self.batcher, self.memory = Batcher(model), Memory()
        self.faults = Faults(manners.faults, manners.seed)
        self._buckets: dict[str, Bucket] = {}

    # Around every request

    def guarded(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """The handler behind its key; whatever goes wrong is one line of JSON."""

        async def route(request: Request) -> Response:
            account = None
            try:
                account = self.accounts.of(request.headers.get("authorization"))
                return await handler(request, account)
            except Refused as error:
                if account is not None:
                    account.refused += 1
                return refusal(error.status, error.words, error.headers)
            except Exception as error:  # a fault of ours: the caller learns nothing of it
                print(f"internal error at {request.url.path}: {type(error).__name__}", file=sys.stderr)
                return refusal(500, "internal error")

        return route

    def asked(self, dialect: Dialect) -> Callable[[Request], Awaitable[Response]]:
        """The route of a dialect."""

        async def handler(request: Request, account: Account) -> Response:
            body = await body_of(request)
            self._buckets.setdefault(account.name, Bucket(self.manners.rate)).take()
            fault = self._before(self.faults.draw())
            key = request.headers.get("idempotency-key", "")
            key = key and f"{request.url.path} {key}"
            answer, again = await self.memory.once(
                account.name, key, body, lambda: self.answer(dialect, body, account)
            )
            account.replayed += again
            await asyncio.sleep(self.manners.latency + (SLOW if fault == "slow" else 0.0))
            kind = Cut if fault == "cut" else Response
            told = {BILLED: str(answer.images)}
            return kind(answer.body, media_type="application/json", headers=told)

        return self.guarded(handler)

    def _before(self, fault: Fault | None) -> Fault | None:
        """Raises Refused for a fault that comes before any work."""
        if fault in ("429", "503"):
            words = "too many requests" if fault == "429" else "overloaded"
            raise Refused(int(fault), words, {"Retry-After": str(WAIT)})
        return fault

    async def answer(self, dialect: Dialect, body: bytes, account: Account) -> Answer:
        """Read, bill, ask the model, write. Raises Refused."""
        question = await run_in_threadpool(lambda: dialect.read(json_of(body)))
        size, n = self.model.view.size, len(question.images)
        images = torch.zeros(0, 3, size, size, dtype=torch.uint8)
        if n:
            images = await run_in_threadpool(pictures, question.images, self.model.view)
        account.charge(n, len(question.texts))
        try:
            found = await self.batcher.features(images, question.texts)
            return await run_in_threadpool(
                lambda: Answer(_json(dialect.write(question, *found, self.model)), n)
            )
        except BaseException:
            account.give_back(n, len(question.texts))
            raise

    # What costs nothing

    async def describe(self, request: Request, account: Account) -> Response:
        return JSONResponse(metadata(self.model))

    async def models(self, request: Request, account: Account) -> Response:
        one = {"id": self.model.backbone.name, "object": "model"}
        return JSONResponse({"object": "list", "data": [one]})

    async def meter(self, request: Request, account: Account) -> Response:
        return JSONResponse(account.shown())

    async def server(self, request: Request, account: Account) -> Response:
        return JSONResponse({"name": "bench", "version": "2", "extensions": []})

    async def live(self, request: Request) -> Response:
        return JSONResponse({"live": True, "ready": True})


def refusal(status: int, words: str, headers: dict[str, str] | None = None) -> Response:
    """{"error": words}."""
    return JSONResponse({"error": words}, status, headers)


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


async def _unknown(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return refusal(status, "no such route" if status == 404 else "not allowed here")


def make_app(model: Model, accounts: Accounts, manners: Manners, features: bool = False) -> Starlette:
    """The application. features: whether /encode is granted."""
    service = Service(model, accounts, manners)
    described = service.guarded(service.describe)
    oip = f"/v2/models/{NAME}"
    routes = [
        Route("/v2", service.guarded(service.server)),
        Route("/v2/health/live", service.live),
        Route("/v2/health/ready", service.live),
        Route(oip, described),
        Route(f"{oip}/ready", service.live),
        Route(f"{oip}/infer", service.asked(OpenInference()), methods=["POST"]),
        Route("/hf/models/clip", described),
        Route("/hf/models/clip", service.asked(HuggingFace()), methods=["POST"]),
        Route("/v1", described),
        Route("/v1/models", service.guarded(service.models)),
        Route("/v1/chat/completions", service.asked(Chat(model.backbone.name)), methods=["POST"]),
        Route("/meter", service.guarded(service.meter)),
    ]
    # its answers have no place for what is not said
    if model.level.kind in ("logits", "probs"):
        routes.append(Route("/rank", described))
        routes.append(Route("/rank", service.asked(Rank()), methods=["POST"]))
    if features:
        routes.append(Route("/encode", service.asked(Encode()), methods=["POST"]))
    return Starlette(routes=routes, exception_handlers={HTTPException: _unknown})
