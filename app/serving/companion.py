"""What `serve` knows of the DIMSE bridge that it keeps running beside the archive: nothing of DIMSE."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Companion:
    """A bridge whose sockets listen already. `run` is called in a process of its own with the address of the DICOMweb
    root, `token`, which is good as long as the archive runs, and the metrics with the first of its `slots` in them;
    `welcome` tells people where it listens, `remote` is the address at which it asks remote peers for us."""

    sockets: Sequence[socket.socket]
    slots: int
    run: Callable[[str, str, Metrics, int], None]
    welcome: str
    remote: str = ""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
