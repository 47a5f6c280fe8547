"""What one worker keeps in memory for Retrieve; no cache can be wrong, since versions do not change."""

from __future__ import annotations

from fastapi import FastAPI

from app.archive.frames import PieceCache
from app.archive.metadata import MetadataCache
from app.archive.render import FactsCache

_PIECES_PART = 4
_FACTS_PART = 8


def metadata_cache(app: FastAPI) -> MetadataCache:
    """Metadata answers, by series and revision."""
    cache: MetadataCache | None = getattr(app.state, "metadata_cache", None)
    if cache is None:
        cache = app.state.metadata_cache = MetadataCache(app.state.context.cache_bytes)
    return cache


def piece_cache(app: FastAPI) -> PieceCache:
    """Verified MiBs of instances with many frames."""
    cache: PieceCache | None = getattr(app.state, "piece_cache", None)
    if cache is None:
        cache = app.state.piece_cache = PieceCache(app.state.context.cache_bytes // _PIECES_PART)
    return cache


def facts_cache(app: FastAPI) -> FactsCache:
    """What rendering needs of versions."""
    cache: FactsCache | None = getattr(app.state, "facts_cache", None)
    if cache is None:
        cache = app.state.facts_cache = FactsCache(app.state.context.cache_bytes // _FACTS_PART)
    return cache
