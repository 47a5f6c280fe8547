"""Let series and studies become quiet that the undo of a deletion shows again.

Lock: none. Run time on 10 million rows: under a second.
"""

from __future__ import annotations

from migrations.scripts import run

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Replaces a function."""
    run("0011_undone.sql")
