"""Add storage commitment asked of destinations, and performed procedure steps told to them.

Lock: `job`, while an index of it is made. Run time on 1 million jobs: seconds.
"""

from __future__ import annotations

from migrations.scripts import run

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Adds columns and tables, and replaces functions."""
    run("0013_asked_commitment.sql")
