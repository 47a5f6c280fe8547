"""Lookup tables as data sets have them."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from app.errors import Undecodable
from app.pixels.render_tables import lookup_table, palette


def words(table: dict[str, object] | None) -> list[int]:
    assert table is not None
    data = base64.b64decode(str(table["entries"]))
    return list(struct.unpack(f"<{len(data) // 2}H", data))


def item(descriptor: list[int], **data: Any) -> dict[str, Any]:
    return {"00283002": {"vr": "US", "Value": descriptor}, "00283006": {"vr": "OW"} | data}


def test_data_in_each_form_that_json_has() -> None:
    packed = struct.pack("<3H", 1, 2, 300)
    for data in (
        {"Value": [1, 2, 300]},
        {"InlineBinary": base64.b64encode(packed).decode()},
        {"BulkDataURI": "00283010/1/00283006"},
    ):
        table = lookup_table(item([3, 5, 12], **data), False, {"00283010/1/00283006": packed})
        assert (words(table), table and table["first"], table and table["bits"]) == ([1, 2, 300], 5, 12)


def test_entries_of_eight_bits_may_share_words() -> None:
    shared = {"InlineBinary": base64.b64encode(bytes([9, 8, 7, 0])).decode()}
    assert words(lookup_table(item([3, 0, 8], **shared), False, {})) == [9, 8, 7]
    apart = {"InlineBinary": base64.b64encode(bytes([9, 0, 8, 0, 7, 0])).decode()}
    assert words(lookup_table(item([3, 0, 8], **apart), False, {})) == [9, 8, 7]


def test_zero_entries_mean_65536_and_the_first_value_may_be_negative() -> None:
    table = lookup_table(item([0, 64512, 16], Value=[1] * 65536), True, {})
    assert table is not None
    assert (len(words(table)), table["first"]) == (65536, -1024)


@pytest.mark.parametrize("wrong", [[], [1, 2], ["a", 0, 8], [3, 0, 0], [3, 0, 33]])
def test_no_table_without_a_descriptor(wrong: list[Any]) -> None:
    assert lookup_table(item(wrong, Value=[1, 2, 3]), False, {}) is None
    assert lookup_table(item([3, 0, 8], InlineBinary="%"), False, {}) is None
    assert lookup_table(item([3, 0, 8], BulkDataURI="elsewhere"), False, {}) is None


def segmented(*segments: list[int], count: int = 8) -> dict[str, Any]:
    data = struct.pack(f"<{sum(map(len, segments))}H", *(word for segment in segments for word in segment))
    inline = {"vr": "OW", "InlineBinary": base64.b64encode(data).decode()}
    descriptor = {"vr": "US", "Value": [count, 0, 16]}
    return {f"0028110{n}": descriptor for n in (1, 2, 3)} | {f"0028122{n}": inline for n in (1, 2, 3)}


def test_segments() -> None:
    members = segmented([0, 2, 100, 200], [1, 4, 600], [0, 2, 7, 9])
    assert words(palette(members, False, {})[0]) == [100, 200, 300, 400, 500, 600, 7, 9]
    again = segmented([0, 1, 10], [1, 3, 40], [2, 2, 0, 0], count=8)  # repeats both, from word 0
    assert words(palette(again, False, {})[2]) == [10, 20, 30, 40, 10, 20, 30, 40]
    by_bytes = segmented([0, 2, 5, 6], [0, 1, 10], [1, 2, 40], [2, 2, 8, 0], count=8)  # from byte 8, as PS3.3 counts
    assert words(palette(by_bytes, False, {})[1]) == [5, 6, 10, 25, 40, 10, 25, 40]


@pytest.mark.parametrize(
    "segments",
    [
        ([1, 8, 5],),  # no value to begin from
        ([0, 3, 1, 2, 3],),  # too few entries
        ([0, 1, 1], [7, 7, 7]),  # no such kind
        ([0, 1, 1], [2, 1, 0, 0], [2, 2, 0, 0]),  # repeats an indirect one
        ([0, 1, 1], [2, 1, 99, 99]),  # repeats what is not there
        ([0, 1, 1], [2, 1]),
        ([0, 2, 1, 1], [1, 65535, 9]),  # more than a table may have
    ],
)
def test_senseless_segments_are_refused(segments: tuple[list[int], ...]) -> None:
    with pytest.raises(Undecodable):
        palette(segmented(*segments, count=0), False, {})


def test_an_image_without_its_palette_is_refused() -> None:
    with pytest.raises(Undecodable):
        palette({}, False, {})
