"""Add the modality worklist, and the HL7 messages that fill it.

Lock: none that matters, the tables are new. Run time on 10 million rows: not applicable.
"""

from __future__ import annotations

from migrations.scripts import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Creates the tables."""
    run("0003_worklist.sql")
