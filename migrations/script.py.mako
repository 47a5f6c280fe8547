"""${message}.

Lock: (which tables, how strong). Run time on 10 million rows: (measured).
"""

from __future__ import annotations

from migrations.scripts import run

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Runs sql/${up_revision}_*.sql."""
    run("${up_revision}_${message.lower().replace(' ', '_')}.sql")
