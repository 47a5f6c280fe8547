"""What is packed comes back, in any thread, and what earlier versions packed too."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest

from app.archive.packed_json import members_of, pack, unpack
from app.dicom.header import BULK_MARK

JSON = orjson.dumps({"00100020": {"vr": "LO", "Value": ["É" * 300]}, "7FE00010": {"vr": "OW"}})


@pytest.mark.parametrize("json", [b"{}", JSON, JSON * 10_000])
def test_what_is_packed_comes_back(json: bytes) -> None:
    assert unpack(pack(json)) == json
    assert unpack(zlib.compress(json, 1)) == json


def test_header_json_is_packed_to_less() -> None:
    assert len(pack(JSON)) < len(JSON) / 2


def test_marks_of_bulk_data_are_no_part_of_members() -> None:
    marked = b'{"7FE00010":{"vr":"OW","BulkDataURI":"%b7FE00010"}}' % BULK_MARK.encode()
    assert unpack(pack(marked)) == marked
    assert members_of(pack(marked)) == {"7FE00010": {"vr": "OW", "BulkDataURI": "7FE00010"}}


def test_threads_do_not_meet() -> None:
    texts = [b"%d" % number * 5000 for number in range(200)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(unpack, threads.map(pack, texts))) == texts
