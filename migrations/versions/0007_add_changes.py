"""Add the change feed, and the rules by which instances are sent on.

Lock: `deletion` for the moment in which its triggers are made. Run time on 10 million rows: under a second.
"""

from __future__ import annotations

from migrations.scripts import run

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Creates tables, functions and triggers."""
    run("0007_changes.sql")
