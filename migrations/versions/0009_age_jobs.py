"""Let ended jobs go after some time, and let a job that is tried again keep its age.

Lock: `job` for the moment in which its column and index are made. Run time on a million jobs: a second.
"""

from __future__ import annotations

from migrations.scripts import run

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Adds a column and an index, replaces a function."""
    run("0009_jobs.sql")
