"""An archive in process that sends to others, with the workers of the job process when a test wants them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio

from app.archive.context import Context
from app.catalog.notices import Notices
from app.jobs import feed
from app.jobs import transfers as worker
from app.main import create_app
from app.settings import Settings
from tests.support.samples import Sample, new_token, new_uid
from tests.support.stored import put

QUICK: dict[str, Any] = {
    "quiet_seconds": 1,
    "transfer_pause_seconds": 0.05,
    "transfer_lease_seconds": 1,
    "reserve_mib": 0,
}


@dataclass
class Source:
    """An archive in process that sends, and a client of it."""

    client: httpx.AsyncClient
    context: Context

    async def study(self, count: int) -> list[Sample]:
        """A new study with `count` instances."""
        study, series = new_uid(), new_uid()
        samples = [Sample(study, series, new_uid(), new_token()) for _ in range(count)]
        for one in samples:
            await put(self.context, one.encode())
        return samples

    async def register(self, url: str, name: str = "second") -> None:
        """Registers a destination."""
        answer = await self.client.put(f"/destinations/{name}", json={"url": url})
        assert answer.status_code in (201, 204)

    async def transfer(self, **wanted: Any) -> int:
        """Queues a transfer to `second`; its id."""
        answer = await self.client.post("/transfers", json={"server": "second"} | wanted)
        assert answer.status_code == 201, answer.text
        number: int = answer.json()["id"]
        return number

    async def get(self, number: int) -> dict[str, Any]:
        """A transfer as it is told."""
        body: dict[str, Any] = (await self.client.get(f"/transfers/{number}")).json()
        return body

    async def until(self, number: int, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The transfer as soon as it is as wanted."""
        async with asyncio.timeout(30):
            while True:
                body = await self.get(number)
                if is_so(body):
                    return body
                await asyncio.sleep(0.02)

    async def ended(self, number: int) -> dict[str, Any]:
        """The transfer when it has ended."""
        return await self.until(number, lambda body: body["state"] not in ("waiting", "active", "committing"))


@pytest_asyncio.fixture
async def source(database_url: str, tmp_path: Path) -> AsyncIterator[Source]:
    app = create_app(Settings(data=tmp_path, **QUICK), database_url)
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://archive") as client:
            yield Source(client, app.state.context)


@asynccontextmanager
async def working(source: Source, count: int = 2) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Workers of the job process, in this one, and whoever follows the change feed."""
    context = source.context
    notices = Notices(context.catalog.url)
    tasks = [asyncio.create_task(worker.work(context, notices)) for _ in range(count)]
    tasks += [asyncio.create_task(feed.sequence(context)), asyncio.create_task(feed.follow(context, notices))]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await notices.close()
