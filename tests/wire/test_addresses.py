"""Request headers ↔ the public address of the DICOMweb root."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI, Request

from app.dicomweb import addresses
from app.settings import Settings


def root(path: str, headers: dict[str, str], settings: dict[str, Any] | None = None, **scope: Any) -> str:
    app = FastAPI()
    app.state.settings = Settings(**(settings or {}))
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    base = {"type": "http", "app": app, "scheme": "http", "server": ("10.0.0.1", 8080), "root_path": ""}
    return addresses.root(Request(base | {"path": path, "headers": raw} | scope))


TRUST = {"trust_forwarded": True}
STUDY = "/dicom-web/studies/1.2/series/3"


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        (STUDY, {"Host": "pacs.example:8080"}, "http://pacs.example:8080/dicom-web"),
        (STUDY, {"Host": "pacs.example:80"}, "http://pacs.example/dicom-web"),
        (STUDY, {"Host": "[::1]:8080"}, "http://[::1]:8080/dicom-web"),
        (STUDY, {}, "http://10.0.0.1:8080/dicom-web"),
        ("/dicom-web/studies", {"Host": "h"}, "http://h/dicom-web"),
        ("/dicom-web/series", {"Host": "h"}, "http://h/dicom-web"),
        ("/dicom-web/instances", {"Host": "h"}, "http://h/dicom-web"),
        ("/dicom-web/patients", {"Host": "h"}, "http://h/dicom-web"),
        (STUDY, {"Host": 'evil"><script>'}, "http://10.0.0.1:8080/dicom-web"),
        (STUDY, {"Host": "a b"}, "http://10.0.0.1:8080/dicom-web"),
        (STUDY, {"Host": "h/../x"}, "http://10.0.0.1:8080/dicom-web"),
        (
            STUDY,
            {"Host": "h", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"},
            "http://h/dicom-web",
        ),
    ],
)
def test_from_the_request(path: str, headers: dict[str, str], expected: str) -> None:
    assert root(path, headers) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Host": "inner:8080"}, "http://inner:8080/dicom-web"),
        (
            {"Host": "inner", "X-Forwarded-Host": "pacs.example", "X-Forwarded-Proto": "https"},
            "https://pacs.example/dicom-web",
        ),
        (
            {"X-Forwarded-Host": "a.example, b.example", "X-Forwarded-Proto": "https, http"},
            "https://a.example/dicom-web",
        ),
        (
            {"X-Forwarded-Host": "a.example", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/hospital/pacs/"},
            "https://a.example/hospital/pacs/dicom-web",
        ),
        (
            {"X-Forwarded-Host": "a.example", "X-Forwarded-Port": "8443", "X-Forwarded-Proto": "https"},
            "https://a.example:8443/dicom-web",
        ),
        (
            {"X-Forwarded-Host": "a.example", "X-Forwarded-Port": "443", "X-Forwarded-Proto": "https"},
            "https://a.example/dicom-web",
        ),
        ({"X-Forwarded-Host": "a.example:1", "X-Forwarded-Port": "8443"}, "http://a.example:1/dicom-web"),
        ({"Forwarded": "for=192.0.2.60;proto=https;host=pacs.example"}, "https://pacs.example/dicom-web"),
        (
            {"Forwarded": 'for="[2001:db8::1]";host="pacs.example:444";proto=https, for=10.0.0.9'},
            "https://pacs.example:444/dicom-web",
        ),
        ({"Forwarded": "Host=a.example", "X-Forwarded-Prefix": "/p"}, "http://a.example/p/dicom-web"),
        ({"Forwarded": "host=a.example", "X-Forwarded-Host": "b.example"}, "http://a.example/dicom-web"),
        ({"X-Forwarded-Host": "evil/x", "Host": "h"}, "http://10.0.0.1:8080/dicom-web"),
        ({"Host": "h", "X-Forwarded-Prefix": "javascript:x"}, "http://h/dicom-web"),
        ({"Host": "h", "X-Forwarded-Prefix": '/a"b'}, "http://h/dicom-web"),
        ({"Host": "h", "X-Forwarded-Proto": "ftp"}, "http://h/dicom-web"),
    ],
)
def test_from_a_trusted_proxy(headers: dict[str, str], expected: str) -> None:
    assert root(STUDY, headers, TRUST) == expected


def test_the_setting_wins() -> None:
    settings = {"public_root": "https://pacs.example/dw/", "trust_forwarded": True}
    assert root(STUDY, {"Host": "h", "X-Forwarded-Host": "x"}, settings) == "https://pacs.example/dw"


def test_a_mounted_application() -> None:
    assert root(f"/outer{STUDY}", {"Host": "h"}, root_path="/outer") == "http://h/outer/dicom-web"


def test_the_address_of_a_resource() -> None:
    app = FastAPI()
    app.state.settings = Settings(public_root="https://pacs.example/dw")
    scope = {"type": "http", "app": app, "scheme": "http", "headers": [], "root_path": "/outer", "query_string": b"a=1"}
    request = Request(scope | {"path": "/outer/dicom-web/studies/1.2/frames/1,2'x"})
    assert addresses.resource(request) == "https://pacs.example/dw/studies/1.2/frames/1,2%27x"


def test_https_of_our_own() -> None:
    assert root(STUDY, {"Host": "h:443"}, scheme="https") == "https://h/dicom-web"
