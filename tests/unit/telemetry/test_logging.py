"""Log lines hold what is on the allow-list, and nothing that a sender wrote."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from app.errors import Unreadable
from app.settings import Settings
from app.telemetry.logging import configure_logging, hashed_uid, request_id, site_key

CANARY = "CANARY^JOHN"
UID = "1.2.826.0.1.3680043.8.498.11111111111111111111"


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Where JSON lines go, with the logging of this process put back afterwards."""
    root = logging.getLogger()
    kept = root.handlers[:], root.level, {name: logging.getLogger(name).level for name in ("uvicorn.error", "pydicom")}
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr("sys.excepthook", None)
    configure_logging(Settings(data=tmp_path, log_format="json", log_level="debug"))
    yield stream
    logging.captureWarnings(False)
    root.handlers[:], root.level = kept[0], kept[1]
    for name, level in kept[2].items():
        logging.getLogger(name).setLevel(level)


def lines(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(text) for text in output.getvalue().splitlines()]


def test_G33_only_fields_of_the_list_leave(output: io.StringIO) -> None:
    fields = {"status": 200, "patient": CANARY, "study": UID}
    logging.getLogger("fileroom.http").info("answered", extra={"fields": fields})
    (line,) = lines(output)
    assert line["status"] == 200
    assert "patient" not in line
    assert line["study"].startswith("uid:")
    assert UID not in output.getvalue()


@pytest.mark.usefixtures("output")
@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("text", "INFO fileroom.bridge.find: C-FIND query_level=STUDY"),
        ("json", '"level": "info", "logger": "fileroom.bridge.find", "message": "C-FIND", "query_level": "STUDY"'),
    ],
)
def test_no_field_stands_in_for_what_every_line_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: Literal["text", "json"], told: str
) -> None:
    configure_logging(Settings(data=tmp_path, log_format=form, log_level="debug"))
    fields = {"query_level": "STUDY"} | dict.fromkeys(("time", "level", "logger", "message"), "forged")
    logging.getLogger("fileroom.bridge.find").info("C-FIND", extra={"fields": fields})
    line = capsys.readouterr().err
    assert told in line
    assert "forged" not in line


def test_G33_uids_in_texts_are_hashed_too(output: io.StringIO) -> None:
    logging.getLogger("fileroom.store").error("blob a1/%s/1.2/3~x.dcm is missing on 127.0.0.1", UID)
    text = output.getvalue()
    assert UID not in text
    assert "uid:" in text
    assert "127.0.0.1" in text


def test_G33_libraries_do_not_speak(output: io.StringIO) -> None:
    logging.getLogger("pydicom").error("Invalid value for VR PN: '%s'", CANARY)
    logging.getLogger("asyncio").error("Task exception was never retrieved %r", ValueError(CANARY))
    logging.getLogger("alembic").info("chatter")
    logging.getLogger("py.warnings").error("strange value %s", CANARY)
    assert CANARY not in output.getvalue()
    assert [line["logger"] for line in lines(output)] == ["pydicom", "asyncio", "py.warnings"]


def test_G33_exceptions_say_where_not_what(output: io.StringIO) -> None:
    try:
        try:
            int(CANARY)
        except ValueError as error:
            raise Unreadable("the data set ends too early") from error
    except Unreadable:
        logging.getLogger("fileroom.http").exception("a request failed")
    (line,) = lines(output)
    assert CANARY not in output.getvalue()
    assert line["exception"][0] == "Unreadable: the data set ends too early"
    assert "ValueError" in line["exception"]
    assert any(place.startswith("test_logging.py:") for place in line["exception"])


def test_request_ids_join_lines(output: io.StringIO) -> None:
    token = request_id.set("abc-1")
    logging.getLogger("fileroom.http").info("one")
    request_id.reset(token)
    logging.getLogger("fileroom.http").info("two")
    assert [line.get("request") for line in lines(output)] == ["abc-1", None]


def test_hash_depends_on_the_site() -> None:
    assert hashed_uid(UID, b"a" * 32) == hashed_uid(UID, b"a" * 32) != hashed_uid(UID, b"b" * 32)


def test_site_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    assert site_key(settings) == site_key(settings)
    assert (tmp_path / "data" / "site.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["site.key"]
    assert site_key(Settings(data=tmp_path, site_key="ours")) == site_key(
        Settings(data=Path("/nowhere"), site_key="ours")
    )
