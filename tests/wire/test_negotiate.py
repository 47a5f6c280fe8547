"""Accept headers as clients send them ↔ what they get, by the one negotiation module."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from app.dicomweb import negotiate
from app.dicomweb.negotiate import Entry, Offer, Stored, choose, dicom_offers, file_parts, frame_offers, zip_offers
from app.errors import LimitExceeded

LE, IMPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)
J = "1.2.840.10008.1.2.4."
JPEG, JPEG_LOSSLESS, JLS, JLS_LOSSY, J2K, J2K_LOSSY, HTJ2K = (
    J + x for x in ("50", "70", "80", "81", "90", "91", "201")
)
H264, RLE, PRIVATE = J + "102", "1.2.840.10008.1.2.5", "1.2.3.4"

OCTETS = 'multipart/related; type="application/octet-stream"'
OHIF_FRAME = "multipart/related; type=application/octet-stream; transfer-syntax=*"
OHIF_WSI = ", ".join(
    [f'multipart/related; type="image/jls"; transfer-syntax={J}{n}' for n in (80, 81)]
    + [f'multipart/related; type="image/jp2"; transfer-syntax={J}{n}' for n in (90, 91)]
    + [f'multipart/related; type="image/jpx"; transfer-syntax={J}{n}' for n in (92, 93)]
    + ['multipart/related; type="application/octet-stream"; transfer-syntax=*']
    + [f'multipart/related; type="image/jpeg"; transfer-syntax={J}50']
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.7"
CLIENT_JS = f'multipart/related; type="image/jp2"; transfer-syntax={J2K}, multipart/related; type="image/jpeg"'


def packaged(offer: Offer | None) -> tuple[str, str, str] | None:
    return None if offer is None else ("parts" if offer.multipart else "alone", offer.media_type, offer.transfer_syntax)


OCTET, DICOM = "application/octet-stream", "application/dicom"

FRAMES = [
    # the header, the stored transfer syntax, (packaging, type, transfer syntax) or None for 406
    (OHIF_FRAME, LE, ("parts", OCTET, LE)),
    (OHIF_FRAME, IMPLICIT, ("parts", OCTET, LE)),
    (OHIF_FRAME, BIG, ("parts", OCTET, LE)),
    (OHIF_FRAME, DEFLATED, ("parts", OCTET, LE)),
    (OHIF_FRAME, J2K, ("parts", OCTET, J2K)),
    (OHIF_FRAME, JPEG, ("parts", OCTET, JPEG)),
    (OHIF_FRAME, RLE, ("parts", OCTET, RLE)),
    (OHIF_FRAME, H264, ("parts", OCTET, H264)),
    (OHIF_FRAME, PRIVATE, ("parts", OCTET, PRIVATE)),
    (f"{OCTETS}; transfer-syntax=*", HTJ2K, ("parts", OCTET, HTJ2K)),
    (OCTETS, LE, ("parts", OCTET, LE)),
    (OCTETS, J2K, ("parts", OCTET, LE)),
    (OCTETS, RLE, ("parts", OCTET, LE)),
    (OCTETS, HTJ2K, ("parts", OCTET, LE)),
    (OCTETS, JPEG, ("parts", OCTET, JPEG)),
    (OCTETS, J2K_LOSSY, ("parts", OCTET, J2K_LOSSY)),
    (f"{OCTETS}; transfer-syntax={LE}", LE, ("parts", OCTET, LE)),
    (f"{OCTETS}; transfer-syntax={LE}", JPEG, ("parts", OCTET, LE)),
    (f"{OCTETS}; transfer-syntax={LE}", H264, None),
    (f"{OCTETS}; transfer-syntax={LE}", PRIVATE, None),
    (f"{OCTETS}; transfer-syntax={RLE}", LE, ("parts", OCTET, RLE)),
    ('multipart/related; type="image/jls"', LE, ("parts", "image/jls", JLS)),
    ('multipart/related; type="image/jp2"', JPEG, ("parts", "image/jp2", J2K)),
    ('multipart/related; type="image/jphc"', J2K, ("parts", "image/jphc", HTJ2K)),
    ("image/dicom-rle", BIG, ("alone", "image/dicom-rle", RLE)),
    ("image/jpeg", J2K, ("alone", "image/jpeg", JPEG_LOSSLESS)),
    (f"image/jpeg; transfer-syntax={JPEG}", LE, ("alone", "image/jpeg", JPEG)),
    (f"image/jpeg; transfer-syntax={JPEG}, image/jls; transfer-syntax={JLS}", LE, ("alone", "image/jls", JLS)),
    (f"image/jp2; transfer-syntax={J2K_LOSSY}", LE, ("alone", "image/jp2", J2K_LOSSY)),
    ("application/octet-stream", J2K, ("alone", OCTET, LE)),
    ("application/octet-stream, image/jp2", J2K, ("alone", "image/jp2", J2K)),
    ("application/octet-stream, image/jp2;q=0.5", J2K, ("alone", OCTET, LE)),
    (f"{OCTETS}; transfer-syntax={J2K}", J2K, ("parts", OCTET, J2K)),
    (OHIF_WSI, LE, ("parts", OCTET, LE)),
    (OHIF_WSI, JPEG, ("parts", "image/jpeg", JPEG)),
    (OHIF_WSI, J2K, ("parts", "image/jp2", J2K)),
    (OHIF_WSI, JLS_LOSSY, ("parts", "image/jls", JLS_LOSSY)),
    (OHIF_WSI, HTJ2K, ("parts", OCTET, HTJ2K)),
    (CLIENT_JS, JPEG, ("parts", "image/jpeg", JPEG)),
    (CLIENT_JS, LE, ("parts", "image/jpeg", JPEG_LOSSLESS)),
    (f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG}', JPEG, ("parts", "image/jpeg", JPEG)),
    ('multipart/related; type="image/jpeg"', JPEG_LOSSLESS, ("parts", "image/jpeg", JPEG_LOSSLESS)),
    ('multipart/related; type="image/jp2"', J2K, ("parts", "image/jp2", J2K)),
    ('multipart/related; type="image/jls"', JLS, ("parts", "image/jls", JLS)),
    ('multipart/related; type="image/x-jls"', JLS, ("parts", "image/jls", JLS)),
    ('multipart/related; type="image/dicom+jp2"', J2K, ("parts", "image/jp2", J2K)),
    ('multipart/related; type="image/dicom-rle"', RLE, ("parts", "image/dicom-rle", RLE)),
    ('multipart/related; type="image/jphc"', HTJ2K, ("parts", "image/jphc", HTJ2K)),
    ("image/jhc", HTJ2K, ("alone", "image/jphc", HTJ2K)),
    ("image/jpeg", JPEG, ("alone", "image/jpeg", JPEG)),
    ("image/*", J2K, ("alone", "image/jp2", J2K)),
    ("image/jpeg", LE, ("alone", "image/jpeg", JPEG_LOSSLESS)),
    ("image/jpeg;q=0, */*", JPEG, ("parts", "image/jpeg", JPEG)),
    ('multipart/related;type="image/jpeg";q=0, */*', JPEG, ("alone", "image/jpeg", JPEG)),
    ("application/octet-stream", LE, ("alone", OCTET, LE)),
    ("application/octet-stream; transfer-syntax=*", J2K, ("alone", OCTET, J2K)),
    ("video/mp4", H264, ("alone", "video/mp4", H264)),
    ("video/*", H264, ("alone", "video/mp4", H264)),
    ("video/mp4", LE, None),
    ("*/*", LE, ("parts", OCTET, LE)),
    ("*/*", J2K, ("parts", "image/jp2", J2K)),
    ("*/*", JPEG, ("parts", "image/jpeg", JPEG)),
    ("", JPEG, ("parts", "image/jpeg", JPEG)),
    ("", LE, ("parts", OCTET, LE)),
    ("multipart/related", J2K, ("parts", "image/jp2", J2K)),
    ("multipart/*", LE, ("parts", OCTET, LE)),
    ("*", LE, ("parts", OCTET, LE)),
    (BROWSER, JPEG, ("parts", "image/jpeg", JPEG)),
    ("application/dicom", LE, None),
    ("text/html", LE, None),
    ('multipart/related; type="application/octet-stream";q=0.5, image/jp2;q=0.9', J2K, ("alone", "image/jp2", J2K)),
    (
        "multipart/related; type=application/octet-stream; transfer-syntax=*;q=0.5, image/jp2;q=0.4",
        J2K,
        ("parts", OCTET, J2K),
    ),
]


@pytest.mark.parametrize(("accept", "stored", "expected"), FRAMES)
def test_frames(accept: str, stored: str, expected: tuple[str, str, str] | None) -> None:
    assert packaged(choose(accept, frame_offers(stored, True))) == expected


ALONE_LE = ("alone", DICOM, LE)
FILES = [
    ('multipart/related; type="application/dicom"', LE, ("parts", DICOM, LE)),
    ("multipart/related; type=application/dicom", LE, ("parts", DICOM, LE)),
    ('multipart/related; type="application/dicom"', IMPLICIT, ("parts", DICOM, LE)),
    ('multipart/related; type="application/dicom"', BIG, ("parts", DICOM, LE)),
    ('multipart/related; type="application/dicom"', DEFLATED, ("parts", DICOM, LE)),
    ('multipart/related; type="application/dicom"', JPEG, ("parts", DICOM, JPEG)),
    ('multipart/related; type="application/dicom"', H264, ("parts", DICOM, H264)),
    ('multipart/related; type="application/dicom"', PRIVATE, ("parts", DICOM, PRIVATE)),
    ('multipart/related; type="application/dicom"', J2K, ("parts", DICOM, LE)),
    ('multipart/related; type="application/dicom"', RLE, ("parts", DICOM, LE)),
    ('multipart/related; type="application/dicom"; transfer-syntax=*', LE, ("parts", DICOM, LE)),
    ('multipart/related; type="application/dicom"; transfer-syntax=*', J2K, ("parts", DICOM, J2K)),
    ('multipart/related; type="application/dicom"; transfer-syntax=*', DEFLATED, ("parts", DICOM, DEFLATED)),
    ('multipart/related; type="application/dicom"; transfer-syntax=*', IMPLICIT, ("parts", DICOM, LE)),
    ('multipart/related; type="application/dicom"; transfer-syntax=*', BIG, ("parts", DICOM, LE)),
    ('multipart/related; type="application/dicom; transfer-syntax=*"', J2K, ("parts", DICOM, J2K)),
    (f'multipart/related; type="application/dicom"; transfer-syntax={IMPLICIT}', IMPLICIT, ("parts", DICOM, IMPLICIT)),
    (f'multipart/related; type="application/dicom"; transfer-syntax={BIG}', BIG, ("parts", DICOM, BIG)),
    (f'multipart/related; type="application/dicom"; transfer-syntax="{BIG}"', BIG, ("parts", DICOM, BIG)),
    (f'multipart/related; type="application/dicom"; transfer-syntax={IMPLICIT}', LE, ("parts", DICOM, IMPLICIT)),
    (f"application/dicom; transfer-syntax={IMPLICIT}", JPEG, ("alone", DICOM, IMPLICIT)),
    (f"application/dicom; transfer-syntax={BIG}", LE, ("alone", DICOM, BIG)),
    (f"application/dicom; transfer-syntax={BIG}", JPEG, None),
    (f"application/dicom; transfer-syntax={DEFLATED}", LE, None),
    (f"application/dicom; transfer-syntax={J2K}", LE, ("alone", DICOM, J2K)),
    (f"application/dicom; transfer-syntax={JLS}", J2K, ("alone", DICOM, JLS)),
    (f"application/dicom; transfer-syntax={LE}", H264, None),
    (f'multipart/related; type="application/dicom"; transfer-syntax={LE}', DEFLATED, ("parts", DICOM, LE)),
    (f'multipart/related; type="application/dicom"; transfer-syntax={LE}', JPEG, ("parts", DICOM, LE)),
    (f"application/dicom; transfer-syntax={LE}, application/dicom; transfer-syntax=*;q=0.1", J2K, ALONE_LE),
    (f"application/dicom; transfer-syntax={LE}, application/dicom; transfer-syntax={J2K}", J2K, ("alone", DICOM, J2K)),
    ("application/dicom", LE, ("alone", DICOM, LE)),
    ("application/dicom; transfer-syntax=*", J2K, ("alone", DICOM, J2K)),
    ("Application/DICOM", LE, ("alone", DICOM, LE)),
    ("*/*", LE, ("parts", DICOM, LE)),
    ("*/*", IMPLICIT, ("parts", DICOM, LE)),
    ("*/*", DEFLATED, ("parts", DICOM, LE)),
    ("*/*", J2K, ("parts", DICOM, J2K)),
    ("", J2K, ("parts", DICOM, J2K)),
    ("application/*", LE, ("alone", DICOM, LE)),
    ("image/jpeg", JPEG, None),
    (OCTETS, LE, None),
    ("application/json", LE, None),
]  # fmt: skip


@pytest.mark.parametrize(("accept", "stored", "expected"), FILES)
def test_files(accept: str, stored: str, expected: tuple[str, str, str] | None) -> None:
    assert packaged(choose(accept, dicom_offers(Stored(stored), True, True))) == expected


def test_without_pixels_nothing_is_compressed() -> None:
    offers = dicom_offers(Stored(J2K, pixels=False), True, True)
    assert packaged(choose("application/dicom", offers)) == ("alone", DICOM, J2K)
    assert packaged(choose(f"application/dicom; transfer-syntax={IMPLICIT}", offers)) == ("alone", DICOM, IMPLICIT)
    assert choose(f"application/dicom; transfer-syntax={JLS}", offers) is None
    assert (
        choose(f"application/dicom; transfer-syntax={J2K}", dicom_offers(Stored(LE, pixels=False), True, True)) is None
    )


def test_what_the_pixels_do_not_allow_is_not_offered() -> None:
    floats = Stored(LE, targets=(LE, IMPLICIT))
    assert choose(f"application/dicom; transfer-syntax={RLE}", dicom_offers(floats, True, True)) is None
    accept = f"application/dicom; transfer-syntax={RLE}, application/dicom; transfer-syntax={IMPLICIT}"
    assert packaged(choose(accept, dicom_offers(floats, True, True))) == ("alone", DICOM, IMPLICIT)
    assert packaged(choose("image/jpeg, image/jls", frame_offers(LE, True, (JLS,)))) == ("alone", "image/jls", JLS)


@pytest.mark.parametrize("stored", sorted(TRANSFER_SYNTAXES))
@pytest.mark.parametrize("accept", ["*/*", "image/*", "application/*", "image/jpeg", OCTETS, OHIF_FRAME, BROWSER])
def test_nothing_is_compressed_with_loss_unless_its_name_was_given(stored: str, accept: str) -> None:
    for offers in (frame_offers(stored, True), dicom_offers(Stored(stored), True, True), zip_offers(Stored(stored))):
        offer = choose(accept, offers)
        if offer is not None and offer.transfer_syntax != stored:
            assert not TRANSFER_SYNTAXES[offer.transfer_syntax].lossy


def test_what_is_too_long_for_explicit_leaves_as_stored() -> None:
    offers = dicom_offers(Stored(J2K, over_long=True), True, True)
    assert packaged(choose("application/dicom", offers)) == ("alone", DICOM, J2K)
    assert choose(f"application/dicom; transfer-syntax={LE}", offers) is None


@pytest.mark.parametrize("uid", sorted(TRANSFER_SYNTAXES))
def test_every_stored_syntax_can_be_had_by_its_name_and_by_a_star(uid: str) -> None:
    named = choose(f"application/dicom; transfer-syntax={uid}", dicom_offers(Stored(uid), True, True))
    assert named is not None
    assert named.transfer_syntax == uid
    starred = choose("application/dicom; transfer-syntax=*", dicom_offers(Stored(uid), True, True))
    assert starred is not None
    assert starred.transfer_syntax == (LE if uid in (IMPLICIT, BIG) else uid)
    assert choose(OHIF_FRAME, frame_offers(uid, True)) is not None
    assert choose("*/*", frame_offers(uid, True)) is not None
    assert choose("*/*", dicom_offers(Stored(uid), True, True)) is not None


def test_a_zip_file_holds_what_is_stored() -> None:
    assert [choose("application/zip", zip_offers(Stored(uid))) for uid in (LE, IMPLICIT, J2K)] == [
        Offer(False, "application/zip", LE),
        Offer(False, "application/zip", LE, True, True),
        Offer(False, "application/zip", J2K, True, True),
    ]
    assert choose(f"application/zip; transfer-syntax={IMPLICIT}", zip_offers(Stored(IMPLICIT))) is not None


METADATA = (
    Offer(False, "application/dicom+json"),
    Offer(False, "application/json"),
    Offer(True, "application/dicom+xml"),
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/dicom+json", "application/dicom+json"),
        ("application/json", "application/json"),
        ("application/dicom+json, application/json;q=0.5", "application/dicom+json"),
        ("application/dicom+json;q=0.1, application/json;q=0.5", "application/json"),
        ("application/dicom+json, multipart/related; type=application/octet-stream", "application/dicom+json"),
        ("application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*",
         "application/dicom+json"),
        ("application/dicom+json; transfer-syntax=*", "application/dicom+json"),
        ('multipart/related; type="application/dicom+xml"', "application/dicom+xml"),
        ('multipart/related; type="application/dicom+xml", application/dicom+json;q=0.9', "application/dicom+xml"),
        ("*/*", "application/dicom+json"),
        ("", "application/dicom+json"),
        (BROWSER, "application/dicom+json"),
        ("application/*", "application/dicom+json"),
        ("application/dicom+xml", None),
        ("text/plain", None),
    ],
)  # fmt: skip
def test_metadata(accept: str, expected: str | None) -> None:
    offer = choose(accept, METADATA)
    assert (offer.media_type if offer else None) == expected


PDF = (
    Offer(False, "application/pdf"), Offer(True, "application/pdf"), Offer(False, OCTET), Offer(True, OCTET),
)  # fmt: skip


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (CHROME, ("alone", "application/pdf", "")),
        ("*/*", ("alone", "application/pdf", "")),
        ("application/pdf", ("alone", "application/pdf", "")),
        ("application/octet-stream", ("alone", OCTET, "")),
        (OCTETS, ("parts", OCTET, "")),
        (OHIF_FRAME, ("parts", OCTET, "")),
        ('multipart/related; type="application/pdf"', ("parts", "application/pdf", "")),
        ("image/png", None),
    ],
)
def test_documents(accept: str, expected: tuple[str, str, str] | None) -> None:
    assert packaged(choose(accept, PDF)) == expected


@pytest.mark.parametrize(
    ("header", "entries"),
    [
        ("", [Entry("any", "*/*", "", 1.0)]),
        (" , ", [Entry("any", "*/*", "", 1.0)]),
        ('multipart/related; type="a\\/b"', [Entry("multipart", "a/b", "", 1.0)]),
        ('multipart/related; type="application/dicom";transfer-syntax=*;q=0.25',
         [Entry("multipart", "application/dicom", "*", 0.25)]),
        ("application/dicom+json;charset=utf-8", [Entry("single", "application/dicom+json", "", 1.0)]),
        ('x/y; p="a,b;c", */*;q=0.1', [Entry("single", "x/y", "", 1.0), Entry("any", "*/*", "", 0.1)]),
        ("nonsense, application/dicom; q=2, /, a/b/c, */x", []),
        ("multipart/related; type=nonsense", []),
        ("application/dicom; =; ;;", [Entry("single", "application/dicom", "", 1.0)]),
    ],
)  # fmt: skip
def test_entries(header: str, entries: list[Entry]) -> None:
    assert list(negotiate.parse_accept(header)) == entries


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "H"),
        ("limit=1", "H"),
        ("accept=application/dicom%2Bjson", "application/dicom+json"),
        ("accept=application/dicom+json", "application/dicom+json"),
        ("x=1&accept=image%2Fjpeg", "image/jpeg"),
        ("accept=application/dicom;%20transfer-syntax=*", "application/dicom; transfer-syntax=*"),
        ("accept=image/jpeg&accept=image/png", "image/jpeg,image/png"),
        ("accept=image/jpeg,image/png", "image/jpeg,image/png"),
        ("accept=", "H"),
        ("xaccept=image/jpeg", "H"),
    ],
)
def test_the_query_parameter_wins(query: str, expected: str) -> None:
    assert negotiate.accept_of("H", query) == expected


def test_an_accept_header_has_a_limit() -> None:
    with pytest.raises(LimitExceeded, match="4096"):
        negotiate.parse_accept("a" * 4097)


@given(st.text(max_size=300) | st.text(alphabet='*/;="\\,q.01 ty-multipartrelated', max_size=300))
def test_any_text_is_parsed_and_a_choice_is_one_of_the_offers(header: str) -> None:
    assert choose(header, PDF) in (None, *PDF)


def test_parsing_is_linear() -> None:
    worst = ['"' * 4096, "," * 4096, ";" * 4096, '\\"' * 2048, "a/b;" * 1024, 'multipart/related;type="' * 170]
    begin = time.perf_counter()
    for header in worst:
        negotiate.parse_accept(header)
    assert time.perf_counter() - begin < 0.5


def test_the_refusal_says_what_to_type() -> None:
    error = negotiate.refuse("image/jpeg", [J2K], file_parts(Stored(J2K)), "http://h/x")
    assert error.extra["stored"] == [f"{J2K} JPEG 2000 Image Compression (Lossless Only)"]
    assert error.extra["accept"] == ["image/jpeg"]
    available = error.extra["available"]
    assert isinstance(available, list)
    assert available[:2] == [f'multipart/related; type="application/dicom"; transfer-syntax={x}' for x in (J2K, LE)]
    assert error.extra["try"] == f"curl -H 'Accept: {available[0]}' 'http://h/x'"
    assert choose(available[0], file_parts(Stored(J2K))) is not None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", False), ("gzip", True), ("gzip, deflate, br, zstd", True), ("identity", False), ("*", True),
        ("gzip;q=0", False), ("gzip;q=0.0, *", False), ("GZIP;q=0.5", True), ("br;q=1, x-gzip", True), ("*;q=0", False),
    ],
)  # fmt: skip
def test_gzip(header: str, expected: bool) -> None:
    assert negotiate.accepts_gzip(header) is expected
