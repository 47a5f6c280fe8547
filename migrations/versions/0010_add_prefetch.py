"""Add prefetch of priors: its rules, and the worklist items that they are to be asked about.

Lock: `worklist_item` for the moment in which its triggers are made. Run time on 10 million rows: under a second.
"""

from __future__ import annotations

from migrations.scripts import run

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Creates tables, a function and triggers."""
    run("0010_prefetch.sql")
