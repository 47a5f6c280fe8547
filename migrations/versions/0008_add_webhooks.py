"""Add webhooks.

Lock: none on tables that exist. Run time on 10 million rows: under a second.
"""

from __future__ import annotations

from migrations.scripts import run

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Creates a table."""
    run("0008_webhooks.sql")
