"""Settings come from arguments, the environment and a TOML file, in this order, and nothing unknown is ignored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.dicom.peer import PRESETS
from app.errors import CannotStart
from app.settings import BRIDGE_PREFIXES, Settings, unknown_variables
from dimse_bridge.settings import OWN_PREFIXES, check_exposure
from dimse_bridge.settings import Settings as BridgeSettings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("FILEROOM_"):
            monkeypatch.delenv(name)


def test_defaults_are_closed_and_local() -> None:
    settings = Settings()
    assert (settings.http_host, settings.http_port, settings.auth) == ("127.0.0.1", 8080, "none")
    assert settings.blobs_folder == Path("data/blobs")


def test_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "fileroom.toml"
    file.write_text('http_port = 9000\ndata = "/srv/images"\ncors_origins = ["https://a.example"]\n')
    monkeypatch.setenv("FILEROOM_CONFIG", str(file))
    monkeypatch.setenv("FILEROOM_HTTP_PORT", "9100")
    settings = Settings()
    assert (settings.http_port, settings.data) == (9100, Path("/srv/images"))
    assert settings.cors_origins == ("https://a.example",)


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILEROOM_CORS_ORIGINS", "https://a.example, https://b.example")
    assert Settings().cors_origins == ("https://a.example", "https://b.example")


def test_unknown_name_in_the_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "fileroom.toml"
    file.write_text("htpp_port = 9000\n")
    monkeypatch.setenv("FILEROOM_CONFIG", str(file))
    with pytest.raises(ValidationError, match="htpp_port"):
        Settings()


def test_missing_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FILEROOM_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(ValueError, match="FILEROOM_CONFIG"):
        Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [("HTTP_PORT", "70000"), ("HTTP_PORT", "web"), ("AUTH", "basic"), ("WORKERS", "-1"), ("DATABASE_URL", "mysql://x")],
)
def test_wrong_value_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"FILEROOM_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_misspelt_variable_is_found() -> None:
    names = ["FILEROOM_HTPP_PORT", "FILEROOM_HTTP_PORT", "FILEROOM_CONFIG", "HOME", "FILEROOM_AET", "FILEROOM_AETT"]
    assert unknown_variables(names, BridgeSettings.model_fields) == ["FILEROOM_AETT", "FILEROOM_HTPP_PORT"]


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("kind", [Settings, BridgeSettings])
def test_archive_and_bridge_share_one_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: type[Settings] | type[BridgeSettings]
) -> None:
    file = tmp_path / "fileroom.toml"
    file.write_text('http_port = 9000\nlog_level = "error"\ndimse_port = 104\naets = [{aet = "SECOND", port = 105}]\n')
    monkeypatch.setenv("FILEROOM_CONFIG", str(file))
    settings = kind()
    assert settings.log_level == "error"
    if isinstance(settings, BridgeSettings):
        assert [(one.port, [ae.aet for ae in one.aes]) for one in settings.listeners] == [
            (104, ["FILEROOM"]),
            (105, ["SECOND"]),
        ]


def test_every_name_in_the_file_is_known_to_one_of_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "fileroom.toml"
    file.write_text("dimse_prot = 104\n")
    monkeypatch.setenv("FILEROOM_CONFIG", str(file))
    Settings()
    with pytest.raises(ValidationError, match="dimse_prot"):
        BridgeSettings()


def test_the_prefix_tells_whose_a_setting_is_and_what_is_shared_means_the_same() -> None:
    assert OWN_PREFIXES == BRIDGE_PREFIXES
    assert [name for name in Settings.model_fields if name.startswith(BRIDGE_PREFIXES)] == []
    for name, field in BridgeSettings.model_fields.items():
        assert field.description, name
        if not name.startswith(OWN_PREFIXES):
            shared = Settings.model_fields[name]
            assert (shared.default, shared.annotation, shared.description) == (
                field.default,
                field.annotation,
                field.description,
            )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AET", "a\\b"),
        ("AET", "SEVENTEEN_LETTERS"),
        ("AETS", '[{"aet": "FILEROOM"}]'),
        ("AETS", '[{"aet": "X", "implementation_class_uid": "1.2.x"}]'),
        ("DIMSE_MAX_PDU", "100"),
        ("DIMSE_TLS_PORT", "2762"),
        ("DIMSE_PLAIN", "never"),
        ("DIMSE_BEHAVIOUR", "pacs"),
    ],
)
def test_wrong_value_of_the_bridge_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"FILEROOM_{name}", value)
    with pytest.raises(ValidationError):
        BridgeSettings()


def test_every_preset_can_be_chosen() -> None:
    for preset in PRESETS:
        assert BridgeSettings.model_validate({"dimse_behaviour": preset}).dimse_behaviour == preset


def test_G28_plain_dimse_that_others_can_reach_must_be_asked_for() -> None:
    check_exposure(BridgeSettings())
    check_exposure(BridgeSettings(dimse_host="::1"))
    check_exposure(BridgeSettings(dimse_host="0.0.0.0", dimse_plain="anywhere"))
    with pytest.raises(CannotStart, match="DIMSE_PLAIN=anywhere"):
        check_exposure(BridgeSettings(dimse_host="0.0.0.0"))
    with pytest.raises(CannotStart, match="no address"):
        check_exposure(BridgeSettings(dimse_host="no.such.host.invalid"))
