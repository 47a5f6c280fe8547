"""An archive's retrieve door in process, with instances put in by the store's own parts: no HTTP server, no STOW."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from app.archive.context import Context
from app.archive.row import make_row
from app.blobs.checksum import Checks
from app.blobs.keys import make_key, new_version
from app.blobs.local import LocalBlobStore
from app.catalog.engine import Catalog
from app.catalog.instances import InstanceTable
from app.dicom.header import Header
from app.dicom.part10 import HeaderReader
from app.dicomweb import faults, wado
from app.errors import FileroomError
from app.settings import Settings

ROOT = "/dicom-web"


@dataclass
class Door:
    """A client of the retrieve resources, and the context behind them."""

    client: httpx.AsyncClient
    context: Context
    app: FastAPI
    folder: Path

    async def put(self, data: bytes) -> Header:
        """Stores one file, as the archive's store does."""
        return await put(self.context, data)

    async def get(self, path: str, accept: str | None = None, **headers: str) -> httpx.Response:
        """GET below the DICOMweb root; keywords are header names with `_` for `-`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {"accept": accept} if accept is not None else {}
        return await self.client.get(ROOT + path, headers=sent)


async def put(context: Context, data: bytes) -> Header:
    """Writes the blob, then commits the row."""
    reader = HeaderReader(context.limits)
    checks = Checks()
    for start in range(0, len(data), 65536):
        chunk = data[start : start + 65536]
        reader.feed(chunk)
        checks.dataset_offset = reader.dataset_offset
        checks.update(chunk)
    header = reader.finish()
    checks.dataset_offset = header.dataset_offset
    version = new_version()
    writer = context.blobs.create(make_key(header.study, header.series, header.sop_instance, version))
    await writer.write(data)
    await writer.close()
    await context.blobs.sync([writer], [])
    digests, sums = checks.finish()
    row = make_row(header, version, len(data), digests, sums)
    await InstanceTable(context.catalog).commit([row], "replace")
    return header


@asynccontextmanager
async def open_door(database_url: str, folder: Path, **settings: Any) -> AsyncIterator[Door]:
    """The door on a database and a blob folder."""
    catalog = Catalog(database_url)
    context = Context(catalog, LocalBlobStore(folder), blank_preamble=settings.get("blank_preamble", False))
    app = FastAPI()
    app.state.context = context
    app.state.settings = Settings(**settings)
    app.add_exception_handler(FileroomError, faults.answer_fault)
    app.include_router(wado.router, prefix=ROOT)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://archive.test") as client:
        yield Door(client, context, app, folder)
    context.codecs.close()
    await catalog.close()
    context.derived.close()
    context.blobs.close()


def sample(name: str) -> bytes:
    """A file of pydicom's own test data."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path).read_bytes()


def encode(data_set: Dataset, syntax: str = ExplicitVRLittleEndian, preamble: bytes = b"") -> bytes:
    """A whole file of `data_set`."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID = data_set.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    data_set.file_meta = meta
    if preamble:
        data_set.preamble = preamble
    out = io.BytesIO()
    data_set.save_as(out, enforce_file_format=True)
    return out.getvalue()


def image(
    rows: int = 16, columns: int = 16, frames: int = 1, bits: int = 16, study: str = "", series: str = ""
) -> Dataset:
    """A small multi-frame image of known bytes: byte n of the pixel data is n modulo 251."""
    data_set = Dataset()
    data_set.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.3" if bits > 1 else "1.2.840.10008.5.1.4.1.1.7.1"
    data_set.SOPInstanceUID = generate_uid()
    data_set.StudyInstanceUID = study or generate_uid()
    data_set.SeriesInstanceUID = series or generate_uid()
    data_set.PatientName = "Test^Retrieve"
    data_set.PatientID = "R1"
    data_set.Modality = "OT"
    data_set.InstanceNumber = 1
    data_set.SamplesPerPixel = 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    data_set.NumberOfFrames = frames
    data_set.Rows, data_set.Columns = rows, columns
    data_set.BitsAllocated = data_set.BitsStored = bits
    data_set.HighBit = bits - 1
    data_set.PixelRepresentation = 0
    size = (rows * columns * frames * bits + 7) // 8
    value = bytes(at % 251 for at in range(size))
    data_set.add_new(0x7FE00010, "OW" if bits == 16 else "OB", value + b"\0" * (size % 2))
    return data_set


def reencode(data_set: Dataset, syntax: str) -> bytes:
    """The file in another native transfer syntax; words of binary values keep their bytes."""
    data_set = dcmread(io.BytesIO(encode(data_set)))
    data_set.file_meta.TransferSyntaxUID = UID(syntax)
    out = DicomBytesIO()
    out.is_implicit_VR = syntax == ImplicitVRLittleEndian
    out.is_little_endian = syntax != ExplicitVRBigEndian
    data_set.decode()
    write_dataset(out, data_set)
    meta = DicomBytesIO()
    write_file_meta_info(meta, data_set.file_meta)
    return bytes(128) + b"DICM" + meta.getvalue() + out.getvalue()


def data_set_of(data: bytes) -> Dataset:
    """A file read by pydicom."""
    return dcmread(io.BytesIO(data))


def split_parts(response: httpx.Response) -> list[tuple[dict[str, str], bytes]]:
    """(headers with their spelling kept, content) of each part; cut strictly at the delimiters."""
    kind = response.headers["content-type"]
    boundary = kind.partition("boundary=")[2].partition(";")[0].strip('"').encode()
    pieces = response.content.split(b"--" + boundary)
    assert [pieces[0], pieces[-1]] == [b"", b"--\r\n"], "the first and the last delimiter"
    found = []
    for piece in pieces[1:-1]:
        assert [piece[:2], piece[-2:]] == [b"\r\n", b"\r\n"]
        head, _, content = piece[2:-2].partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        found.append((headers, content))
    return found
