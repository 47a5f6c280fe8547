"""Log lines without patient data: an allow-list of fields, UIDs hashed with the site's key, no messages of exceptions
or libraries that may quote what a sender sent. As text, or as one JSON object a line.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol

from app.errors import FileroomError

FIELDS = frozenset(
    {"method", "route", "status", "milliseconds", "outcome", "principal", "study", "series", "instance", "bytes"}
    | {"association", "peer", "called", "address", "service", "count", "query_level", "keys", "answers", "seconds"}
)
"""What `extra={"fields": {...}}` may hold. `study`, `series` and `instance` are UIDs and leave hashed; `keys` is a
number."""

request_id: ContextVar[str] = ContextVar("request_id", default="")
association_id: ContextVar[str] = ContextVar("association_id", default="")
"""The DIMSE association that the current task serves."""

_UID_FIELDS = frozenset({"study", "series", "instance"})
_UID = re.compile(r"\d+(?:\.\d+){4,}")
_OUR_LOGGERS = ("fileroom", "app")
_TRUSTED_LOGGERS = frozenset({"uvicorn.error"})
_QUIET_LOGGERS = {"uvicorn.error": logging.ERROR, "pydicom": logging.ERROR, "py.warnings": logging.ERROR}


class LogSettings(Protocol):
    """What logging needs of the settings of the archive or of the bridge."""

    @property
    def log_format(self) -> str:
        """`text` or `json`."""

    @property
    def log_level(self) -> str:
        """Least severe line to log."""

    @property
    def site_key(self) -> str:
        """Key of the hash that hides UIDs; empty: the one in `data`."""

    @property
    def data(self) -> Path:
        """Folder where the key is kept."""


def configure_logging(settings: LogSettings) -> None:
    """Sends every log line of this process, and its warnings and uncaught exceptions, to stderr in our form."""
    handler = logging.StreamHandler(sys.stderr)
    form = _JsonLines if settings.log_format == "json" else _TextLines
    handler.addFilter(_is_of_use)
    handler.setFormatter(form(site_key(settings)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name, level in _QUIET_LOGGERS.items():
        logging.getLogger(name).setLevel(max(level, root.level))
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught


def site_key(settings: LogSettings) -> bytes:
    """The key that hides UIDs: the setting, or one that is made once and kept in the data folder."""
    if settings.site_key:
        return hashlib.sha256(settings.site_key.encode()).digest()
    path = settings.data / "site.key"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    settings.data.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_bytes(secrets.token_bytes(32))
    draft.chmod(0o600)
    try:
        os.link(draft, path)  # whoever comes first decides
    except FileExistsError:
        pass
    draft.unlink()
    return path.read_bytes()


def hashed_uid(uid: str, key: bytes) -> str:
    """What stands for a UID in logs: the same for the same UID at one site, and nothing that leads back to it."""
    return "uid:" + hashlib.blake2b(uid.encode(), key=key, digest_size=8).hexdigest()


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in _OUR_LOGGERS or name in _TRUSTED_LOGGERS


def _is_of_use(record: logging.LogRecord) -> bool:
    """What libraries say beside warnings is of no use when it must be withheld."""
    return record.levelno >= logging.WARNING or _is_ours(record.name)


class _Lines(logging.Formatter):
    """What both forms share: which facts of a record may be shown."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self._key = key

    def facts(self, record: logging.LogRecord) -> dict[str, object]:
        """The record's allowed facts, in the order in which they are shown."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts: dict[str, object] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._message(record),
        }
        if request := request_id.get():
            facts["request"] = request
        if association := association_id.get():
            facts["association"] = association
        for name, value in getattr(record, "fields", {}).items():
            if name in FIELDS:
                facts[name] = hashed_uid(str(value), self._key) if name in _UID_FIELDS else value
        if record.exc_info and record.exc_info[1] is not None:
            facts["exception"] = _places(record.exc_info[1])
        return facts

    def _message(self, record: logging.LogRecord) -> str:
        if not _is_ours(record.name):
            return "(withheld: it may quote patient data)"
        return _UID.sub(lambda match: hashed_uid(match[0], self._key), record.getMessage().strip())


class _TextLines(_Lines):
    """`time LEVEL logger: message name=value ...`, then the places of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        facts = self.facts(record)
        places = facts.pop("exception", [])
        time, level, logger, message = (facts.pop(name) for name in ("time", "level", "logger", "message"))
        fields = "".join(f" {name}={value}" for name, value in facts.items())
        line = f"{time} {str(level).upper()} {logger}: {message}{fields}"
        assert isinstance(places, list)
        return "\n    ".join([line, *places])


class _JsonLines(_Lines):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.facts(record), ensure_ascii=False, default=str)


def _places(error: BaseException) -> list[str]:
    """The kinds of an exception and its causes, each with where it was raised; texts only where they are ours."""
    lines: list[str] = []
    current: BaseException | None = error
    while current is not None and len(lines) < 40:
        lines.append(type(current).__name__ + _safe_text(current))
        frames = traceback.extract_tb(current.__traceback__)[-12:]
        lines += [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return lines


def _safe_text(error: BaseException) -> str:
    if isinstance(error, FileroomError):
        return f": {error.detail}"
    if isinstance(error, OSError) and error.strerror:
        return f": {error.strerror}"
    return ""


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("fileroom").critical("uncaught", exc_info=(kind, error, trace))
