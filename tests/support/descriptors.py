"""Which files this process has open: those of other tests' remains may come and go, so only a folder's own count."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def opened_below(folder: Path) -> list[str]:
    """Paths of the open files in `folder`."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return [path for path in found if path.startswith(str(folder))]
