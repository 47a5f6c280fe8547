"""Runs a file of `migrations/sql` as it stands, inside the transaction of the step."""

from __future__ import annotations

from importlib.resources import files

from alembic import op


def run(name: str) -> None:
    """Runs every statement of `sql/<name>` by the simple query protocol, which takes whole scripts."""
    script = files("migrations").joinpath("sql", name).read_text("utf-8")
    connection = op.get_bind()
    connection.exec_driver_sql("SELECT 1")  # opens the transaction, which the adapter does at the first statement only
    adapted = connection.connection.dbapi_connection
    assert adapted is not None
    adapted.run_async(lambda asyncpg_connection: asyncpg_connection.execute(script))
