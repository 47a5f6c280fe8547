"""`fileroom serve`: the archive with its database, workers and jobs, and the DIMSE bridge before it."""

from __future__ import annotations

import argparse

from app.commands.configuration import read
from app.serve import serve
from app.serving.companion import Companion
from app.settings import Settings
from app.telemetry.metrics import Metrics
from dimse_bridge.listening import Bound, bind
from dimse_bridge.settings import Settings as BridgeSettings
from dimse_bridge.settings import check_exposure


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options: everything is a setting."""
    parser.epilog = "Settings are environment variables: FILEROOM_DATA, FILEROOM_HTTP_PORT, ... See the README."


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Serves until it is told to stop."""
    bridge = read(BridgeSettings)
    if not bridge.dimse_port and not bridge.dimse_tls_port:
        return serve(settings)
    check_exposure(bridge)
    return serve(settings, lambda: _companion(bridge))


def _companion(settings: BridgeSettings) -> Companion:
    bound = bind(settings)

    def speak(root: str, token: str, metrics: Metrics, slot: int) -> None:
        from dimse_bridge.main import run

        ours = settings.model_copy(update={"archive_url": root, "archive_token": token, "archive_kind": "fileroom"})
        run(ours, bound, metrics=metrics, slot=slot)

    return Companion([one.socket for one in bound], settings.worker_count, speak, "\n".join(map(_line, bound)))


def _line(one: Bound) -> str:
    host = str(one.socket.getsockname()[0])
    titles = ", ".join(ae.aet for ae in one.listener.aes)
    tls = " (TLS)" if one.listener.tls else ""
    return f"  DIMSE     {titles} at {f'[{host}]' if ':' in host else host} port {one.port}{tls}"
