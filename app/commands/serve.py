"""`fileroom serve`: the archive with its database, workers and jobs."""

from __future__ import annotations

import argparse

from app.serve import serve
from app.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options: everything is a setting."""
    parser.epilog = "Settings are environment variables: FILEROOM_DATA, FILEROOM_HTTP_PORT, ... See the README."


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Serves until it is told to stop."""
    return serve(settings)
