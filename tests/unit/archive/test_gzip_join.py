"""Segments compressed apart, joined into one gzip member."""

from __future__ import annotations

import gzip
import zlib

from hypothesis import given
from hypothesis import strategies as st

from app.archive.gzip_join import GzipJoin, join_segments, make_segment


@given(st.lists(st.binary(max_size=5000) | st.integers(0, 200_000).map(lambda size: b"json " * size), max_size=5))
def test_the_member_holds_the_segments_and_literals(texts: list[bytes]) -> None:
    member = GzipJoin()
    out = [member.begin()]
    for text in texts:
        out.append(member.literal(b",") + member.segment(make_segment(text)))
    out.append(member.finish())
    data = b"".join(out)
    assert gzip.decompress(data) == b"".join(b"," + text for text in texts)
    single = zlib.decompressobj(zlib.MAX_WBITS | 16)
    single.decompress(data)
    assert (single.eof, single.unused_data) == (True, b""), "one member, nothing after it"


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=5))
def test_joined_segments_are_a_segment(texts: list[bytes]) -> None:
    joined = join_segments([make_segment(text) for text in texts])
    whole = make_segment(b"".join(texts))
    assert (joined.crc, joined.length, joined.shift) == (whole.crc, whole.length, whole.shift)
    member = GzipJoin()
    assert gzip.decompress(member.begin() + member.segment(joined) + member.finish()) == b"".join(texts)
