"""The bridge and the other archive that the functions of a user talk to."""

from __future__ import annotations

from tests.dimse.retrieve.conftest import bridge, client
from tests.support.orthanc import orthanc

__all__ = ["bridge", "client", "orthanc"]
