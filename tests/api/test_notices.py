"""Whoever waits for a notice is woken by it, and by whatever may have let one be lost."""

from __future__ import annotations

import asyncio

from app.catalog.engine import Catalog
from app.catalog.notices import CHANGES, QUEUE, Notices

LONG = 30.0
_LISTENER = """
SELECT pid FROM pg_stat_activity
 WHERE query LIKE 'LISTEN "fileroom_changes%' AND datname = current_database() AND pid <> $1
"""


async def test_each_channel_wakes_who_listens_to_it(catalog: Catalog) -> None:
    notices = Notices(catalog.url)
    async with notices.watch(QUEUE) as queue, notices.watch(CHANGES) as changes:
        await catalog.execute("SELECT pg_notify('fileroom_changes', '')")
        async with asyncio.timeout(LONG):
            await changes.wait(2 * LONG)
        await queue.wait(0.01)
        await catalog.execute("SELECT pg_notify('fileroom_queue', '')")
        async with asyncio.timeout(LONG):
            await queue.wait(2 * LONG)
    await notices.close()


async def test_a_connection_that_breaks_wakes_everybody_and_is_made_again(catalog: Catalog) -> None:
    notices = Notices(catalog.url)
    async with notices.watch(QUEUE) as queue, notices.watch(CHANGES) as changes, asyncio.timeout(LONG):
        first = await catalog.fetchval(_LISTENER, 0)
        await catalog.execute("SELECT pg_terminate_backend($1)", first)
        await queue.wait(2 * LONG)
        await changes.wait(2 * LONG)
        waiting = asyncio.create_task(queue.wait(2 * LONG))
        while not await catalog.fetchval(_LISTENER, first):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)
        await catalog.execute("SELECT pg_notify('fileroom_queue', '')")
        await waiting
    await notices.close()
