"""Store one instance in half the statements.

Lock: none. Run time on 1 million instances: none.
"""

from __future__ import annotations

from migrations.scripts import run

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Replaces a function."""
    run("0015_store_one.sql")
