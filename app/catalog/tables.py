"""Table: the catalog as models, for readers and for the test that compares them with the migrated database.

The hot paths use none of them: their SQL stands in this room as SQL."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import TypeEngine
from sqlmodel import Field, SQLModel

_BYTES = Text(collation="C")
_FILLFACTOR = {"postgresql_with": {"fillfactor": 70}}


def _id() -> Any:
    return Field(default=None, sa_column=Column("id", BigInteger, Identity(always=True), primary_key=True))


def _column(name: str, kind: TypeEngine[Any], default: str | None = None, **options: Any) -> Any:
    server_default = None if default is None else text(default)
    return Field(sa_column=Column(name, kind, nullable=False, server_default=server_default, **options))


def _text(name: str, comment: str | None = None) -> Any:
    """Text that is compared by bytes, empty when the data set has none."""
    return _column(name, _BYTES, "''", comment=comment)


def _uid(name: str) -> Any:
    return _column(name, _BYTES)


def _number(name: str, default: str | None = "0") -> Any:
    return _column(name, Integer(), default)


def _big(name: str, default: str | None = "0") -> Any:
    return _column(name, BigInteger(), default)


def _small(name: str, default: str = "0", comment: str | None = None) -> Any:
    return _column(name, SmallInteger(), default, comment=comment)


def _bytes(name: str, default: str | None = "''", comment: str | None = None) -> Any:
    return _column(name, LargeBinary(), default, comment=comment)


def _moment(name: str) -> Any:
    return _column(name, DateTime(timezone=True), "now()")


def _maybe(name: str, kind: TypeEngine[Any]) -> Any:
    return Field(default=None, sa_column=Column(name, kind, nullable=True))


def _when(name: str, comment: str) -> Any:
    """A moment that need not be."""
    column = Column(name, DateTime(timezone=True), nullable=True, comment=comment)
    return Field(default=None, sa_column=column)


class Study(SQLModel, table=True):
    """A study and its patient, by the newest value of each attribute; visible while `instance_count` > 0."""

    __tablename__ = "study"
    __table_args__ = (
        Index("study_uid", "uid", unique=True),
        Index("study_newest", text("study_date DESC"), text("study_time DESC"), text("id DESC")),
        Index("study_patient_id", "patient_id"),
        Index("study_accession_number", "accession_number", postgresql_where=text("accession_number <> ''")),
        Index(
            "study_patient_name",
            "patient_name",
            postgresql_using="gin",
            postgresql_ops={"patient_name": "gin_trgm_ops"},
        ),
        Index(
            "study_description",
            "study_description",
            postgresql_using="gin",
            postgresql_ops={"study_description": "gin_trgm_ops"},
        ),
        _FILLFACTOR,
    )

    id: int | None = _id()
    uid: str = _uid("uid")
    patient_id: str = _text("patient_id")
    issuer_of_patient_id: str = _text("issuer_of_patient_id")
    patient_name: str = _text("patient_name", comment="folded for matching: see app.dicom.names.search_key")
    patient_birth_date: str = _text("patient_birth_date")
    patient_sex: str = _text("patient_sex")
    study_date: str = _text("study_date")
    study_time: str = _text("study_time")
    accession_number: str = _text("accession_number")
    referring_physician_name: str = _text("referring_physician_name")
    study_description: str = _text("study_description")
    study_id_text: str = _text("study_id_text")
    modalities: list[str] = _column("modalities", ARRAY(_BYTES), "'{}'")
    sop_classes: list[str] = _column("sop_classes", ARRAY(_BYTES), "'{}'")
    series_count: int = _number("series_count")
    instance_count: int = _number("instance_count")
    revision: int = _big("revision")
    json_members: bytes = _bytes(
        "json", comment="members of the DICOM JSON object at patient and study level, without braces"
    )
    json_hash: int = _big("json_hash")
    created_at: datetime = _moment("created_at")
    updated_at: datetime = _moment("updated_at")


class Series(SQLModel, table=True):
    """A series of one study; `attributes` holds the value sets of every study and series attribute."""

    __tablename__ = "series"
    __table_args__ = (
        Index("series_uid", "study_id", "uid", unique=True),
        Index("series_uid_alone", "uid"),
        Index(
            "series_attributes",
            "attributes",
            postgresql_using="gin",
            postgresql_ops={"attributes": "jsonb_path_ops"},
        ),
        _FILLFACTOR,
    )

    id: int | None = _id()
    study_id: int = Field(sa_column=Column("study_id", BigInteger, ForeignKey("study.id"), nullable=False))
    uid: str = _uid("uid")
    modality: str = _text("modality")
    series_number: int | None = _maybe("series_number", BigInteger())
    series_description: str = _text("series_description")
    step_start_date: str = _text("step_start_date")
    step_start_time: str = _text("step_start_time")
    sop_classes: list[str] = _column("sop_classes", ARRAY(_BYTES), "'{}'")
    instance_count: int = _number("instance_count")
    revision: int = _big("revision")
    json_members: bytes = _bytes("json")
    attributes: dict[str, list[str]] = _column(
        "attributes",
        JSONB(),
        "'{}'",
        comment='value sets of every study and series attribute, {"<tag path>": ["value", ...]}; '
        "every value that any instance had",
    )
    json_hash: int = _big("json_hash")
    created_at: datetime = _moment("created_at")
    updated_at: datetime = _moment("updated_at")


class Instance(SQLModel, table=True):
    """One version of one instance; the current one of a visible instance has `state` 0."""

    __tablename__ = "instance"
    __table_args__ = (
        Index("instance_current", "uid", "series_id", unique=True, postgresql_where=text("state = 0")),
        Index("instance_series", "series_id"),
    )

    id: int | None = _id()
    series_id: int = _big("series_id", None)
    uid: str = _uid("uid")
    version: str = _uid("version")
    state: int = _small(
        "state", comment="0 current and visible, 1 superseded by a newer version, 2 kept aside, 3 deleted"
    )
    sop_class: str = _uid("sop_class")
    transfer_syntax: str = _uid("transfer_syntax")
    instance_number: int | None = _maybe("instance_number", BigInteger())
    length: int = _big("length", None)
    dataset_offset: int = _number("dataset_offset", None)
    digest: bytes = _bytes("digest", None)
    digest_meta: bytes = _bytes("digest_meta", None)
    frame_kind: int = _small("frame_kind", comment="0 none, 1 native, 2 encapsulated")
    frame_count: int = _number("frame_count")
    frame_word: int = _small("frame_word", "1")
    frame_bits: int = _big("frame_bits")
    pixel_offset: int = _big("pixel_offset")
    pixel_length: int = _big("pixel_length")
    pixel_tag: int = _number("pixel_tag")
    head: bytes = _bytes(
        "head", comment="members of the DICOM JSON object that a search for instances returns by default"
    )
    created_at: datetime = _moment("created_at")


class InstanceData(SQLModel, table=True):
    """What is long of a version, apart from the row that searches read."""

    __tablename__ = "instance_data"

    instance_id: int = Field(sa_column=Column("instance_id", BigInteger, primary_key=True, autoincrement=False))
    json_text: bytes = _bytes(
        "json", None, comment="the whole data set as DICOM JSON, packed; BulkDataURIs begin with U+0001"
    )
    frames: bytes = _bytes(
        "frames", comment="12 bytes a frame (offset u64, length u32, little endian) when encapsulated"
    )
    checks: bytes = _bytes("checks", comment="xxh3-64, little endian, of each MiB of the file")
    bulk: bytes = _bytes("bulk", comment="JSON: [[tag path, VR, offset, length], ...]")


class Conflict(SQLModel, table=True):
    """What disagreed when it was stored."""

    __tablename__ = "conflict"
    __table_args__ = (Index("conflict_study", "study_uid"),)

    id: int | None = _id()
    at: datetime = _moment("at")
    kind: str = _column(
        "kind",
        Text(),
        comment="replaced, kept, rejected, elsewhere (same SOP Instance UID in another series), demographics",
    )
    study_uid: str = _uid("study_uid")
    series_uid: str = _uid("series_uid")
    sop_uid: str = _uid("sop_uid")
    detail: dict[str, Any] = _column("detail", JSONB(), "'{}'")


class Deletion(SQLModel, table=True):
    """A user's delete, which can be undone until `purge_after`."""

    __tablename__ = "deletion"
    __table_args__ = (Index("deletion_open", "purge_after", postgresql_where=text("ended = ''")),)

    id: int | None = _id()
    at: datetime = _moment("at")
    principal: str = _column("principal", Text())
    study_uid: str = _uid("study_uid")
    series_uid: str = _text("series_uid")
    sop_uid: str = _text("sop_uid")
    instances: list[int] = _column("instances", ARRAY(BigInteger()))
    purge_after: datetime = _column("purge_after", DateTime(timezone=True))
    ended: str = _column("ended", Text(), "''", comment="empty while it can be undone; undone or purged afterwards")


class Orphan(SQLModel, table=True):
    """A blob without a row, seen once."""

    __tablename__ = "orphan"

    key: str = Field(sa_column=Column("key", _BYTES, primary_key=True))
    first_seen: datetime = _moment("first_seen")


class Token(SQLModel, table=True):
    """An API token, of which only the hash is kept."""

    __tablename__ = "token"
    __table_args__ = (UniqueConstraint("name", name="token_name_key"), UniqueConstraint("hash", name="token_hash_key"))

    id: int | None = _id()
    name: str = _column("name", Text())
    hash: bytes = _bytes("hash", None)
    scopes: list[str] = _column("scopes", ARRAY(Text()))
    created_at: datetime = _moment("created_at")
    last_used_at: datetime | None = _maybe("last_used_at", DateTime(timezone=True))
    revoked_at: datetime | None = _maybe("revoked_at", DateTime(timezone=True))


class Peer(SQLModel, table=True):
    """A DIMSE peer."""

    __tablename__ = "peer"

    aet: str = Field(sa_column=Column("aet", _BYTES, primary_key=True))
    description: dict[str, Any] = _column("json", JSONB(), comment="what app.dicom.peer.Peer.from_json reads")
    updated_at: datetime = _moment("updated_at")


class WorklistItem(SQLModel, table=True):
    """A scheduled procedure step with its requested procedure, service request, visit and patient (PS3.4 K.6.1.2)."""

    __tablename__ = "worklist_item"
    __table_args__ = (
        Index("worklist_item_key", "key", unique=True),
        Index("worklist_item_start", "step_date", "step_time", "id"),
        Index("worklist_item_stations", "station_aets", postgresql_using="gin"),
        Index("worklist_item_study", "study_uid"),
        Index("worklist_item_patient", "patient_id"),
        Index("worklist_item_accession", "accession_number", postgresql_where=text("accession_number <> ''")),
        Index("worklist_item_placer", "placer_order", postgresql_where=text("placer_order <> ''")),
        Index("worklist_item_filler", "filler_order", postgresql_where=text("filler_order <> ''")),
        Index("worklist_item_open", "id", postgresql_where=text("state < 2")),
    )

    id: int | None = _id()
    key: str = _column("key", _BYTES, comment="names the item in its address")
    state: int = _small("state", comment="0 scheduled, 1 in progress, 2 completed, 3 discontinued, 4 cancelled")
    hidden_at: datetime | None = Field(
        default=None,
        sa_column=Column(
            "hidden_at",
            DateTime(timezone=True),
            nullable=True,
            comment="from when on no search finds it; never when it is null",
        ),
    )
    station_aets: list[str] = _column("station_aets", ARRAY(_BYTES), "'{}'")
    station_names: list[str] = _column("station_names", ARRAY(_BYTES), "'{}'")
    modality: str = _text("modality")
    step_id: str = _text("step_id")
    step_date: str = _text("step_date")
    step_time: str = _text("step_time")
    step_location: str = _text("step_location")
    performing_physician_name: str = _text("performing_physician_name")
    study_uid: str = _uid("study_uid")
    procedure_id: str = _text("procedure_id")
    procedure_description: str = _text("procedure_description")
    accession_number: str = _text("accession_number")
    referring_physician_name: str = _text("referring_physician_name")
    patient_id: str = _text("patient_id")
    issuer_of_patient_id: str = _text("issuer_of_patient_id")
    patient_name: str = _text("patient_name")
    placer_order: str = _text("placer_order")
    filler_order: str = _text("filler_order")
    source: str = _column("source", Text(), "''", comment="who brought it: rest, hl7, file")
    performed_uid: str = _text("performed_uid")
    json_members: bytes = _bytes(
        "json", None, comment="members of the DICOM JSON object that every search returns, without braces"
    )
    extra: bytes = _bytes("extra", comment="its other members, without braces")
    created_at: datetime = _moment("created_at")
    updated_at: datetime = _moment("updated_at")


class HL7Message(SQLModel, table=True):
    """A message of the HL7 feed, kept so that it can be replayed."""

    __tablename__ = "hl7_message"
    __table_args__ = (Index("hl7_message_received", "received_at"),)

    id: int | None = _id()
    received_at: datetime = _moment("received_at")
    sender: str = _column("sender", Text(), "''")
    kind: str = _column("kind", Text(), "''")
    control_id: str = _column("control_id", Text(), "''")
    message: bytes = _bytes("message", None, comment="as it came, without its MLLP frame")
    acknowledged: str = _column("acknowledged", Text(), "''", comment="AA, AE or AR; empty while it is under way")
    reason: str = _column("reason", Text(), "''")
    replayed_at: datetime | None = _maybe("replayed_at", DateTime(timezone=True))


class PerformedStep(SQLModel, table=True):
    """A modality performed procedure step (PS3.4 F.7)."""

    __tablename__ = "performed_step"
    __table_args__ = (
        Index("performed_step_studies", "study_uids", postgresql_using="gin"),
        Index("performed_step_look", "look_at", postgresql_where=text("look_at IS NOT NULL")),
    )

    uid: str = Field(sa_column=Column("uid", _BYTES, primary_key=True))
    state: int = _small("state", comment="0 in progress, 1 completed, 2 discontinued")
    wrong_entry: bool = _column(
        "wrong_entry",
        Boolean(),
        "false",
        comment="discontinued for DCM 110514: its images are hidden, whenever they come",
    )
    json_object: bytes = _bytes("json", None, comment="all its attributes as one DICOM JSON object")
    study_uids: list[str] = _column("study_uids", ARRAY(_BYTES), "'{}'")
    series_uids: list[str] = _column("series_uids", ARRAY(_BYTES), "'{}'")
    sop_uids: list[str] = _column(
        "sop_uids", ARRAY(_BYTES), "'{}'", comment="the instances that it references; series_uids are their series"
    )
    missing: int = _number("missing")
    look_at: datetime | None = _when("look_at", "when its instances are looked for next; null: never")
    ended_at: datetime | None = _maybe("ended_at", DateTime(timezone=True))
    complete_at: datetime | None = _when("complete_at", "when all its instances were seen to be there")
    created_at: datetime = _moment("created_at")
    updated_at: datetime = _moment("updated_at")


class RefusedInstance(SQLModel, table=True):
    """An instance that is hidden as soon as it is stored."""

    __tablename__ = "refused_instance"
    __table_args__ = (Index("refused_instance_step", "step_uid"),)

    sop_uid: str = Field(sa_column=Column("sop_uid", _BYTES, primary_key=True))
    series_uid: str = Field(sa_column=Column("series_uid", _BYTES, primary_key=True))
    step_uid: str = Field(sa_column=Column("step_uid", _BYTES, primary_key=True))
    undo_hours: float = _column("undo_hours", Double())


class HiddenArrival(SQLModel, table=True):
    """A version that was hidden while it was stored, until the journal says so too."""

    __tablename__ = "hidden_arrival"

    instance_id: int = Field(sa_column=Column("instance_id", BigInteger, primary_key=True, autoincrement=False))


class Commitment(SQLModel, table=True):
    """A storage commitment request, its result and who is told."""

    __tablename__ = "commitment"
    __table_args__ = (
        Index("commitment_look", "look_at", postgresql_where=text("look_at IS NOT NULL")),
        Index("commitment_report", "report_at", postgresql_where=text("report_at IS NOT NULL")),
    )

    uid: str = Field(sa_column=Column("uid", _BYTES, primary_key=True))
    requester: str = _text("requester", "AE title of the peer that asked; empty: asked by HTTP")
    called: str = _text("called")
    sop_classes: list[str] = _column("sop_classes", ARRAY(_BYTES))
    sop_uids: list[str] = _column("sop_uids", ARRAY(_BYTES))
    places: list[str] = _column(
        "places",
        ARRAY(_BYTES),
        "'{}'",
        comment="study UID/series UID of each instance, when it was referenced by study",
    )
    result: bytes | None = Field(
        default=None,
        sa_column=Column(
            "result", LargeBinary(), nullable=True, comment="DICOM JSON (PS3.18 J.2); null while it is worked on"
        ),
    )
    look_at: datetime | None = _when("look_at", "when the instances are looked for next; null: done")
    until: datetime = _column(
        "until", DateTime(timezone=True), comment="when instances that have not come are given up"
    )
    report_at: datetime | None = _when("report_at", "when the peer is told next; null: nobody is to be told any more")
    reported_at: datetime | None = _maybe("reported_at", DateTime(timezone=True))
    tries: int = _number("tries")
    reason: str = _column("reason", Text(), "''")
    lease: str = _text("lease")
    leased_until: datetime | None = _maybe("leased_until", DateTime(timezone=True))
    created_at: datetime = _moment("created_at")
    done_at: datetime | None = _maybe("done_at", DateTime(timezone=True))


class Destination(SQLModel, table=True):
    """Another DICOMweb server, to which instances are sent."""

    __tablename__ = "destination"

    name: str = Field(sa_column=Column("name", _BYTES, primary_key=True))
    description: dict[str, Any] = _column(
        "json", JSONB(), comment="what app.dicom.destination.Destination.from_json reads, with the token"
    )
    updated_at: datetime = _moment("updated_at")


class Job(SQLModel, table=True):
    """Something to be sent, until it is; see app.catalog.queue."""

    __tablename__ = "job"
    __table_args__ = (
        Index("job_waiting", "queue", "destination", "due_at", "id", postgresql_where=text("state = 0")),
        Index("job_active", "queue", "destination", postgresql_where=text("state = 1")),
        Index("job_lease", "lease", postgresql_where=text("state = 1")),
        Index("job_order", "order_key", "id", postgresql_where=text("order_key <> '' AND state <> 2")),
        Index("job_ended", "updated_at", postgresql_where=text("state > 1")),
        Index("job_step", "step_uid", "id", postgresql_where=text("step_uid <> ''")),
    )

    id: int | None = _id()
    queue: str = _column("queue", _BYTES, comment="who does it: `stow` the job process, `dimse` a bridge")
    destination: str = _uid("destination")
    order_key: str = _text(
        "order_key", comment="jobs with the same one are done in the order of their ids; empty: in any order"
    )
    state: int = _small("state", comment="0 waiting, 1 active, 2 succeeded, 3 failed and set aside, 4 cancelled")
    tries: int = _number("tries")
    most_tries: int = _number("most_tries", None)
    due_at: datetime = _moment("due_at")
    lease: str = _text("lease")
    leased_until: datetime | None = _maybe("leased_until", DateTime(timezone=True))
    origin: str = _column("origin", Text())
    reason: str = _column("reason", Text(), "''")
    payload: dict[str, Any] = _column("payload", JSONB(), "'{}'")
    total: int = _number("total")
    done: int = _number("done")
    failed: int = _number("failed")
    created_at: datetime = _moment("created_at")
    updated_at: datetime = _moment("updated_at")
    retried_at: datetime | None = _when(
        "retried_at", "when somebody had it done again: the days for an unreachable destination begin then"
    )
    phase: int = _small("phase", comment="0 sends, 1 storage commitment is to be asked for, 2 its report is awaited")
    transaction_uid: str = _text("transaction_uid", "of the last request for storage commitment")
    asked_at: datetime | None = _maybe("asked_at", DateTime(timezone=True))
    committed: int = _number("committed")
    step_uid: str = _text(
        "step_uid", "of the performed procedure step whose message this job tells; its instances are none"
    )


class JobMessage(SQLModel, table=True):
    """A message about a performed procedure step, for the job that tells it."""

    __tablename__ = "job_message"

    job_id: int = Field(
        sa_column=Column(
            "job_id", BigInteger, ForeignKey("job.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
        )
    )
    operation: str = _column("operation", _BYTES, comment="`create` or `update` (N-CREATE, N-SET)")
    body: bytes = _column("body", LargeBinary())


class AskedCommitment(SQLModel, table=True):
    """A request for storage commitment of ours; see app.catalog.queue."""

    __tablename__ = "asked_commitment"
    __table_args__ = (Index("asked_commitment_job", "job_id"),)

    uid: str = Field(sa_column=Column("uid", _BYTES, primary_key=True))
    job_id: int = Field(
        sa_column=Column("job_id", BigInteger, ForeignKey("job.id", ondelete="CASCADE"), nullable=False)
    )
    last_at: int = _column("last_at", Integer(), comment="the request names instances of the job up to this one")
    asked_at: datetime = _moment("asked_at")


class JobInstance(SQLModel, table=True):
    """An instance that a job sends, and what became of it."""

    __tablename__ = "job_instance"

    job_id: int = Field(
        sa_column=Column("job_id", BigInteger, ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    )
    at: int = Field(sa_column=Column("at", Integer, primary_key=True, autoincrement=False))
    study_uid: str = _uid("study_uid")
    series_uid: str = _uid("series_uid")
    sop_uid: str = _uid("sop_uid")
    state: int = _small(
        "state", comment="0 not there yet, 1 the receipt of the destination names it, 2 refused for good, 3 committed"
    )
    status: int = _number("status")
    reason: str = _column("reason", Text(), "''")


class JobRest(SQLModel, table=True):
    """A destination that could not be reached, and until when nobody tries again."""

    __tablename__ = "job_rest"

    queue: str = Field(sa_column=Column("queue", _BYTES, primary_key=True))
    destination: str = Field(sa_column=Column("destination", _BYTES, primary_key=True))
    until: datetime = _column("until", DateTime(timezone=True))
    failures: int = _number("failures", "1")


class Change(SQLModel, table=True):
    """An event that is no stored version; see app.catalog.changes."""

    __tablename__ = "change"

    id: int = Field(sa_column=Column("id", BigInteger, primary_key=True, autoincrement=False))
    at: datetime = _moment("at")
    kind: str = _column(
        "kind", Text(), comment="deleted, undone, series-quiet, study-quiet; stored versions are rows of `instance`"
    )
    study_uid: str = _uid("study_uid")
    series_uid: str = _text("series_uid")
    sop_uid: str = _text("sop_uid")
    detail: dict[str, Any] = _column("detail", JSONB(), "'{}'")


class ChangeCursor(SQLModel, table=True):
    """How far events may be read, and how far our own readers have read."""

    __tablename__ = "change_cursor"

    name: str = Field(sa_column=Column("name", _BYTES, primary_key=True))
    position: int = _column(
        "id",
        BigInteger(),
        comment="of `horizon`: up to here nothing can come any more, and everybody may read; of others: how far they "
        "have read",
    )


class QuietWatch(SQLModel, table=True):
    """A series, or a study (empty series), of which is to be told when it has not changed for some seconds."""

    __tablename__ = "quiet_watch"

    study_uid: str = Field(sa_column=Column("study_uid", _BYTES, primary_key=True))
    series_uid: str = Field(sa_column=Column("series_uid", _BYTES, primary_key=True))
    seconds: int = Field(sa_column=Column("seconds", Integer, primary_key=True, autoincrement=False))
    changed_at: datetime = _column("changed_at", DateTime(timezone=True))


class Route(SQLModel, table=True):
    """A rule by which instances are sent on."""

    __tablename__ = "route"

    name: str = Field(sa_column=Column("name", _BYTES, primary_key=True))
    description: dict[str, Any] = _column("json", JSONB(), comment="what app.archive.routing.Route.from_json reads")
    updated_at: datetime = _moment("updated_at")


class Webhook(SQLModel, table=True):
    """Who is told what happens by HTTP; see app.catalog.webhooks."""

    __tablename__ = "webhook"

    name: str = Field(sa_column=Column("name", _BYTES, primary_key=True))
    url: str = _column("url", Text())
    kinds: list[str] = _column("kinds", ARRAY(Text()), "'{}'", comment="of events; empty: all")
    secret: str = _column("secret", Text())
    state: int = _small(
        "state", comment="0 active, 1 paused, 2 set aside after days of failures, 3 the receiver answered 410"
    )
    position: int = _column("position", BigInteger(), comment="every event of the change feed up to here was delivered")
    due_at: datetime = _column(
        "due_at",
        DateTime(timezone=True),
        "now()",
        comment="when somebody may deliver; while there is a lease: when it ends",
    )
    lease: str = _text("lease")
    batch: str = _text("batch", "id of the message under way, which stays the same however often it is sent")
    batch_end: int = _column("batch_end", BigInteger(), "0", comment="the new position when it is delivered")
    failures: int = _number("failures")
    failing_since: datetime | None = _maybe("failing_since", DateTime(timezone=True))
    last_at: datetime | None = _maybe("last_at", DateTime(timezone=True))
    last_status: int = _number("last_status")
    last_reason: str = _column("last_reason", Text(), "''")
    updated_at: datetime = _moment("updated_at")


class PrefetchRule(SQLModel, table=True):
    """A rule by which priors are prefetched."""

    __tablename__ = "prefetch_rule"

    name: str = Field(sa_column=Column("name", _BYTES, primary_key=True))
    description: dict[str, Any] = _column(
        "json", JSONB(), comment="what app.archive.prefetch_rules.PrefetchRule.from_json reads"
    )
    updated_at: datetime = _moment("updated_at")


class PrefetchLook(SQLModel, table=True):
    """A worklist item about which the rules are to be asked, and when."""

    __tablename__ = "prefetch_look"
    __table_args__ = (Index("prefetch_look_at", "look_at"),)

    item_id: int = Field(
        sa_column=Column(
            "item_id",
            BigInteger,
            ForeignKey("worklist_item.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        )
    )
    look_at: datetime = _moment("look_at")


class PrefetchMade(SQLModel, table=True):
    """What a rule has made a job about."""

    __tablename__ = "prefetch_made"

    rule: str = Field(sa_column=Column("rule", _BYTES, primary_key=True))
    about: str = Field(
        sa_column=Column(
            "about",
            _BYTES,
            primary_key=True,
            comment="hash of patient, study and what else decides which priors are wanted",
        )
    )
    made_at: datetime = _moment("made_at")
