"""Add the registry of DIMSE peers.

Lock: none that matters, the table is new. Run time on 10 million rows: not applicable.
"""

from __future__ import annotations

from migrations.scripts import run

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Creates the table."""
    run("0002_peer.sql")
