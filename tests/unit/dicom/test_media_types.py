"""The media types of frames against PS3.18 Table 8.7.3-5."""

from __future__ import annotations

import pytest

from app.dicom import media_types as media
from app.dicom.transfer_syntaxes import TRANSFER_SYNTAXES, transfer_syntax

J = "1.2.840.10008.1.2.4."
TABLE = [
    ("image/jpeg", J + "70", [J + "50", J + "51", J + "57"]),
    ("image/dicom-rle", "1.2.840.10008.1.2.5", []),
    ("image/jls", J + "80", [J + "81"]),
    ("image/jp2", J + "90", [J + "91"]),
    ("image/jpx", J + "92", [J + "93"]),
    ("image/jphc", J + "201", [J + "202", J + "203"]),
    ("image/jxl", J + "110", [J + "111", J + "112"]),
    ("video/mpeg", J + "100", [J + "101"]),
    ("video/mp4", J + "102", [J + "103", J + "104", J + "105", J + "106", J + "107", J + "108"]),
]


@pytest.mark.parametrize(("media_type", "default", "others"), TABLE)
def test_the_table_of_the_standard(media_type: str, default: str, others: list[str]) -> None:
    assert media.DEFAULT_SYNTAX[media_type] == default
    assert {default, *others} <= set(media.SYNTAXES_OF[media_type])
    assert all(transfer_syntax(uid).media_type == media_type for uid in (default, *others))


def test_every_default_belongs_to_its_type() -> None:
    for media_type, uid in media.DEFAULT_SYNTAX.items():
        if media_type not in (media.OCTET_STREAM, media.DICOM):
            assert TRANSFER_SYNTAXES[uid].media_type == media_type


@pytest.mark.parametrize(
    ("text", "canonical"), [("IMAGE/JPEG", "image/jpeg"), ("image/x-jls", "image/jls"), ("a/b", "a/b")]
)
def test_canonical(text: str, canonical: str) -> None:
    assert media.canonical(text) == canonical


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("application/pdf", True), ("model/stl", True), ("application/vnd.x+zip", True), ("pdf", False),
        ("a/b; c=d", False), ("a/b\r\nX: y", False), ("", False), ("text/", False), ("a/" + "b" * 65, False),
    ],
)  # fmt: skip
def test_is_media_type(text: str, valid: bool) -> None:
    assert media.is_media_type(text) is valid


def test_what_leaves_only_when_named() -> None:
    named = {uid for uid, row in TRANSFER_SYNTAXES.items() if media.leaves_only_when_named(row)}
    assert named == {"1.2.840.10008.1.2", "1.2.840.10008.1.2.2"}
