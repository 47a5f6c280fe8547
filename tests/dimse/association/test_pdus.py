"""The reader of PDUs: the same whatever the pieces in which bytes come; what cannot be ends it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimse_bridge.association.pdus import (
    ABORT,
    ASSOCIATE_RQ,
    MAX_ASSOCIATION_PDU,
    P_DATA_TF,
    SLACK,
    PDUReader,
    abort_bytes,
    p_data_head,
)

LIMIT = 16384


class Told:
    """What a reader told, with the pieces of a value put together."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []
        self._value = b""

    def on_p_data(self) -> None:
        self.events.append(("p-data",))

    def on_fragment(self, context_id: int, control: int, value: bytes, ends: bool) -> None:
        self._value += value
        if ends:
            self.events.append((context_id, control, self._value))
            self._value = b""

    def on_pdu(self, kind: int, body: bytes) -> None:
        self.events.append(("pdu", kind, body))

    def on_invalid(self, reason: int, cause: str) -> None:
        self.events.append(("invalid", reason))


def read(data: bytes, cuts: list[int] | None = None) -> list[tuple[object, ...]]:
    """What a reader tells of `data`, given in pieces that end at `cuts`."""
    told = Told()
    reader = PDUReader(told, LIMIT)
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts or []), len(data)]
    for start, stop in pairwise(bounds):
        if not reader.stopped:
            reader.feed(data[start:stop])
    return told.events


def pdu(kind: int, body: bytes) -> bytes:
    """A PDU."""
    return bytes((kind, 0)) + len(body).to_bytes(4, "big") + body


def pdv(context_id: int, control: int, value: bytes) -> bytes:
    """A PDV item."""
    return (len(value) + 2).to_bytes(4, "big") + bytes((context_id, control)) + value


pdvs = st.builds(pdv, st.integers(0, 255), st.integers(0, 255), st.binary(max_size=60))
pdus = st.one_of(
    st.lists(pdvs, min_size=1, max_size=4).map(lambda items: pdu(P_DATA_TF, b"".join(items))),
    st.builds(pdu, st.sampled_from([1, 2, 3, 5, 6, 7]), st.binary(min_size=4, max_size=60)),
)


@given(st.lists(pdus, max_size=5), st.lists(st.integers(0, 2000), max_size=8))
def test_pieces_do_not_matter(sent: list[bytes], cuts: list[int]) -> None:
    data = b"".join(sent)
    assert read(data, cuts) == read(data)
    assert ("invalid", 6) not in read(data)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_any_bytes_are_told_the_same_in_any_pieces(data: bytes, cuts: list[int]) -> None:
    assert read(data, cuts) == read(data)


def test_several_values_in_one_pdu_are_told_one_by_one() -> None:
    data = pdu(P_DATA_TF, pdv(1, 3, b"command") + pdv(1, 0, b"") + pdv(1, 2, b"data!"))
    assert read(data) == [("p-data",), (1, 3, b"command"), (1, 0, b""), (1, 2, b"data!")]


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"\x04\0" + (LIMIT + SLACK + 1).to_bytes(4, "big"), 6),
        (b"\x04\0\xff\xff\xff\xff", 6),
        (b"\x04\0\0\0\0\x05", 6),
        (b"\x01\0" + (MAX_ASSOCIATION_PDU + 1).to_bytes(4, "big"), 6),
        (b"\x07\0\xff\xff\xff\xff", 6),
        (b"\x05\0\0\0\0\0", 6),
        (b"\x00\0\0\0\0\x04", 1),
        (b"\x08\0\0\0\0\x04", 1),
        (b"GET / ", 1),
        (p_data_head(1, 0, 100)[:6] + b"\0\0\0\x01\x01\x00", 6),
        (p_data_head(1, 0, 100)[:6] + b"\0\0\xff\xff\x01\x00", 6),
        (pdu(P_DATA_TF, pdv(1, 0, b"1234") + b"\0\0\0"), 6),
    ],
)
def test_lengths_and_types_that_cannot_be_end_the_reading(head: bytes, reason: int) -> None:
    events = read(head + bytes(100))
    assert events[-1] == ("invalid", reason)
    assert sum(event[0] == "invalid" for event in events) == 1


def test_a_pdu_a_little_longer_than_announced_is_taken() -> None:
    """Peers disagree whether the header counts."""
    value = bytes(LIMIT + SLACK - 6)
    assert read(p_data_head(1, 2, len(value)) + value)[-1] == (1, 2, value)


def test_other_pdus_come_whole() -> None:
    assert read(abort_bytes(2, 6), [1, 5, 7]) == [("pdu", ABORT, b"\0\0\x02\x06")]
    body = bytes(100_000)
    assert read(pdu(ASSOCIATE_RQ, body), [3, 50_000]) == [("pdu", ASSOCIATE_RQ, body)]
