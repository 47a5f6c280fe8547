"""Every knob, with its unit and default. Environment: prefix FILEROOM_; the same names, in lower case, in the TOML file
that FILEROOM_CONFIG names. The README's table is generated from this module."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

PREFIX = "FILEROOM_"
CONFIG_VARIABLE = "FILEROOM_CONFIG"
BRIDGE_PREFIXES = ("aet", "archive_", "dimse_")
"""How the settings begin that only the bridge knows (`dimse_bridge.settings`)."""


class Settings(BaseSettings):
    """The settings of one process. Sizes are in the unit that the name or the description tells."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    data: Path = Field(default=Path("data"), description="Folder of the embedded database, the blobs and the logs")
    http_host: str = Field(default="127.0.0.1", description="Address that the archive listens on; others need `auth`")
    http_port: int = Field(default=8080, ge=0, le=65535, description="Port that the archive listens on")
    database_url: str = Field(default="", description="postgresql:// address; empty: an embedded PostgreSQL in `data`")
    blobs_url: str = Field(default="", description="Where objects live: a folder; empty: `blobs` in `data`")
    workers: int = Field(
        default=0, ge=0, le=256, description="Archive worker processes; 0: one for each core, at most 8"
    )
    auth: Literal["none", "token"] = Field(
        default="none", description="`none` is allowed on loopback only; `token`: API tokens"
    )
    public_root: str = Field(
        default="", description="Address of the DICOMweb root as clients see it; empty: from the request"
    )
    trust_forwarded: bool = Field(default=False, description="Believe Forwarded and X-Forwarded-* of requests")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Origins that may call us, or `*`"
    )
    remote_bridges: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Addresses of bridges that ask remote peers for us, such as `http://10.0.0.5:11181`; `fileroom "
        "serve` knows its own",
    )
    remote_token: str = Field(
        default="", repr=False, description="Secret between the archive and its bridges, 16 characters or more"
    )
    remote_seconds: float = Field(
        default=180, gt=0, description="Seconds for a bridge's next bytes about a remote peer"
    )
    unknown_peers: Literal["auto", "admit", "reject"] = Field(
        default="auto",
        description="Calling AE titles that are not registered; `auto`: admitted when only this machine can call",
    )
    commitment_seconds: float = Field(
        default=30, gt=0, description="Seconds between two looks for instances of a storage commitment that are to come"
    )
    commitment_timeout_seconds: float = Field(
        default=600, ge=0, description="Seconds after which instances that have not come are reported as not committed"
    )
    commitment_tries: int = Field(
        default=20, ge=1, le=1000, description="Calls of a peer that does not take its storage commitment report"
    )
    mpps_completes_study: bool = Field(
        default=True, description="MPPS completes a study when every instance that it references is there"
    )
    duplicate_policy: Literal["replace", "keep", "reject"] = Field(
        default="replace", description="Other content under a stored SOP Instance UID"
    )
    lenient_matching: bool = Field(default=False, description="Match all text without regard to case, not only names")
    query_limit: int = Field(default=1000, ge=1, le=100_000, description="Most results of one search answer")
    reserve_mib: int = Field(default=1024, ge=0, description="Free space in MiB under which stores are refused (507)")
    undo_hours: float = Field(default=24 * 7, ge=0, description="Hours in which a delete can be undone; then bytes go")
    orphan_hours: float = Field(
        default=24, ge=0, description="Hours between the two sightings that let an orphan blob go"
    )
    sweep_seconds: float = Field(default=3600, gt=0, description="Seconds between two sweeps")
    max_stores: int = Field(default=64, ge=1, description="Instances that one worker stores at a time; more wait")
    max_connections: int = Field(
        default=1000, ge=1, description="HTTP connections of one worker; more are refused with 503"
    )
    header_seconds: float = Field(default=10, gt=0, description="Seconds in which a request's header must be complete")
    body_seconds: float = Field(
        default=10, gt=0, description="Window in which a body must bring `body_min_kib` a second"
    )
    body_min_kib: int = Field(default=32, ge=0, description="KiB a second that a body must bring on average")
    idle_seconds: float = Field(
        default=75, gt=0, description="Seconds after which an idle kept-alive connection is closed"
    )
    shutdown_seconds: float = Field(default=20, gt=0, description="Seconds that requests under way get at SIGTERM")
    statement_seconds: float = Field(default=5, gt=0, description="Longest database statement of a search")
    cache_mib: int = Field(default=32, ge=0, description="Metadata answers that one worker keeps in memory, MiB")
    derived_mib: int = Field(
        default=1024, ge=0, description="Transcoded and rendered pictures kept in `data` by all workers, MiB; 0: none"
    )
    blank_preamble: bool = Field(default=False, description="Send 128 NUL bytes instead of the stored preamble")
    quiet_seconds: int = Field(
        default=60,
        ge=1,
        le=604_800,
        description="Seconds without a change after which a series or study is told to be quiet",
    )
    transfer_tries: int = Field(
        default=10, ge=1, le=1000, description="Tries of a transfer after which it is set aside as failed"
    )
    transfer_pause_seconds: float = Field(
        default=5, gt=0, description="Seconds between the first two tries of a transfer; the next ones take longer"
    )
    transfer_days: float = Field(
        default=7, gt=0, description="Days for which a transfer waits for a destination that cannot be reached"
    )
    transfer_lease_seconds: float = Field(
        default=20, ge=1, le=60, description="Seconds without a sign of its worker after which another takes a transfer"
    )
    transfers_each: int = Field(
        default=2, ge=1, le=64, description="Transfers to one destination that are under way at a time"
    )
    keep_jobs_days: float = Field(
        default=30, ge=0, description="Days for which ended transfers are kept; failed ones are four times as long"
    )
    transfer_commitment_seconds: float = Field(
        default=3600,
        gt=0,
        description="Seconds for the report of a storage commitment that a transfer asked for; then it is sent again",
    )
    webhook_seconds: float = Field(default=15, gt=0, le=60, description="Seconds in which a webhook's message is taken")
    webhook_pause_seconds: float = Field(
        default=5, gt=0, description="Seconds after the first failure of a webhook; later pauses double, up to an hour"
    )
    webhook_days: float = Field(default=7, gt=0, description="Days of failing after which a webhook is set aside")
    viewer: str = Field(
        default="", description="Folder of a viewer that `make viewer` made; empty: the installed one; `none`"
    )
    worklist_started_minutes: float = Field(
        default=-1, description="Minutes after which a worklist item is hidden whose step an MPPS began; -1: never"
    )
    worklist_done_minutes: float = Field(
        default=0,
        description="Minutes after which one is hidden whose step an MPPS completed or discontinued; -1: never",
    )
    worklist_images_minutes: float = Field(
        default=60, description="Minutes after the first images of its step after which one is hidden; -1: never"
    )
    worklist_seconds: float = Field(
        default=30, gt=0, description="Seconds between two looks for worklist items that have images"
    )
    worklist_keep_days: float = Field(
        default=30, ge=0, description="Days for which hidden worklist items, and HL7 messages, are kept"
    )
    worklist_time_without_date: Literal["any", "today"] = Field(
        default="any", description="What a worklist query with a range of times and no date is about"
    )
    worklist_times_over_days: Literal["moments", "each-day", "ignored"] = Field(
        default="moments", description="What a range of times means with dates of several days in a worklist query"
    )
    hl7_host: str = Field(default="127.0.0.1", description="Address that the HL7 feed of the worklist listens on")
    hl7_port: int = Field(default=0, ge=0, le=65535, description="Its port (MLLP), such as 2575; 0: there is no feed")
    hl7_plain: Literal["loopback", "anywhere"] = Field(
        default="loopback", description="Where the HL7 feed may listen; `anywhere` must be said in words"
    )
    hl7_addresses: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Addresses or networks that may send HL7 messages; empty: any"
    )
    hl7_max_kib: int = Field(default=1024, ge=1, le=65536, description="Longest HL7 message, KiB")
    hl7_character_set: str = Field(
        default="UNICODE UTF-8", description="Character set of HL7 messages that name none in MSH-18"
    )
    hl7_station_field: str = Field(
        default="OBR-21", description="Field of ORM^O01 with the AE title of the station; OMI^O23 has IPC-9"
    )
    site_key: str = Field(
        default="", description="Key of the hash that hides UIDs in logs; empty: made once, in `data`"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe line to log"
    )
    log_format: Literal["text", "json"] = Field(default="text", description="How log lines look")
    failpoints: str = Field(
        default="", description="For tests: named steps at which to fail, such as `store.synced=kill`"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the file that FILEROOM_CONFIG names."""
        config = os.environ.get(CONFIG_VARIABLE)
        if not config:
            return (init_settings, env_settings)
        if not Path(config).is_file():
            raise ValueError(f"{CONFIG_VARIABLE}: there is no file {config}")
        return (init_settings, env_settings, _File(settings_cls, Path(config)))

    @field_validator("cors_origins", "hl7_addresses", "remote_bridges", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """A list in one environment variable is written with commas."""
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _check_scheme(cls, value: str) -> str:
        if value and not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("it must begin with postgresql://")
        return value.replace("postgres://", "postgresql://", 1)

    @property
    def admits_unknown_peers(self) -> bool:
        """Whether a bridge may ask on behalf of a calling AE title that nobody registered."""
        return self.unknown_peers == "admit" or (self.unknown_peers == "auto" and self.auth == "none")

    @property
    def blobs_folder(self) -> Path:
        """Folder of the local blob store."""
        return Path(self.blobs_url) if self.blobs_url else self.data / "blobs"

    @property
    def worker_count(self) -> int:
        """Worker processes to start."""
        return self.workers or max(1, min(os.cpu_count() or 1, 8))


class _File(TomlConfigSettingsSource):
    """The file without what the bridge reads, whose settings refuse names that they do not know."""

    def __call__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__call__().items() if not name.startswith(BRIDGE_PREFIXES)}


def unknown_variables(environment: Iterable[str], bridge: Iterable[str]) -> list[str]:
    """Names of the environment that look like settings and are none, such as misspelt ones; `bridge` are the names of
    the bridge's settings."""
    known = {PREFIX + name.upper() for name in (*Settings.model_fields, *bridge)} | {CONFIG_VARIABLE}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)
