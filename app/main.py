"""The composition root: builds the ASGI application from settings; the only module that sees every room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from app.archive.bridges import SHORTEST_SECRET, Bridges
from app.archive.context import CommitmentRules, Context, TransferRules, WebhookRules
from app.archive.derived_cache import DerivedCache
from app.archive.store import Storekeeper
from app.archive.worklist_rules import WorklistRules
from app.blobs.local import LocalBlobStore
from app.catalog.engine import Catalog
from app.catalog.notices import Notices
from app.dicomweb import (
    capabilities,
    changes,
    commitment_reports,
    commitments,
    delete,
    destinations,
    faults,
    peers,
    performed_steps,
    prefetch,
    qido,
    remote_peers,
    routing,
    stow,
    transfers,
    wado,
    wado_uri,
    webhooks,
    worklist,
)
from app.dicomweb.cors import Cors
from app.dicomweb.description import Described
from app.dicomweb.front_door import FrontDoor
from app.errors import BlobStoreFailed, CannotStart, FileroomError
from app.security.asserted import AssertedPeers
from app.security.guard import Guard, Identify
from app.security.identity import Everybody, TokenHolders
from app.security.policy import check_routes
from app.settings import Settings
from app.telemetry import health
from app.telemetry.metrics import Metrics, line
from app.telemetry.observe import Observe
from app.ui.api_page import ApiPage
from app.ui.viewer import ROOT as VIEWER_ROOT
from app.ui.viewer import Viewer
from app.ui.viewer_package import find_package

DICOMWEB_ROOT = "/dicom-web"


def make_context(settings: Settings, database_url: str) -> Context:
    """The context of one worker."""
    spool = settings.data / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    return Context(
        catalog=Catalog(database_url, statement_seconds=settings.statement_seconds),
        blobs=LocalBlobStore(settings.blobs_folder),
        worklist=WorklistRules(
            settings.worklist_started_minutes,
            settings.worklist_done_minutes,
            settings.worklist_images_minutes,
            settings.worklist_keep_days,
            settings.worklist_time_without_date,
            settings.worklist_times_over_days,
        ),
        steps_complete_studies=settings.mpps_completes_study,
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
        commitment=CommitmentRules(
            settings.commitment_seconds, settings.commitment_timeout_seconds, settings.commitment_tries
        ),
        transfers=TransferRules(
            settings.transfer_tries,
            settings.transfer_pause_seconds,
            settings.transfer_days,
            settings.transfer_lease_seconds,
            settings.transfers_each,
            settings.keep_jobs_days,
            settings.transfer_commitment_seconds,
        ),
        webhooks=WebhookRules(settings.webhook_seconds, settings.webhook_pause_seconds, settings.webhook_days),
        quiet_seconds=settings.quiet_seconds,
        derived=DerivedCache(settings.data / "derived", settings.derived_mib << 20),
    )


def make_bridges(settings: Settings, own: str = "", own_token: str = "") -> Bridges:
    """The bridges that ask remote peers for us: the one beside us at `own`, and those of the settings. Raises
    `CannotStart`."""
    if settings.remote_bridges and len(settings.remote_token) < SHORTEST_SECRET:
        raise CannotStart(f"FILEROOM_REMOTE_BRIDGES needs FILEROOM_REMOTE_TOKEN of {SHORTEST_SECRET} characters.")
    others = [(url, settings.remote_token) for url in settings.remote_bridges]
    return Bridges([(own, own_token), *others] if own else others, settings.remote_seconds)


def create_app(
    settings: Settings,
    database_url: str = "",
    metrics: Metrics | None = None,
    *,
    bridge_token: str = "",
    bridge_remote: str = "",
) -> FastAPI:
    """The archive as one ASGI application; `database_url` overrides the setting when the server is embedded, `metrics`
    are shared by the workers, `bridge_token` is that of the bridge beside us, which asks remote peers for us at
    `bridge_remote`. Raises `CannotStart` when a route has no rule in `app.security.policy`."""
    context = make_context(settings, database_url or settings.database_url)
    context.bridges = make_bridges(settings, bridge_remote, bridge_token)
    metrics = metrics or Metrics()
    _count(context, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.storekeeper = keeper = Storekeeper(context)
        yield
        await keeper.drain()
        await app.state.notices.close()
        context.codecs.close()
        await context.bridges.close()
        await context.catalog.close()
        context.derived.close()
        context.blobs.close()

    app = Described(
        title="Fileroom", version="0.1.0", lifespan=lifespan, redirect_slashes=False, docs_url=None, redoc_url=None
    )
    app.state.context = context
    app.state.notices = Notices(context.catalog.url)
    app.state.settings = settings
    app.add_exception_handler(FileroomError, faults.answer_fault)
    app.add_exception_handler(HTTPException, faults.answer_router)
    app.add_exception_handler(Exception, faults.answer_fault)
    routers = [module.router for module in (stow, qido, wado, delete, worklist, performed_steps, commitments)]
    for router in (*routers, capabilities.router(routers)):
        app.include_router(router, prefix=DICOMWEB_ROOT)
    beside = (destinations, transfers, commitment_reports, changes, webhooks, routing, prefetch, wado_uri)
    for module in (remote_peers, peers, *beside):  # the registry last of the two: its AE titles may hold slashes
        app.include_router(module.router)
    app.add_route("/healthz", health.healthz, methods=["GET"])
    app.add_route("/readyz", health.readyz(_checks(context, metrics)), methods=["GET"])
    app.add_route("/docs", ApiPage(app).endpoint, methods=["GET"])
    viewer = Viewer(find_package(settings.viewer), DICOMWEB_ROOT, settings.public_root)
    for path in (VIEWER_ROOT, f"{VIEWER_ROOT}/{{path:path}}"):
        app.add_route(path, viewer.endpoint, methods=["GET"])
    app.add_route("/metrics", metrics.endpoint, methods=["GET"])
    hot = FrontDoor(app.inside, owner=app, prefix=DICOMWEB_ROOT, routers=routers)
    everybody = settings.auth == "none"
    identity = (
        Everybody(filter(None, [urlsplit(settings.public_root).hostname]))
        if everybody
        else TokenHolders(context.catalog, bridge_token)
    )
    app.entrance = _entrance(hot, app, identity, context, metrics)
    return app


def _entrance(hot: ASGIApp, app: FastAPI, identity: Identify, context: Context, metrics: Metrics) -> ASGIApp:
    """What every request passes before `hot`, from the inside out: who may, how it went, which pages may read it."""
    routes = list(iter_route_contexts(app.routes))
    check_routes(routes)
    settings: Settings = app.state.settings
    asserted = AssertedPeers(context.catalog, admits_unknown=settings.admits_unknown_peers)
    guarded = Guard(
        hot,
        identity=identity,
        peers=asserted,
        answer=faults.problem,
        store_body=context.limits.request,
        origins=settings.cors_origins,
    )
    paths = frozenset(route.path for route in routes if route.path)
    observed = Observe(guarded, metrics=metrics, answer=faults.problem, paths=paths)
    return Cors(observed, origins=settings.cors_origins) if settings.cors_origins else observed


def _count(context: Context, metrics: Metrics) -> None:
    """What the rooms that know no metrics are counted by."""
    catalog = context.catalog
    context.count_store = lambda outcome: metrics.own.add(line("fileroom_stores_total", outcome=outcome.value))
    context.count_corrupt = lambda: metrics.own.add("fileroom_corrupt_reads_total")
    metrics.watch(line("fileroom_catalog_connections", state="idle"), lambda: catalog.idle)
    metrics.watch(line("fileroom_catalog_connections", state="busy"), lambda: catalog.busy)
    metrics.watch("fileroom_storage_suspect", lambda: context.blobs.suspect)
    metrics.watch("fileroom_storage_free_bytes", context.blobs.free_bytes, shared=True)


def _checks(context: Context, metrics: Metrics) -> dict[str, health.Check]:
    """What must work before the archive takes requests."""

    async def database() -> None:
        await context.catalog.fetchval("SELECT 1")

    async def blobs() -> None:
        if metrics.totals()["fileroom_storage_suspect"]:  # of any worker
            raise BlobStoreFailed("writes failed lately")
        try:
            context.blobs.free_bytes()
        except OSError as error:
            raise BlobStoreFailed("the blob store is not there") from error

    return {"database": database, "blobs": blobs}
