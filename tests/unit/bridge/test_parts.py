"""multipart/related answers: any parts, cut into any chunks, come out as they went in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import zip_longest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ArchiveUnreachable
from dimse_bridge.archive_client.parts import Part, parts_of


class Body:
    """An answer that has come already."""

    def __init__(self, chunks: Sequence[bytes], content_type: bytes) -> None:
        self.headers = {b"content-type": content_type}
        self.closed = False
        self._chunks = chunks

    async def chunks(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk

    def close(self) -> None:
        self.closed = True


BOUNDARY = b"b0"
KIND = b'multipart/related; type="application/dicom"; boundary="b0"'
NEAR_MISSES = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n--", b"\r\n--b", b"--b0", b"x", b"\r\n--b1"]), max_size=8)


def encoded(contents: Sequence[bytes], told: Sequence[int | None] = ()) -> bytes:
    """A body of these parts; `told` are the lengths that their heads tell."""
    parts = b""
    for content, length in zip_longest(contents, told[: len(contents)]):
        head = b"" if length is None else b"Content-Length: %d\r\n" % length
        parts += b"\r\n--b0\r\nContent-Type: application/dicom\r\n%bContent-Location: /x\r\n\r\n" % head + content
    return parts[2:] + b"\r\n--b0--\r\n"


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    at = sorted({place % len(body) for place in places})
    return [body[a:b] for a, b in zip([0, *at], [*at, len(body)], strict=True) if b > a]


CONTENT = NEAR_MISSES.map(b"".join).filter(lambda content: b"\r\n--b0" not in content)


@given(st.lists(CONTENT, min_size=1, max_size=4), st.lists(st.integers(0, 10_000), max_size=30))
async def test_parts_come_out_as_they_went_in(contents: list[bytes], places: list[int]) -> None:
    answer = Body(cut(b"preamble\r\n" + encoded(contents), places), KIND)
    assert await read_all(answer, 1 << 20) == contents


@given(st.lists(CONTENT, min_size=1, max_size=4), st.lists(st.integers(0, 10_000), max_size=30), st.data())
async def test_told_lengths_are_at_least_no_harm(contents: list[bytes], places: list[int], data: st.DataObject) -> None:
    lengths = [data.draw(st.none() | st.integers(0, len(content))) for content in contents]
    answer = Body(cut(b"preamble\r\n" + encoded(contents, lengths), places), KIND)
    assert await read_all(answer, 1 << 20) == contents


async def test_a_content_of_told_length_is_not_searched() -> None:
    content = b"x\r\n--b0--\r\nx"
    answer = Body(cut(encoded([content, b"y"], [len(content), 1]), range(0, 300, 7)), KIND)
    assert await read_all(answer, 1 << 20) == [content, b"y"]


@pytest.mark.parametrize("length", [6, 10**9, 10**17])
async def test_a_part_that_is_shorter_than_it_says_is_an_error(length: int) -> None:
    with pytest.raises(ArchiveUnreachable):
        await read_all(Body([encoded([b"five!"], [length])], KIND), 1 << 20)


async def read_all(answer: Body, limit: int) -> list[bytes]:
    found = []
    async for part in parts_of(answer):  # type: ignore[arg-type]
        assert part.content_type == "application/dicom"
        assert part.headers[b"content-location"] == b"/x"
        found.append(await part.read(limit))
    return found


@given(st.integers(0, 200), st.lists(st.integers(0, 10_000), max_size=10))
async def test_what_ends_early_is_told(length: int, places: list[int]) -> None:
    body = encoded([b"one", b"two\r\n--b"])
    length %= len(body) - len(b"--\r\n")
    answer = Body(cut(body[:length], places) if length else [], KIND)
    with pytest.raises(ArchiveUnreachable):
        await read_all(answer, 1 << 20)


async def test_parts_that_are_not_read_are_passed_over() -> None:
    answer = Body(cut(encoded([b"a" * 100, b"b" * 100, b"c"]), range(0, 300, 7)), KIND)
    found = [(at, await part.read(9)) async for at, part in numbered(answer) if at == 2]
    assert found == [(2, b"c")]


async def numbered(answer: Body) -> AsyncIterator[tuple[int, Part]]:
    at = 0
    async for part in parts_of(answer):  # type: ignore[arg-type]
        yield at, part
        at += 1


async def test_a_part_that_is_too_long_is_an_error() -> None:
    answer = Body([encoded([b"a" * 100])], KIND)
    with pytest.raises(ArchiveUnreachable, match="too long"):
        await read_all(answer, 99)


async def test_an_answer_that_is_not_multipart_is_one_part() -> None:
    answer = Body([b"one", b"file"], b"application/dicom; transfer-syntax=1.2.840.10008.1.2.1")
    parts = [(part.content_type, await part.read(100)) async for part in parts_of(answer)]  # type: ignore[arg-type]
    assert parts == [("application/dicom; transfer-syntax=1.2.840.10008.1.2.1", b"onefile")]


async def test_a_multipart_answer_without_boundary_is_an_error() -> None:
    answer = Body([b"x"], b"multipart/related")
    with pytest.raises(ArchiveUnreachable):
        async for _ in parts_of(answer):  # type: ignore[arg-type]
            pass
    assert answer.closed


async def test_whoever_stops_early_closes_the_connection() -> None:
    answer = Body([encoded([b"a", b"b"])], KIND)
    parts = parts_of(answer)  # type: ignore[arg-type]
    await anext(parts)
    await parts.aclose()
    assert answer.closed
