"""Store (PS3.18 10.5): `POST /studies` and `POST /studies/{study}`. Bodies stream into the archive part by part; every
instance gets its own receipt, whatever became of its neighbours."""

from __future__ import annotations

import asyncio
import logging

from fastapi import Request, Response

from app.archive.receipts import Receipt
from app.archive.store import Reception, Storekeeper
from app.dicom.status import STATUSES, Outcome, outcome_of
from app.dicom.uid import require_uid
from app.dicomweb import routes, stow_answer, stow_metadata
from app.dicomweb.multipart import ContentType, MultipartReader, boundary_of, parse_content_type
from app.dicomweb.stow_body import Disconnected, Start, body_chunks, policy_of
from app.errors import BadRequest, FileroomError, UnsupportedMediaType
from app.failpoints import Failpoint, hit

log = logging.getLogger("fileroom.stow")
router = routes.router(tags=["Store (PS3.18 10.5)"])

DICOM = "application/dicom"
METADATA = frozenset(("application/dicom+json", "application/dicom+xml"))
_TAKEN = f"multipart/related of {DICOM}, of application/dicom+json or +xml with bulk data, or one {DICOM} body"


async def store(request: Request) -> Response:
    """Stores the instances of the body; answers which are stored and which are not, and why."""
    keeper: Storekeeper = request.app.state.storekeeper
    study = request.path_params.get("study")
    if study is not None:
        study = require_uid(study, "the Study Instance UID of the resource")
    content_type = _content_type(request)
    keeper.admit()
    try:
        if content_type.type == DICOM:
            receipts = [await _store_single(request, keeper, study)]
        elif content_type.params.get("type", DICOM).lower() in METADATA:
            receipts = await stow_metadata.store_metadata(request, keeper, study, content_type)
        else:
            receipts = await _store_multipart(request, keeper, study, content_type)
    except Disconnected:
        return Response(status_code=STATUSES[Outcome.BAD_REQUEST].http)  # nobody reads it
    for receipt in receipts:
        keeper.context.count_store(receipt.outcome)
    hit(Failpoint.STORE_ANSWERED)
    return stow_answer.answer(request, receipts, study)


def _content_type(request: Request) -> ContentType:
    given = request.headers.get("content-type")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("a Content-Encoding is not accepted on requests")
    if given is None:  # curl -T names none
        return parse_content_type(DICOM)
    content_type = parse_content_type(given)
    if content_type.type not in (DICOM, "multipart/related"):
        raise UnsupportedMediaType(f"Store takes {_TAKEN}; not {content_type.type}")
    if content_type.params.get("type", DICOM).lower() not in (DICOM, *METADATA):
        raise UnsupportedMediaType(f"Store takes {_TAKEN}; not parts of {content_type.params['type']}")
    return content_type


async def _store_single(request: Request, keeper: Storekeeper, study: str | None) -> Receipt:
    reception = await keeper.receive(study, policy_of(request))
    try:
        async for chunk in body_chunks(request, keeper.context.limits):
            await reception.write(chunk)
    except (Disconnected, FileroomError):
        await reception.abandon()
        raise
    return await reception.finish()


class PartsStore:
    """The parts of one multipart request on their way into the archive; they end in their own time."""

    def __init__(self, keeper: Storekeeper, study: str | None, policy: str) -> None:
        self._keeper = keeper
        self._study = study
        self._policy = policy
        self._open: Reception | None = None
        self._refused: Receipt | None = None
        self._endings: list[asyncio.Task[Receipt] | Receipt] = []

    async def begin(self, headers: dict[bytes, bytes]) -> None:
        """A part begins; one that is not DICOM is passed over with a receipt that says so."""
        given = headers.get(b"content-type", DICOM.encode()).decode("latin-1")
        if parse_content_type(given).type == DICOM:
            self._open = await self._keeper.receive(self._study, self._policy)
        else:
            self._refused = Receipt(Outcome.UNSUPPORTED_MEDIA_TYPE, comment=f"a part is not {DICOM}")

    async def write(self, chunk: bytes) -> None:
        """More of the open part."""
        if self._open is not None:
            await self._open.write(chunk)

    def end(self) -> None:
        """The open part is whole."""
        if self._open is not None:
            self._endings.append(asyncio.ensure_future(self._open.finish()))
            self._open = None
        elif self._refused is not None:
            self._endings.append(self._refused)
            self._refused = None

    async def abandon(self) -> None:
        """The open part will never be whole."""
        if self._open is not None:
            await self._open.abandon()
            self._open = None

    async def receipts(self) -> list[Receipt]:
        """The receipts of all whole parts, in their order."""
        tasks = [ending for ending in self._endings if isinstance(ending, asyncio.Task)]
        if tasks:
            await asyncio.wait(tasks)  # which, unlike gather, leaves them alone when this request is cut short
        return [_receipt_of(ending) for ending in self._endings]


def _receipt_of(ending: asyncio.Task[Receipt] | Receipt) -> Receipt:
    """A part that met a bug of ours must not take its neighbours' receipts away."""
    if isinstance(ending, Receipt):
        return ending
    error = ending.exception()
    if error is None:
        return ending.result()
    log.error("a part of a Store request failed", exc_info=error)
    return Receipt(outcome_of(error))


async def _store_multipart(
    request: Request, keeper: Storekeeper, study: str | None, content_type: ContentType
) -> list[Receipt]:
    boundary = boundary_of(content_type)
    start = await Start.of(request)
    only = start.only_part(boundary)
    if only is None or parse_content_type(only[0]).type != DICOM or len(start.chunk) > keeper.context.limits.request:
        return await _store_parts(request, keeper, study, boundary, start)
    reception = await keeper.receive(study, policy_of(request))
    await reception.write(only[1])
    return [await reception.finish()]


async def _store_parts(
    request: Request, keeper: Storekeeper, study: str | None, boundary: bytes, start: Start
) -> list[Receipt]:
    limits = keeper.context.limits
    reader = MultipartReader(boundary, limits)
    parts = PartsStore(keeper, study, policy_of(request))
    failure: FileroomError | None = None
    try:
        async for chunk in body_chunks(request, limits, start):
            for event in reader.feed(chunk):
                if event[0] == "data":
                    await parts.write(event[1])
                elif event[0] == "part":
                    await parts.begin(event[1])
                else:
                    parts.end()
        reader.finish()
    except Disconnected:
        await parts.abandon()
        await parts.receipts()
        raise
    except FileroomError as error:
        await parts.abandon()
        failure = error
    receipts = await parts.receipts()
    if failure is not None:
        if not receipts:
            raise failure
        receipts.append(Receipt(outcome_of(failure), comment=failure.detail))
    if not receipts:
        raise BadRequest("the body holds no instance")
    return receipts


_DESCRIPTION = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/related": {"schema": {"type": "string", "format": "binary"}},
            DICOM: {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "responses": {
        str(code): {"description": text}
        for code, text in (
            (200, "All instances are stored"),
            (202, "Some instances are stored, or stored with warnings"),
            (400, "The request is malformed"),
            (409, "No instance is stored"),
            (413, "Over a limit"),
            (415, "Content-Type not supported"),
            (503, "Try again later"),
            (507, "Out of storage"),
        )
    },
}
router.add_api_route("/studies", store, methods=["POST"], openapi_extra=_DESCRIPTION, name="store")
router.add_api_route("/studies/{study}", store, methods=["POST"], openapi_extra=_DESCRIPTION, name="store_in_study")
