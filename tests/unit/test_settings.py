"""Settings come from arguments, the environment and a TOML file, in this order, and nothing unknown is ignored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings, unknown_variables


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
    names = ["FILEROOM_HTPP_PORT", "FILEROOM_HTTP_PORT", "FILEROOM_CONFIG", "HOME"]
    assert unknown_variables(names) == ["FILEROOM_HTPP_PORT"]


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
