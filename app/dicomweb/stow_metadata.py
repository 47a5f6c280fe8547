"""Store of metadata with bulk data parts (PS3.18 10.5.1, Table 10.5.2-1): made into files that take the usual way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from fastapi import Request

from app.archive.assemble import Assembled, Assembly
from app.archive.receipts import Receipt
from app.archive.store import Storekeeper
from app.dicom.status import outcome_of
from app.dicomweb import addresses
from app.dicomweb.multipart import ContentType, MultipartReader, boundary_of, parse_content_type
from app.dicomweb.stow_body import body_chunks, policy_of
from app.errors import FileroomError

_BULK = "application/octet-stream"


async def store_metadata(
    request: Request, keeper: Storekeeper, study: str | None, content_type: ContentType
) -> list[Receipt]:
    """Stores the instances that the metadata and bulk data parts of the body describe."""
    context = keeper.context
    reader = MultipartReader(boundary_of(content_type), context.limits)
    assembly = await asyncio.to_thread(Assembly, context.limits, context.spool, addresses.resource(request))
    try:
        async for chunk in body_chunks(request, context.limits):
            for event in reader.feed(chunk):
                if event[0] == "data":
                    await asyncio.to_thread(assembly.data, event[1])
                elif event[0] == "part":
                    _begin(assembly, event[1])
                else:
                    assembly.end()
        reader.finish()
        instances = assembly.instances()
        receipts = []
        while (assembled := await asyncio.to_thread(next, instances, None)) is not None:
            receipts.append(await _store(keeper, study, policy_of(request), assembled))
        return receipts
    finally:
        await asyncio.to_thread(assembly.close)


def _begin(assembly: Assembly, headers: dict[bytes, bytes]) -> None:
    media = parse_content_type(headers.get(b"content-type", _BULK.encode()).decode("latin-1"))
    assembly.part(media.type, media.params, headers.get(b"content-location", b"").decode("latin-1"))


async def _store(keeper: Storekeeper, study: str | None, policy: str, assembled: Assembled) -> Receipt:
    if isinstance(assembled.content, FileroomError):
        return _refused(assembled, assembled.content)
    reception = await keeper.receive(study, policy)
    try:
        while (chunk := await asyncio.to_thread(_next, assembled.content)) is not None:
            await reception.write(chunk)
    except FileroomError as error:
        await reception.abandon()
        return _refused(assembled, error)
    return await reception.finish()


def _next(chunks: Iterator[bytes]) -> bytes | None:
    return next(chunks, None)


def _refused(assembled: Assembled, error: FileroomError) -> Receipt:
    return Receipt(outcome_of(error), assembled.sop_class, assembled.sop_instance, comment=error.detail)
