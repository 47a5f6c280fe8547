"""Fixtures of the whole suite: the database server, fresh databases, the running archive."""

from tests.support.archive import archive
from tests.support.bridge import bridge_process
from tests.support.database import catalog, database_server, database_url
from tests.support.pynetdicom_race import leave_responses_alone

__all__ = ["archive", "bridge_process", "catalog", "database_server", "database_url"]

leave_responses_alone()
