"""Keep packed JSON as it is, in its row.

Lock: `instance_data`, for a moment. Run time on 1 million instances: none.
"""

from __future__ import annotations

from migrations.scripts import run

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Changes how new rows are kept."""
    run("0016_packed_json.sql")
