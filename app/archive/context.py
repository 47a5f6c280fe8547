"""What every deed needs, handed down by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from app.archive.audit import AuditHook, unrecorded
from app.archive.bridges import Bridges
from app.archive.derived_cache import DerivedCache
from app.archive.worklist_rules import WorklistRules
from app.blobs.base import BlobStore
from app.catalog.engine import Catalog
from app.dicom.limits import DEFAULT, Limits
from app.dicom.status import Outcome
from app.pixels.codecs import Codecs
from app.pixels.picture import Picture


@dataclass(frozen=True, slots=True)
class TransferRules:
    """How the queue sends: tries of one transfer, the first pause between them, for how many days a destination may be
    out of reach, how long a lease lasts, how many transfers of one destination are active at a time, and for how many
    days those that have ended are kept: failed ones four times as long."""

    tries: int = 10
    pause_seconds: float = 5.0
    days: float = 7.0
    lease_seconds: float = 20.0
    each: int = 2
    keep_days: float = 30.0
    commitment_seconds: float = 3600.0
    """For how long a report of storage commitment that we asked for is awaited."""


@dataclass(frozen=True, slots=True)
class CommitmentRules:
    """Storage commitment: seconds between two looks for instances that have not come, after which they are given up,
    and how often a peer is called that does not take its report."""

    interval_seconds: float = 30.0
    timeout_seconds: float = 600.0
    report_tries: int = 20


@dataclass(frozen=True, slots=True)
class WebhookRules:
    """How webhooks are told: seconds in which a message must be taken, the first pause after a failure, and for how
    many days a receiver may fail."""

    seconds: float = 15.0
    pause_seconds: float = 5.0
    days: float = 7.0


@dataclass(slots=True)
class Context:
    """One worker's catalog, blob store and rules."""

    catalog: Catalog
    blobs: BlobStore
    limits: Limits = field(default=DEFAULT)
    duplicate_policy: str = "replace"
    steps_complete_studies: bool = True
    lenient_matching: bool = False
    query_limit: int = 1000
    reserve_bytes: int = 1 << 30
    undo_hours: float = 168.0
    orphan_hours: float = 24.0
    cache_bytes: int = 32 << 20
    max_stores: int = 64
    blank_preamble: bool = False
    spool: Path = Path("spool")
    worklist: WorklistRules = field(default_factory=WorklistRules)
    commitment: CommitmentRules = field(default=CommitmentRules())
    transfers: TransferRules = field(default=TransferRules())
    webhooks: WebhookRules = field(default=WebhookRules())
    quiet_seconds: int = 60
    codecs: Codecs = field(default_factory=Codecs)
    pictures: dict[str, Picture] = field(default_factory=dict)
    """What is known of the frames of some versions."""
    derived: DerivedCache = field(default_factory=DerivedCache)
    bridges: Bridges = field(default_factory=Bridges)
    audit: AuditHook = unrecorded
    count_store: Callable[[Outcome], None] = lambda outcome: None
    count_corrupt: Callable[[], None] = lambda: None
