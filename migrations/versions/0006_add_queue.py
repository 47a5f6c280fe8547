"""Add the queue of what is sent to others, and the registry of DICOMweb servers.

Lock: none that matters, the tables are new. Run time on 10 million rows: not applicable.
"""

from __future__ import annotations

from migrations.scripts import run

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Creates tables and functions."""
    run("0006_queue.sql")
