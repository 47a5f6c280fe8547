"""Search finds what was stored by HTTP, at once and by every worker: the running archive, real files."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset

from tests.support.archive import RunningArchive
from tests.support.small_files import data_set, encode, multipart, new_uid, path_of


def put(archive: RunningArchive, *data_sets: Dataset) -> None:
    body, headers = multipart([encode(each) for each in data_sets])
    response = httpx.post(archive.root + "/studies", content=body, headers=headers, timeout=30)
    assert response.status_code == 200, response.text


def find(archive: RunningArchive, path: str, **parameters: str) -> list[dict[str, Any]]:
    response = httpx.get(archive.root + path, params=parameters)
    assert response.status_code in (200, 204), response.text
    found: list[dict[str, Any]] = response.json() if response.content else []
    return found


NAMES = [
    ("ISO_IR 100", "Müller^Jürgen", ["muller*", "MÜLLER^JURGEN", "*rgen"]),
    ("ISO_IR 144", "Чайковский^Пётр", ["чайков*", "чаиковскии^петр"]),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", ["yamada*", "山田*", "*太郎", "やまだ^たろう"]),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", ["hong^g*", "洪*", "홍^길동"]),
    ("GB18030", "Zhang^Wei=张^伟", ["张^伟", "zhang^wei"]),
    ("ISO_IR 192", "Smith^Zoë", ["smith^zoe", "SMITH^Z?E"]),
]


@pytest.mark.parametrize(("charset", "name", "queries"), NAMES)
def test_names_are_found_whatever_their_character_set(
    archive: RunningArchive, charset: str | list[str], name: str, queries: list[str]
) -> None:
    ds = data_set(PatientID=new_uid())
    ds.SpecificCharacterSet = charset
    ds.PatientName = name
    put(archive, ds)
    for query in queries:
        (row,) = find(archive, "/studies", PatientName=query, PatientID=ds.PatientID)
        assert row["0020000D"]["Value"] == [ds.StudyInstanceUID]
        groups = row["00100010"]["Value"][0]
        assert "=".join(groups.values()) == name


def test_G04_counts_follow_stores_and_deletes(archive: RunningArchive) -> None:
    first = data_set(PatientID=new_uid(), Modality="CT", InstanceNumber=1)
    same_series = data_set(
        StudyInstanceUID=first.StudyInstanceUID,
        SeriesInstanceUID=first.SeriesInstanceUID,
        PatientID=first.PatientID,
        Modality="CT",
        InstanceNumber=2,
    )
    other_series = data_set(StudyInstanceUID=first.StudyInstanceUID, PatientID=first.PatientID, Modality="MR")

    def facts() -> tuple[list[str], int, int] | None:
        rows = find(archive, "/studies", PatientID=first.PatientID)
        if not rows:
            return None
        return rows[0]["00080061"]["Value"], rows[0]["00201206"]["Value"][0], rows[0]["00201208"]["Value"][0]

    put(archive, first)
    assert facts() == (["CT"], 1, 1)
    put(archive, same_series, other_series)
    assert facts() == (["CT", "MR"], 2, 3)
    (series,) = find(archive, f"/studies/{first.StudyInstanceUID}/series", Modality="CT")
    assert series["00201209"]["Value"] == [2]
    assert httpx.delete(archive.root + path_of(other_series)).is_success
    assert facts() == (["CT"], 1, 2)
    assert httpx.delete(archive.root + f"/studies/{first.StudyInstanceUID}").is_success
    assert facts() is None
    assert find(archive, "/instances", SOPInstanceUID=first.SOPInstanceUID) == []


def test_every_attribute_of_a_stored_file_is_in_the_answer_when_all_are_asked_for(archive: RunningArchive) -> None:
    ds = data_set(PatientID=new_uid(), ImageComments="tagged", WindowCenter=40, WindowWidth=400)
    ds.add_new(0x00091001, "LO", "private")
    put(archive, ds)
    where = f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances"
    (row,) = find(archive, where, includefield="all")
    (metadata,) = httpx.get(archive.root + path_of(ds) + "/metadata").json()
    computed = {"00080056", "00081190", "00083002"}
    assert row.keys() == metadata.keys() | computed
    assert {tag: row[tag] for tag in metadata} == metadata
    assert find(archive, where, ImageComments="tag*", WindowCenter="40")
    assert not find(archive, where, ImageComments="tag*", WindowCenter="41")
    assert find(archive, where, **{"00091001": "private"})
