"""Look refused instances up by the instances that arrive, not by reading all that are stored.

Lock: none. Run time on 1 million instances: none.
"""

from __future__ import annotations

from migrations.scripts import run

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Replaces a function."""
    run("0014_refused_lookup.sql")
