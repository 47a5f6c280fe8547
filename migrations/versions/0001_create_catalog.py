"""Create the catalog.

Lock: none that matters, the tables are new. Run time on 10 million rows: not applicable.
"""

from __future__ import annotations

from migrations.scripts import run

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Runs the schema, then the functions that store and delete."""
    for part in ("schema", "store", "delete"):
        run(f"0001_{part}.sql")
