"""The same service before another DICOMweb server, Orthanc: what PS3.18 carries arrives as it was sent, the rest as
Explicit VR Little Endian; and what Orthanc refuses is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.dicom.transfer_syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from dimse_bridge.services.store import AT_ONCE
from tests.dimse.store.conftest import Bridge, open_bridge, send, sent_of
from tests.requirements.instances import CT, encode, make
from tests.support.orthanc import Orthanc, orthanc

__all__ = ["orthanc"]

SUCCESS = 0x0000
JPEG_LS = "1.2.840.10008.1.2.4.80"


@pytest.fixture
async def before_orthanc(orthanc: Orthanc) -> AsyncIterator[Bridge]:
    """A bridge before it."""
    async with open_bridge(orthanc.root, ours=False) as running:
        yield running


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, JPEG_LS])
async def test_what_ps3_18_carries_arrives_as_it_was_sent(before_orthanc: Bridge, syntax: str) -> None:
    one = sent_of(encode(make("67", int(syntax == JPEG_LS), CT, syntax)))
    async with before_orthanc.associate([one.context]) as association:
        assert (await send(association, one)).status == SUCCESS
    assert await before_orthanc.stored(one.path, syntax) == one.data_set


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_BE])
async def test_the_rest_arrives_as_explicit_vr_little_endian(before_orthanc: Bridge, syntax: str) -> None:
    made = make("68", int(syntax == IMPLICIT_LE), CT, syntax)
    one = sent_of(encode(made))
    async with before_orthanc.associate([one.context]) as association:
        assert (await send(association, one)).status == SUCCESS
    data_set = await before_orthanc.stored(one.path, EXPLICIT_LE)
    assert b"\x10\0\x10\0PN\x10\0Requirement^List" in data_set
    assert data_set.endswith(made.PixelData)


async def test_a_long_object_is_streamed_to_it(before_orthanc: Bridge) -> None:
    made = make("69", 1)
    made.PixelData = bytes(range(256)) * (3 * AT_ONCE // 256)
    one = sent_of(encode(made))
    async with before_orthanc.associate([one.context]) as association:
        assert (await send(association, one)).status == SUCCESS
    assert await before_orthanc.stored(one.path, EXPLICIT_LE) == one.data_set


async def test_what_it_refuses_is_refused(before_orthanc: Bridge) -> None:
    one = sent_of(encode(make("70", 1)))
    async with before_orthanc.associate([one.context]) as association:
        response = await send(association, one, b"no data set at all" * 100)
        assert response.status not in (None, SUCCESS)
        assert (await send(association, one, message_id=2)).status == SUCCESS
