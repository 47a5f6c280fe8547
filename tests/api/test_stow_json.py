"""Store of metadata with bulk data parts (PS3.18 10.5.1) over HTTP: what comes back is what was meant."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import orjson
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames

from app.dicom.xml_model import to_xml
from tests.support.archive import RunningArchive
from tests.support.small_files import new_uid

Json = dict[str, Any]
Part = tuple[dict[str, str], bytes]

AS_STORED = {"Accept": "application/dicom; transfer-syntax=*"}


def _body(parts: list[Part], boundary: str = "b") -> bytes:
    lines = []
    for headers, content in parts:
        block = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        lines.append(f"--{boundary}\r\n{block}\r\n".encode() + content + b"\r\n")
    return b"".join(lines) + f"--{boundary}--\r\n".encode()


def _post(archive: RunningArchive, parts: list[Part], kind: str = "json") -> httpx.Response:
    content_type = f'multipart/related; type="application/dicom+{kind}"; boundary=b'
    return httpx.post(
        archive.root + "/studies", content=_body(parts), headers={"Content-Type": content_type}, timeout=30
    )


def _metadata(data_sets: list[Json], kind: str = "json") -> list[Part]:
    if kind == "json":
        return [({"Content-Type": "application/dicom+json"}, orjson.dumps(data_sets))]
    return [({"Content-Type": "application/dicom+xml"}, to_xml(data_set)) for data_set in data_sets]


def _photograph(uri: str = "bulk/1") -> Json:
    return {
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.7"]},
        "00080018": {"vr": "UI", "Value": [new_uid()]},
        "0020000D": {"vr": "UI", "Value": [new_uid()]},
        "0020000E": {"vr": "UI", "Value": [new_uid()]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Sjögren^Åse", "Ideographic": "山田"}]},
        "00080060": {"vr": "CS", "Value": ["OT"]},
        "7FE00010": {"vr": "OB", "BulkDataURI": uri},
    }


def _address(archive: RunningArchive, data_set: Json) -> str:
    study, series, instance = (data_set[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
    return f"{archive.root}/studies/{study}/series/{series}/instances/{instance}"


def _jpeg() -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((31, 17)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["json", "xml"])
def test_photograph_with_a_jpeg(archive: RunningArchive, kind: str) -> None:
    data_set, jpeg = _photograph(), _jpeg()
    bulk = ({"Content-Type": "image/jpeg", "Content-Location": f"{archive.root}/bulk/1"}, jpeg)
    response = _post(archive, [*_metadata([data_set], kind), bulk], kind)
    assert response.status_code == 200, response.text
    stored = httpx.get(_address(archive, data_set), headers=AS_STORED).content
    read = pydicom.dcmread(io.BytesIO(stored))
    assert (read.Rows, read.Columns, read.PhotometricInterpretation) == (17, 31, "MONOCHROME2")
    (frame,) = generate_frames(read.PixelData, number_of_frames=1)
    assert frame[: len(jpeg)] == jpeg
    found = httpx.get(archive.root + "/studies", params={"PatientName": "sjogren^ase"}).json()
    assert data_set["0020000D"]["Value"][0] in [study["0020000D"]["Value"][0] for study in found]


def _bulk_parts(archive: RunningArchive, members: Json) -> Iterator[Part]:
    """Every bulk data that the metadata of a stored instance refer to, read from the archive."""
    for attribute in members.values():
        if attribute["vr"] == "SQ":
            for item in attribute.get("Value", ()):
                yield from _bulk_parts(archive, item)
        elif "BulkDataURI" in attribute:
            answer = httpx.get(attribute["BulkDataURI"], headers={"Accept": "application/octet-stream"})
            assert answer.status_code == 200
            location = {"Content-Type": "application/octet-stream", "Content-Location": attribute["BulkDataURI"]}
            yield location, answer.content


@pytest.mark.parametrize("kind", ["json", "xml"])
@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "waveform_ecg.dcm", "rtplan.dcm", "reportsi.dcm", "examples_palette.dcm"]
)
def test_metadata_and_bulk_data_as_retrieved_can_be_stored_again(archive: RunningArchive, name: str, kind: str) -> None:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    original = pydicom.dcmread(path)
    original.StudyInstanceUID, original.SeriesInstanceUID, original.SOPInstanceUID = new_uid(), new_uid(), new_uid()
    original.file_meta.MediaStorageSOPInstanceUID = original.SOPInstanceUID
    buffer = io.BytesIO()
    original.save_as(buffer)
    first = httpx.post(
        archive.root + "/studies", content=buffer.getvalue(), headers={"Content-Type": "application/dicom"}
    )
    assert first.status_code in (200, 202)
    series = f"{archive.root}/studies/{original.StudyInstanceUID}/series/{original.SeriesInstanceUID}"
    (members,) = httpx.get(f"{series}/instances/{original.SOPInstanceUID}/metadata").json()
    parts = list(_bulk_parts(archive, members))
    members["00080018"]["Value"] = [new_uid()]
    response = _post(archive, [*_metadata([members], kind), *parts], kind)
    assert response.status_code in (200, 202), response.text
    assert len(response.json()["00081199"]["Value"]) == 1
    again = pydicom.dcmread(io.BytesIO(httpx.get(_address(archive, members), headers=AS_STORED).content))
    if "PixelData" in original:
        assert np.array_equal(again.pixel_array, original.pixel_array)
    if "WaveformSequence" in original:
        assert again.WaveformSequence[0].WaveformData == original.WaveformSequence[0].WaveformData
    (twin,) = httpx.get(_address(archive, members) + "/metadata").json()
    for tag in ("00080005", "00080018"):
        members.pop(tag, None)
        twin.pop(tag, None)
    assert _normal(twin) == _normal(members)


def _normal(members: Json) -> Json:
    result = {}
    for tag, attribute in members.items():
        values = attribute.get("Value", [])
        if attribute["vr"] == "SQ":
            values = [_normal(item) for item in values]
        elif attribute["vr"] == "PN":  # empty components at the end have no place in XML
            values = [{group: name.rstrip("^") for group, name in value.items()} for value in values]
        result[tag] = (attribute["vr"], values, "BulkDataURI" in attribute, attribute.get("InlineBinary"))
    return result


def test_G05_an_instance_without_its_bulk_data_fails_alone(archive: RunningArchive) -> None:
    good, bad = _photograph("good"), _photograph("bad")
    bulk = ({"Content-Type": "image/jpeg", "Content-Location": "good"}, _jpeg())
    response = _post(archive, [*_metadata([bad, good]), bulk])
    assert response.status_code == 202
    answer = response.json()
    assert [item["00081155"]["Value"] for item in answer["00081199"]["Value"]] == [good["00080018"]["Value"]]
    (failed,) = answer["00081198"]["Value"]
    assert failed["00081155"]["Value"] == bad["00080018"]["Value"]
    assert "7FE00010" in failed["00000902"]["Value"][0]
    assert httpx.get(_address(archive, bad), headers=AS_STORED).status_code == 404


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([], 400),
        ([({"Content-Type": "application/dicom+json"}, b"[{")], 400),
        ([({"Content-Type": "application/dicom+json"}, b"[]")], 400),
        ([({"Content-Type": "application/dicom+json"}, b"[{}]")], 409),
        ([({"Content-Type": "image/jpeg", "Content-Location": "x"}, b"x")], 400),
        ([({"Content-Type": "image/jpeg"}, b"x")], 400),
        ([({"Content-Type": "application/dicom+json"}, b'[{"x":1}]')], 409),
    ],
)
def test_refusals(archive: RunningArchive, parts: list[Part], status: int) -> None:
    assert _post(archive, parts).status_code == status


def test_xml_with_an_entity_is_refused(archive: RunningArchive) -> None:
    document = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><NativeDicomModel>&x;</NativeDicomModel>'
    response = _post(archive, [({"Content-Type": "application/dicom+xml"}, document)], "xml")
    assert response.status_code in (400, 409)
