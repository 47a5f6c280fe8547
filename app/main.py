"""The composition root: builds the ASGI application from settings; the only module that sees every room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.archive.context import Context
from app.archive.store import Storekeeper
from app.blobs.local import LocalBlobStore
from app.catalog.engine import Catalog
from app.dicomweb import delete, faults, qido, stow, wado
from app.errors import BlobStoreFailed, FileroomError
from app.settings import Settings
from app.telemetry import health

DICOMWEB_ROOT = "/dicom-web"


def make_context(settings: Settings, database_url: str) -> Context:
    """The context of one worker."""
    spool = settings.data / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    return Context(
        catalog=Catalog(database_url, statement_seconds=settings.statement_seconds),
        blobs=LocalBlobStore(settings.blobs_folder),
        duplicate_policy=settings.duplicate_policy,
        lenient_matching=settings.lenient_matching,
        query_limit=settings.query_limit,
        reserve_bytes=settings.reserve_mib << 20,
        undo_hours=settings.undo_hours,
        orphan_hours=settings.orphan_hours,
        cache_bytes=settings.cache_mib << 20,
        max_stores=settings.max_stores,
        blank_preamble=settings.blank_preamble,
        spool=spool,
    )


def create_app(settings: Settings, database_url: str = "") -> FastAPI:
    """The archive as one ASGI application; `database_url` overrides the setting when the server is embedded."""
    context = make_context(settings, database_url or settings.database_url)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.storekeeper = keeper = Storekeeper(context)
        yield
        await keeper.drain()
        await context.catalog.close()

    app = FastAPI(title="Fileroom", version="0.1.0", lifespan=lifespan, redirect_slashes=False)
    app.state.context = context
    app.state.settings = settings
    app.add_exception_handler(FileroomError, faults.answer_fault)
    for module in (stow, qido, wado, delete):
        app.include_router(module.router, prefix=DICOMWEB_ROOT)
    app.add_route("/healthz", health.healthz, methods=["GET"])
    app.add_route("/readyz", health.readyz(_checks(context)), methods=["GET"])
    return app


def _checks(context: Context) -> dict[str, health.Check]:
    """What must work before the archive takes requests."""

    async def database() -> None:
        await context.catalog.fetchval("SELECT 1")

    async def blobs() -> None:
        if context.blobs.suspect:
            raise BlobStoreFailed("writes failed lately")
        try:
            context.blobs.free_bytes()
        except OSError as error:
            raise BlobStoreFailed("the blob store is not there") from error

    return {"database": database, "blobs": blobs}
