"""Metadata with bulk data parts (PS3.18 10.5.1) to Part 10 files. For each part of the body: `part(media type,
parameters, Content-Location)`, `data(chunk)` any number of times, `end()`; then `instances()` gives, for each data set
of the metadata in its order, an `Assembled`: its UIDs and the chunks of its file, or why there is none; `close` ends.
Metadata stay in memory (bounded), bulk parts go to one nameless file in `spool`. All calls block; `instances()` and the
chunks long enough for a thread. Several parts at one Content-Location are the frames of Pixel Data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urljoin

from app.archive import pixel_parts
from app.archive.pixel_parts import Part
from app.archive.spool import Spool
from app.dicom import encode, json_model, xml_model
from app.dicom.image_pixel import require_native, value
from app.dicom.json_model import DataSet, Element, Parsed, Span
from app.dicom.limits import Limits
from app.dicom.transfer_syntaxes import EXPLICIT_LE
from app.errors import BadRequest, BlobStoreFailed, LimitExceeded, Refused, Unreadable

DICOM_JSON = "application/dicom+json"
DICOM_XML = "application/dicom+xml"
ENCAPSULATED_DOCUMENT = 0x00420011
MIME_TYPE = 0x00420012
DOCUMENT_LENGTH = 0x00420015
_CHUNK = 1 << 20


class Assembled(NamedTuple):
    """One instance. The UIDs are as the metadata give them, empty when they do not; `content` are the chunks of its
    file, readable until `Assembly.close`, or the refusal."""

    sop_class: str
    sop_instance: str
    content: Iterator[bytes] | Refused


class Assembly:
    """The parts of one request. `base` is the address of the request, for relative references."""

    def __init__(self, limits: Limits, spool: Path, base: str = "") -> None:
        self._limits = limits
        self._base = base
        self._spool = Spool(spool)
        self._metadata: list[tuple[str, bytearray]] = []
        self._metadata_length = 0
        self._parts: dict[str, list[Part]] = {}
        self._open: Part | bytearray | None = None

    def __enter__(self) -> Assembly:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def part(self, media_type: str, parameters: Mapping[str, str], location: str) -> None:
        """A part begins. Raises `BadRequest` for a bulk data part without Content-Location."""
        if media_type in (DICOM_JSON, DICOM_XML):
            document = bytearray()
            self._metadata.append((media_type, document))
            self._open = document
            return
        if not location:
            raise BadRequest("a bulk data part has no Content-Location")
        self._open = Part(media_type, parameters.get("transfer-syntax", ""), self._spool.length, 0)
        self._parts.setdefault(self._address(location), []).append(self._open)

    def data(self, chunk: bytes) -> None:
        """More of the open part. Raises `LimitExceeded`, `StorageFull` or `BlobStoreFailed`."""
        if isinstance(self._open, bytearray):
            self._metadata_length += len(chunk)
            if self._metadata_length > self._limits.json_metadata:
                limit = self._limits.json_metadata
                raise LimitExceeded("json_metadata", f"the metadata has more than {limit} bytes")
            self._open += chunk
        elif self._open is not None:
            self._spool.write(chunk)
            self._open.length += len(chunk)

    def end(self) -> None:
        """The open part is whole."""
        self._open = None

    def instances(self) -> Iterator[Assembled]:
        """The instances of all metadata parts. Raises `BadRequest` or `LimitExceeded` when there are none or their
        documents cannot be read at all."""
        if not self._metadata:
            raise BadRequest(f"no part of the body is {DICOM_JSON} or {DICOM_XML}")
        found = False
        while self._metadata:
            for parsed in self._parse(*self._metadata.pop(0)):
                found = True
                yield self._assemble(parsed)
        if not found:
            raise BadRequest("the metadata hold no data set")

    def close(self) -> None:
        """Frees the spooled bytes."""
        self._spool.close()

    def _address(self, reference: str) -> str:
        try:
            return urljoin(self._base, reference)
        except ValueError:
            return reference

    def _parse(self, media_type: str, document: bytearray) -> list[Parsed | Refused]:
        if media_type == DICOM_JSON:
            return json_model.parse(document, self._limits)
        try:
            return [json_model.parse_object(xml_model.from_xml(document, self._limits), self._limits)]
        except Refused as refused:
            return [refused]

    def _assemble(self, parsed: Parsed | Refused) -> Assembled:
        if isinstance(parsed, Refused):
            return Assembled("", "", parsed)
        data_set = parsed.data_set
        uids = [str(value(data_set, tag) or "") for tag in (encode.SOP_CLASS_UID, encode.SOP_INSTANCE_UID)]
        try:
            syntax = self._resolve(parsed)
            segments = encode.part10(data_set, syntax)
        except Refused as refused:
            return Assembled(uids[0], uids[1], refused)
        return Assembled(uids[0], uids[1], self._chunks(segments))

    def _resolve(self, parsed: Parsed) -> str:
        """Gives every referenced element its bytes; the transfer syntax of the file."""
        syntax = EXPLICIT_LE
        for path, element in parsed.references:
            parts = self._parts.get(self._address(element.uri or ""))
            if parts is None:
                raise Unreadable(f"no part of the body is the bulk data of {path}")
            element.uri = None
            if element is parsed.data_set.get(encode.PIXEL_DATA):
                syntax = pixel_parts.place(parsed.data_set, element, parts, self._spool)
            elif len(parts) > 1:
                raise Unreadable(f"{len(parts)} parts of the body are the bulk data of {path}")
            else:
                element.bulk = (Span(parts[0].offset, parts[0].length),)
                if element is parsed.data_set.get(ENCAPSULATED_DOCUMENT):
                    _describe_document(parsed.data_set, parts[0])
        inline = parsed.data_set.get(encode.PIXEL_DATA)
        if inline is not None and inline.binary is not None:
            inline.vr = require_native(parsed.data_set, inline.vr, len(inline.binary))
        return syntax

    def _chunks(self, segments: list[encode.Segment]) -> Iterator[bytes]:
        """The bytes of the file, small pieces gathered."""
        gathered = bytearray()
        for piece in self._pieces(segments):
            if len(gathered) + len(piece) > _CHUNK:
                yield bytes(gathered)
                gathered.clear()
            gathered += piece
        yield bytes(gathered)

    def _pieces(self, segments: list[encode.Segment]) -> Iterator[bytes]:
        for segment in segments:
            if isinstance(segment, bytes):
                yield segment
                continue
            offset, end = segment.offset, segment.offset + segment.length
            while offset < end:
                piece = self._spool.read(offset, min(_CHUNK, end - offset))
                if not piece:
                    raise BlobStoreFailed("the bulk data of the request could not be read again")
                offset += len(piece)
                yield piece


def _describe_document(data_set: DataSet, part: Part) -> None:
    """MIME type and length of an encapsulated document (PS3.3 C.24.2), when the metadata lack them."""
    if not value(data_set, MIME_TYPE):
        data_set[MIME_TYPE] = Element("LO", [part.media_type])
    data_set[DOCUMENT_LENGTH] = Element("UL", [part.length])
