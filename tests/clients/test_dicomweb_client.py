"""dicomweb-client, unmodified, stores, searches and retrieves everything that it can ask for."""

from __future__ import annotations

from collections.abc import Sequence

import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import UID

from tests.support.archive import RunningArchive

ROOT = "1.2.826.0.1.3680043.8.498.7333"
STUDY = f"{ROOT}.1"
# one native image, one multi-frame JPEG, one JPEG 2000, one without pixels
FILES = ("CT_small.dcm", "examples_ybr_color.dcm", "JPEG2000.dcm", "test-SR.dcm")
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
CT, US, J2K, SR = range(4)


def take(name: str, number: int) -> Dataset:
    """A file of pydicom's under UIDs of our own, so that other tests are not disturbed."""
    path = get_testdata_file(name)
    assert isinstance(path, str)
    ds = pydicom.dcmread(path)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, f"{STUDY}.{number}"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{STUDY}.{number}.1")
    ds.PatientID = "CLIENT-1"
    return ds


def uids(ds: Dataset) -> tuple[str, str, str]:
    return ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID


@pytest.fixture(scope="module")
def client(archive: RunningArchive) -> DICOMwebClient:
    return DICOMwebClient(archive.root)


@pytest.fixture(scope="module")
def stored(client: DICOMwebClient) -> list[Dataset]:
    """The four instances, as they were stored."""
    instances = [take(name, number) for number, name in enumerate(FILES)]
    answer = client.store_instances(instances)
    assert len(answer.ReferencedSOPSequence) == len(FILES)
    assert "FailedSOPSequence" not in answer
    return instances


def same(received: Sequence[Dataset], sent: Sequence[Dataset]) -> bool:
    """Whether these are the same data sets, in any order."""
    by_uid = {ds.SOPInstanceUID: ds for ds in received}
    return len(received) == len(sent) and all(by_uid[ds.SOPInstanceUID] == ds for ds in sent)


def test_it_finds_studies_series_and_instances(client: DICOMwebClient, stored: list[Dataset]) -> None:
    (study,) = client.search_for_studies(search_filters={"PatientID": "CLIENT-1"}, fields=["StudyDescription"])
    assert study["0020000D"]["Value"] == [STUDY]
    assert len(client.search_for_series(STUDY)) == len(FILES)
    assert len(client.search_for_instances(STUDY, limit=2)) == 2
    (found,) = client.search_for_instances(search_filters={"SOPInstanceUID": stored[CT].SOPInstanceUID})
    assert found["00080016"]["Value"] == [stored[CT].SOPClassUID]


def test_it_pages_through_studies(client: DICOMwebClient, stored: list[Dataset]) -> None:
    everything = client.search_for_instances(STUDY, get_remaining=True, limit=1)
    assert len(everything) == len(FILES)


def test_it_retrieves_studies_series_and_instances(client: DICOMwebClient, stored: list[Dataset]) -> None:
    any_syntax = (("application/dicom", "*"),)
    assert same(client.retrieve_study(STUDY, media_types=any_syntax), stored)
    assert same(client.retrieve_series(STUDY, stored[US].SeriesInstanceUID, media_types=any_syntax), [stored[US]])
    assert client.retrieve_instance(*uids(stored[J2K]), media_types=any_syntax) == stored[J2K]
    assert client.retrieve_instance(*uids(stored[CT])) == stored[CT]


def test_it_retrieves_metadata(client: DICOMwebClient, stored: list[Dataset]) -> None:
    assert len(client.retrieve_study_metadata(STUDY)) == len(FILES)
    assert len(client.retrieve_series_metadata(*uids(stored[SR])[:2])) == 1
    metadata = Dataset.from_json(client.retrieve_instance_metadata(*uids(stored[SR])))
    sent = Dataset.from_json(stored[SR].to_json_dict())
    assert metadata == sent


def test_it_retrieves_frames(client: DICOMwebClient, stored: list[Dataset]) -> None:
    (frame,) = client.retrieve_instance_frames(*uids(stored[CT]), [1])
    assert frame == stored[CT].PixelData
    jpeg = (("image/jpeg", JPEG_BASELINE),)
    frames = client.retrieve_instance_frames(*uids(stored[US]), [1, 30], media_types=jpeg)
    encoded = list(pydicom.encaps.generate_frames(stored[US].PixelData, number_of_frames=30))
    assert [frame.rstrip(b"\0") for frame in frames] == [encoded[number].rstrip(b"\0") for number in (0, 29)]


def test_it_retrieves_bulk_data(client: DICOMwebClient, stored: list[Dataset]) -> None:
    metadata = client.retrieve_instance_metadata(*uids(stored[CT]))
    address = metadata["7FE00010"]["BulkDataURI"]
    assert client.retrieve_bulkdata(address) == [stored[CT].PixelData]


def test_it_deletes(client: DICOMwebClient, stored: list[Dataset]) -> None:
    extra = take("CT_small.dcm", 9)
    extra.StudyInstanceUID = f"{ROOT}.2"
    client.store_instances([extra])
    client.delete_study(extra.StudyInstanceUID)
    assert client.search_for_studies(search_filters={"StudyInstanceUID": extra.StudyInstanceUID}) == []
