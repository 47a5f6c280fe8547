"""Every knob of the bridge, with its unit and default; sources and names as in the archive's settings. What begins with
`aet`, `archive_` or `dimse_` is the bridge's own, the rest is shared with the archive."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from app.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from app.dicom.peer import ae_title
from app.dicom.uid import is_uid
from app.errors import BadRequest, CannotStart

PREFIX = "FILEROOM_"
CONFIG_VARIABLE = "FILEROOM_CONFIG"
OWN_PREFIXES = ("aet", "archive_", "dimse_")
_MOST_WORKERS = 4
SHORTEST_SECRET = 16


class OurAE(BaseModel):
    """One AE title of ours: which port it answers on, and how it names its implementation (PS3.7 D.3.3.2)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    aet: str
    port: int = Field(default=0, ge=0, le=65535, description="0: `dimse_port`")
    implementation_class_uid: str = IMPLEMENTATION_CLASS_UID
    implementation_version_name: str = IMPLEMENTATION_VERSION_NAME

    @field_validator("aet")
    @classmethod
    def _check_title(cls, value: str) -> str:
        try:
            return ae_title(value)
        except BadRequest as error:
            raise ValueError(error.detail) from error

    @field_validator("implementation_class_uid")
    @classmethod
    def _check_uid(cls, value: str) -> str:
        if not is_uid(value):
            raise ValueError("it is no UID")
        return value

    @field_validator("implementation_version_name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not 1 <= len(value) <= 16 or not value.isascii() or not value.isprintable():
            raise ValueError("it has 1 to 16 ASCII characters")
        return value


@dataclass(frozen=True, slots=True)
class Listener:
    """One address and port to listen on, and the AE titles that answer there."""

    host: str
    port: int
    tls: bool
    aes: tuple[OurAE, ...]


class Settings(BaseSettings):
    """The settings of one bridge. A timeout of 0 means none."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    aet: str = Field(default="FILEROOM", description="AE title of the archive")
    aets: tuple[OurAE, ...] = Field(
        default=(),
        description='Further AE titles, as JSON: `[{"aet": "SECOND", "port": 11113}]`; also with '
        "`implementation_class_uid` and `implementation_version_name`",
    )
    dimse_host: str = Field(default="127.0.0.1", description="Address that the bridge listens on")
    dimse_port: int = Field(
        default=11112,
        ge=0,
        le=65535,
        description="Port that the bridge listens on; 0: `fileroom serve` starts no bridge",
    )
    dimse_plain: Literal["loopback", "anywhere", "never"] = Field(
        default="loopback", description="Where DIMSE without TLS may listen; `anywhere` must be said in words"
    )
    dimse_implementation_class_uid: str = Field(
        default=IMPLEMENTATION_CLASS_UID, description="Implementation Class UID of `aet`"
    )
    dimse_implementation_version_name: str = Field(
        default=IMPLEMENTATION_VERSION_NAME, description="Implementation Version Name of `aet`"
    )
    dimse_tls_port: int = Field(default=0, ge=0, le=65535, description="Port for DIMSE over TLS, such as 2762; 0: none")
    dimse_tls_certificate: str = Field(default="", description="PEM file: our certificate with its chain")
    dimse_tls_key: str = Field(default="", description="PEM file: our key; empty: it is in the certificate's file")
    dimse_tls_authorities: str = Field(default="", description="PEM file: authorities that peers' certificates need")
    dimse_tls_clients: Literal["required", "optional", "none"] = Field(
        default="required", description="Certificates of those who call by TLS"
    )
    dimse_max_pdu: int = Field(default=131072, ge=4096, le=1 << 24, description="Longest PDU that we receive, bytes")
    dimse_max_send_pdu: int = Field(default=131072, ge=4096, le=1 << 24, description="Longest PDU that we send, bytes")
    dimse_max_associations: int = Field(default=1000, ge=0, description="Associations in all; 0: no limit")
    dimse_max_peer_associations: int = Field(default=200, ge=0, description="Associations of one peer; 0: no limit")
    dimse_acse_seconds: float = Field(
        default=10, gt=0, description="Seconds for the other side's part in making and ending an association"
    )
    dimse_idle_seconds: float = Field(
        default=60, ge=0, description="Seconds without a message after which an association is ended; 0: none"
    )
    dimse_connect_seconds: float = Field(default=30, gt=0, description="Seconds for a TCP connection to a peer")
    dimse_associate_seconds: float = Field(default=30, gt=0, description="Seconds for a peer's answer to A-ASSOCIATE")
    dimse_message_seconds: float = Field(
        default=60, ge=0, description="Seconds in which a peer must take or bring the next bytes of a PDU; 0: any time"
    )
    dimse_response_seconds: float = Field(
        default=600, ge=0, description="Seconds for a peer's response to a request of ours; 0: any time"
    )
    dimse_workers: int = Field(
        default=0, ge=0, le=64, description=f"Bridge worker processes; 0: one for each core, at most {_MOST_WORKERS}"
    )
    dimse_status: str = Field(
        default="",
        pattern=r"^$|^(\[[0-9a-fA-F:]+\]|[0-9.]+):[0-9]{1,5}$",
        description="Where the bridge tells /metrics, /healthz and /readyz, such as `127.0.0.1:11180`; empty: nowhere",
    )
    dimse_remote: str = Field(
        default="",
        pattern=r"^$|^(\[[0-9a-fA-F:]+\]|[0-9.]+):[0-9]{1,5}$",
        description="Where `fileroom bridge` takes the archive's requests for remote peers, such as `127.0.0.1:11181`; "
        "needs `remote_token`; empty: nowhere",
    )
    dimse_remote_seconds: float = Field(
        default=60, gt=0, description="Seconds for a remote peer's next answer to a search or an echo"
    )
    remote_token: str = Field(
        default="", repr=False, description="Secret between the archive and its bridges, 16 characters or more"
    )
    dimse_peers: str = Field(
        default="", description="TOML file of peers, for an archive that keeps none; empty: those of the archive"
    )
    dimse_behaviour: Literal["standard", "xpacs", "dxserver", "onepacs"] = Field(
        default="standard", description="Behaviour towards calling AE titles that are not registered"
    )
    unknown_peers: Literal["auto", "admit", "reject"] = Field(
        default="auto",
        description="Calling AE titles that are not registered; `auto`: admitted when only this machine can call",
    )
    archive_url: str = Field(
        default="http://127.0.0.1:8080/dicom-web", description="DICOMweb root of the archive behind `fileroom bridge`"
    )
    archive_token: str = Field(default="", repr=False, description="Token of scope `bridge`, or of the other server")
    archive_kind: Literal["fileroom", "dicomweb"] = Field(
        default="fileroom", description="`dicomweb`: another server, which knows PS3.18 only"
    )
    archive_seconds: float = Field(default=30, gt=0, description="Seconds for the archive's next bytes")
    data: Path = Field(default=Path("data"), description="Folder of the embedded database, the blobs and the logs")
    shutdown_seconds: float = Field(default=20, gt=0, description="Seconds that requests under way get at SIGTERM")
    site_key: str = Field(
        default="", description="Key of the hash that hides UIDs in logs; empty: made once, in `data`"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe line to log"
    )
    log_format: Literal["text", "json"] = Field(default="text", description="How log lines look")

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

    @field_validator("aet")
    @classmethod
    def _check_title(cls, value: str) -> str:
        return OurAE(aet=value).aet

    @model_validator(mode="after")
    def _check_together(self) -> Settings:
        titles = [ae.aet for ae in self.aes]
        if len(set(titles)) < len(titles):
            raise ValueError("an AE title of ours stands twice")
        if self.dimse_plain == "never" and not self.dimse_tls_port:
            raise ValueError('dimse_plain = "never" needs dimse_tls_port')
        if self.dimse_remote and len(self.remote_token) < SHORTEST_SECRET:
            raise ValueError(f"dimse_remote needs a remote_token of {SHORTEST_SECRET} characters or more")
        if self.dimse_tls_port and not self.dimse_tls_certificate:
            raise ValueError("dimse_tls_port needs dimse_tls_certificate")
        if self.dimse_tls_port and self.dimse_tls_clients != "none" and not self.dimse_tls_authorities:
            raise ValueError('dimse_tls_port needs dimse_tls_authorities, or dimse_tls_clients = "none"')
        return self

    @property
    def aes(self) -> tuple[OurAE, ...]:
        """Every AE title of ours, the main one first."""
        main = OurAE(
            aet=self.aet,
            implementation_class_uid=self.dimse_implementation_class_uid,
            implementation_version_name=self.dimse_implementation_version_name,
        )
        return (main, *self.aets)

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Where to listen; by TLS every AE title answers on the one port."""
        ports: dict[int, list[OurAE]] = {}
        for ae in self.aes:
            ports.setdefault(ae.port or self.dimse_port, []).append(ae)
        plain = [Listener(self.dimse_host, port, False, tuple(aes)) for port, aes in ports.items()]
        if self.dimse_plain == "never":
            plain = []
        secure = [Listener(self.dimse_host, self.dimse_tls_port, True, self.aes)] if self.dimse_tls_port else []
        return (*plain, *secure)

    @property
    def worker_count(self) -> int:
        """Worker processes to start."""
        return self.dimse_workers or max(1, min(os.cpu_count() or 1, _MOST_WORKERS))

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the bridge; raises `CannotStart` when the host is no address."""
        found = [ipaddress.ip_address(address.partition("%")[0]) for _, address in addresses(self.dimse_host)]
        return all(address.is_loopback for address in found)


class _File(TomlConfigSettingsSource):
    """The part of the file that is the bridge's; the archive's settings refuse what is neither's."""

    def __call__(self) -> dict[str, Any]:
        known = self.settings_cls.model_fields
        given = super().__call__()
        return {name: value for name, value in given.items() if name in known or name.startswith(OWN_PREFIXES)}


def check_exposure(settings: Settings) -> None:
    """DIMSE without TLS on an address that other machines can reach must be asked for; raises `CannotStart`."""
    if settings.dimse_plain != "loopback" or settings.is_local:
        return
    raise CannotStart(
        f"FILEROOM_DIMSE_HOST={settings.dimse_host} is reachable by other machines, and DIMSE on port "
        f"{settings.dimse_port} is not encrypted. Either\n"
        "  say that this is meant: FILEROOM_DIMSE_PLAIN=anywhere (callers must be registered: see PUT /peers/AET)\n"
        "  or listen on this machine only: FILEROOM_DIMSE_HOST=127.0.0.1"
    )


def addresses(host: str) -> list[tuple[int, str]]:
    """(family, numeric address) of every address that `host` means; raises `CannotStart`."""
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CannotStart(f"FILEROOM_DIMSE_HOST={host} is no address of this machine: {error.strerror}.") from error
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))
