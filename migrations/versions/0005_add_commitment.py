"""Add storage commitment requests and the reports of their results.

Lock: none that matters, the table is new. Run time on 10 million rows: not applicable.
"""

from __future__ import annotations

from migrations.scripts import run

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Creates the table."""
    run("0005_commitment.sql")
