"""Sums do not depend on how the bytes are cut, nor on when the data set is found."""

from __future__ import annotations

import hashlib
import struct
from itertools import pairwise

import xxhash
from hypothesis import given
from hypothesis import strategies as st

from app.blobs.checksum import PIECE, Checks


@given(
    st.integers(0, 3 * PIECE + 5),
    st.lists(st.integers(0, 3 * PIECE + 5), max_size=5),
    st.integers(0, 5000),
    st.integers(0, 4),
)
def test_sums_are_those_of_the_whole(length: int, cuts: list[int], offset: int, known_after: int) -> None:
    content = (b"0123456789abcde" * (length // 15 + 1))[:length]
    checks = Checks()
    places = [0, *sorted(cut for cut in cuts if cut <= length), length]
    for number, (start, stop) in enumerate(pairwise(places)):
        if number >= known_after:
            checks.dataset_offset = offset
        checks.update(content[start:stop])
    checks.dataset_offset = offset
    (digest, digest_meta), pieces = checks.finish()
    assert checks.length == length
    assert digest == hashlib.sha256(content[offset:]).digest()
    assert digest_meta == hashlib.sha256(content[:offset]).digest()
    wanted = [xxhash.xxh3_64_intdigest(content[start : start + PIECE]) for start in range(0, length, PIECE)]
    assert pieces == struct.pack(f"<{len(wanted)}Q", *wanted)


def test_without_a_data_set_all_is_file_meta() -> None:
    checks = Checks()
    checks.update(b"abc")
    assert checks.finish()[0] == (hashlib.sha256(b"").digest(), hashlib.sha256(b"abc").digest())
