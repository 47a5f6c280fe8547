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
from dimse_bridge.status_port import bind_status


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
    door = bind_status("127.0.0.1:0")

    def speak(root: str, token: str, metrics: Metrics, slot: int) -> None:
        from dimse_bridge.main import run

        more = {"archive_url": root, "archive_token": token, "archive_kind": "fileroom", "remote_token": token}
        run(settings.model_copy(update=more), bound, metrics=metrics, slot=slot, door=door)

    return Companion(
        [*(one.socket for one in bound), door],
        settings.worker_count,
        speak,
        "\n".join(map(_line, bound)),
        f"http://127.0.0.1:{door.getsockname()[1]}",
    )


def _line(one: Bound) -> str:
    host = str(one.socket.getsockname()[0])
    titles = ", ".join(ae.aet for ae in one.listener.aes)
    tls = " (TLS)" if one.listener.tls else ""
    return f"  DIMSE     {titles} at {f'[{host}]' if ':' in host else host} port {one.port}{tls}"
