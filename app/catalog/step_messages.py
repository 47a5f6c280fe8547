"""Messages about performed procedure steps on their way to others: jobs of the queue that tell one each, in the order
in which they came."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from app.catalog.engine import Catalog
from app.catalog.worklist import Executor

CREATE, UPDATE = "create", "update"
"""The operations (PS3.4 F.7)."""


class NewMessage(NamedTuple):
    """A new performed procedure step (N-CREATE) that is to be told to a destination; what changes it follows."""

    queue: str
    destination: str
    origin: str
    most_tries: int
    payload: dict[str, Any]
    step: str
    body: bytes


class Message(NamedTuple):
    """What a job tells of a performed procedure step: `CREATE` or `UPDATE`, and the DICOM JSON that came."""

    operation: str
    body: bytes


_ADD_MESSAGE = """
WITH made AS (
    INSERT INTO job (queue, destination, origin, most_tries, payload, order_key, step_uid)
    VALUES ($1, $2, $3, $4, $5::jsonb, 'mpps ' || $6 || ' ' || $1 || ' ' || $2, $6) RETURNING id
), kept AS (
    INSERT INTO job_message (job_id, operation, body) SELECT id, 'create', $7 FROM made
)
SELECT id FROM made, LATERAL (SELECT pg_notify('fileroom_queue', $1)) AS told
"""
_FOLLOW_UP = """
WITH first AS (
    SELECT j.queue, j.destination, j.origin, j.most_tries, j.payload, j.order_key
      FROM job j JOIN job_message m ON m.job_id = j.id AND m.operation = 'create'
     WHERE j.step_uid = $1 AND j.step_uid <> '' AND j.state <> 4
), made AS (
    INSERT INTO job (queue, destination, origin, most_tries, payload, order_key, step_uid)
    SELECT queue, destination, origin, most_tries, payload, order_key, $1 FROM first RETURNING id, queue
), kept AS (
    INSERT INTO job_message (job_id, operation, body) SELECT id, 'update', $2 FROM made
)
SELECT id, pg_notify('fileroom_queue', queue) FROM made
"""
_MESSAGE = "SELECT operation, body FROM job_message WHERE job_id = $1"


async def add(executor: Executor, new: NewMessage) -> None:
    """Adds the job that tells a new performed procedure step."""
    text = orjson.dumps(new.payload).decode()
    await executor.execute(
        _ADD_MESSAGE, *(new.queue, new.destination, new.origin, new.most_tries, text, new.step, new.body)
    )


async def follow_up(executor: Executor, step: str, body: bytes) -> None:
    """Adds a job for each destination that is told of this performed procedure step: it changes."""
    await executor.execute(_FOLLOW_UP, step, body)


async def message(catalog: Catalog, job: int) -> Message | None:
    """What a job tells of a performed procedure step."""
    row = await catalog.fetchrow(_MESSAGE, job)
    return None if row is None else Message._make(row)
