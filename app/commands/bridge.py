"""`fileroom bridge`: speaks DIMSE before an archive that runs elsewhere. `fileroom serve` starts one by itself."""

from __future__ import annotations

import argparse

from app.commands.configuration import read
from app.settings import Settings
from app.telemetry.logging import configure_logging
from dimse_bridge.settings import Settings as BridgeSettings


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options: everything is a setting."""
    parser.epilog = "Settings: FILEROOM_ARCHIVE_URL, FILEROOM_ARCHIVE_TOKEN, FILEROOM_DIMSE_PORT, ... See the README."


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Serves until it is told to stop."""
    from dimse_bridge.main import run as serve

    bridge = read(BridgeSettings)
    configure_logging(bridge)
    return serve(bridge)
