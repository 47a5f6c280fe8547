"""`fileroom jobs`: what is done in the background, as a process of its own. `fileroom serve` starts one by itself."""

from __future__ import annotations

import argparse

from app.catalog.embedded import database
from app.main import make_context
from app.serving.background import work
from app.serving.feed import open_feed
from app.settings import Settings
from app.telemetry.logging import configure_logging


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options: everything is a setting."""


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Works until a signal ends it."""
    configure_logging(settings)
    feed = open_feed(settings)
    with database(settings.database_url, settings.data) as url:
        work(make_context(settings, url), settings, feed)
    return 0
