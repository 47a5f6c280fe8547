"""Whole files of instances, as stored or in another transfer syntax, one after the other. The next file is read while
one is being sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from app.archive import transcode
from app.archive.context import Context
from app.archive.frames import PieceCache
from app.archive.retrieve import Instance, Pieces, read, read_piece
from app.archive.zip_stream import ZipStream
from app.blobs.checksum import PIECE
from app.dicom.octets import Piece

PREAMBLE = 128
"""Bytes before `DICM` (PS3.10 7.1)."""


class Chosen(NamedTuple):
    """An instance to send, and the transfer syntax in which it leaves: its own or another."""

    instance: Instance
    syntax: str

    @property
    def converts(self) -> bool:
        """Whether it does not leave as stored."""
        return self.syntax != self.instance.transfer_syntax


async def read_file(context: Context, cache: PieceCache, chosen: Chosen) -> Pieces:
    """One file, its preamble blanked when the settings say so."""
    instance = chosen.instance
    if chosen.converts:
        source = transcode.pieces(context, cache, instance, chosen.syntax)
    else:
        source = read(context, instance, 0, instance.length)
    blank = context.blank_preamble and instance.dataset_offset > PREAMBLE
    async with aclosing(source):
        async for piece in source:
            if blank:
                yield bytes(PREAMBLE)
                piece, blank = memoryview(piece)[PREAMBLE:], False
            yield piece


async def read_files(
    context: Context, cache: PieceCache, chosen: Sequence[Chosen]
) -> AsyncGenerator[tuple[int, Piece], None]:
    """The files one after the other: (which of `chosen`, its next piece). A small one is read while the one before is
    being sent."""
    following: asyncio.Task[list[Piece]] | None = None
    try:
        for at, one in enumerate(chosen):
            current, following = following or _begin(context, cache, one), None
            if at + 1 < len(chosen):
                following = _begin(context, cache, chosen[at + 1])
            if current is not None:
                for piece in await current:
                    yield at, piece
            else:
                async with aclosing(read_file(context, cache, one)) as pieces:
                    async for piece in pieces:
                        yield at, piece
    finally:
        if following is not None:
            following.cancel()


def _begin(context: Context, cache: PieceCache, one: Chosen) -> asyncio.Task[list[Piece]] | None:
    return asyncio.ensure_future(read_small(context, cache, one)) if is_small(context, one) else None


def is_small(context: Context, one: Chosen) -> bool:
    """Whether the file is read, or made, at once."""
    if one.instance.length > PIECE or context.blank_preamble:
        return False
    return not one.converts or one.instance.frame_count <= 1


async def read_small(context: Context, cache: PieceCache, one: Chosen) -> list[Piece]:
    """The whole of a small file."""
    if one.converts:
        return [piece async for piece in read_file(context, cache, one)]
    return [await read_piece(context, one.instance, 0)]


async def read_zip(context: Context, cache: PieceCache, chosen: Sequence[Chosen]) -> Pieces:
    """The files as a ZIP file, named `<study>/<series>/<SOP Instance>.dcm`."""
    archive = ZipStream()
    last = -1
    async for at, piece in read_files(context, cache, chosen):
        if at != last:
            last, instance = at, chosen[at].instance
            yield archive.begin(f"{instance.study}/{instance.series}/{instance.sop}.dcm")
        archive.count(piece)
        yield piece
    yield archive.finish()
