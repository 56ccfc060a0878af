"""Requests that wait together are answered together: one pass of the images, one thread for the model."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bench.serve.model import Model

MOST = 512  # images of one pass; a larger request goes alone


@dataclass(eq=False)
class Asked:
    """One request. pictures: uint8 [B, 3, S, S], B >= 0. texts: C of them, C >= 0."""

    pictures: Tensor
    texts: tuple[str, ...]
    found: "asyncio.Future[tuple[Tensor, Tensor]]" = field(repr=False)


class Batcher:
    """While the model is at work, requests gather; then all of them are answered at once."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._waiting: list[Asked] = []
        self._busy = False
        self._thread = ThreadPoolExecutor(1, "model")

    async def features(self, pictures: Tensor, texts: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        """Features of unit norm: of the images [B, e], and of the texts [C, e]."""
        asked = Asked(pictures, texts, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if not self._busy:
            self._busy = True
            self._task = asyncio.get_running_loop().create_task(self._work())
        return await asked.found

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch = self._next()
                try:
                    found = await loop.run_in_executor(self._thread, self._answered, batch)
                except Exception as error:
                    for one in batch:
                        if not one.found.cancelled():
                            one.found.set_exception(error)
                    continue
                for one, pair in zip(batch, found, strict=True):
                    if not one.found.cancelled():
                        one.found.set_result(pair)
        finally:
            self._busy = False

    def _next(self) -> list[Asked]:
        batch, images = [self._waiting.pop(0)], 0
        images = len(batch[0].pictures)
        while self._waiting and images + len(self._waiting[0].pictures) <= MOST:
            batch.append(self._waiting.pop(0))
            images += len(batch[-1].pictures)
        return batch

    def _answered(self, batch: Sequence[Asked]) -> list[tuple[Tensor, Tensor]]:
        images = self.model.images(torch.cat([one.pictures for one in batch]))
        parts = torch.split(images, [len(one.pictures) for one in batch])
        return [(part, self.model.texts(one.texts)) for part, one in zip(parts, batch, strict=True)]
