"""The multipart reader under any bytes and any chunking."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.dicom.limits import Limits
from app.dicomweb.multipart import Event, MultipartReader
from app.errors import Refused

SMALL = Limits(multipart_preamble=40, part_header=60, parts=4, part=60)
_TOKENS = (
    b"\r",
    b"\n",
    b"\r\n",
    b"-",
    b"--",
    b"B",
    b"--B",
    b"\r\n--B",
    b"\r\n--B\r\n",
    b"\r\n--B--",
    b" ",
    b":",
    b"a: b",
)
_soup = st.lists(st.sampled_from(_TOKENS) | st.binary(max_size=4), max_size=20).map(b"".join)
_bodies = _soup | st.tuples(st.just(b"--B\r\nA: b\r\n\r\n"), _soup, st.just(b"\r\n--B--")).map(b"".join)
_sizes = st.lists(st.integers(1, 9), min_size=1, max_size=40)


def _read(body: bytes, sizes: list[int], limits: Limits = SMALL) -> tuple[list[Event], str]:
    """All events with neighbouring data joined, and how it ended."""
    reader, events, position, turn = MultipartReader(b"B", limits), list[Event](), 0, 0
    try:
        while position < len(body):
            size = sizes[turn % len(sizes)]
            for event in reader.feed(body[position : position + size]):
                last = events[-1] if events else None
                if event[0] == "data" and last is not None and last[0] == "data":
                    events[-1] = ("data", last[1] + event[1])
                else:
                    events.append(event)
            position, turn = position + size, turn + 1
        reader.finish()
    except Refused as fault:
        return events, type(fault).__name__
    return events, "whole"


@given(_bodies, _sizes)
@settings(deadline=None)
def test_any_chunking_gives_the_same_events(body: bytes, sizes: list[int]) -> None:
    assert _read(body, sizes) == _read(body, [len(body) or 1])


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_give_events_or_a_refusal(body: bytes) -> None:
    _read(body, [7])


@given(st.lists(st.binary(max_size=80).filter(lambda data: b"--B" not in data), min_size=1, max_size=5), _sizes)
@settings(deadline=None)
def test_what_was_put_together_comes_apart(parts: list[bytes], sizes: list[int]) -> None:
    body = b"".join(b"--B\r\nContent-Type: a/b\r\n\r\n%s\r\n" % part for part in parts) + b"--B--\r\n"
    events, ending = _read(body, sizes, Limits())
    assert ending == "whole"
    expected: list[Event] = []
    for part in parts:
        expected.append(("part", {b"content-type": b"a/b"}))
        expected += [("data", part)] if part else []
        expected.append(("end",))
    assert events == expected
    for cut in range(1, len(b"\r\n--B--\r\n")):
        if not body[:-cut].endswith(b"--B--"):
            continue
        assert _read(body[:-cut], sizes, Limits())[1] == "whole"
    assert _read(body[: -len(b"-\r\n")], sizes, Limits())[1] == "BadRequest"


@pytest.mark.parametrize("cut", range(1, 40))
def test_every_truncation_is_refused(cut: int) -> None:
    body = b"--B\r\nContent-Type: a/b\r\n\r\nsome data\r\n--B--"
    assert _read(body[:-cut], [5], Limits())[1] == "BadRequest"
