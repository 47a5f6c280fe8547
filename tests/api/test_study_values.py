"""What a study is said to be when its instances disagree: the newest one that says something counts."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from pydicom.dataset import Dataset

from tests.support.sending import Source, source
from tests.support.small_files import data_set, encode, multipart

__all__ = ["source"]

DESCRIPTION, REFERRING, ACCESSION, SEX, COMMENTS = "00081030", "00080090", "00080050", "00100040", "00104000"


def image(**attributes: object) -> Dataset:
    """An instance that says a lot of its study."""
    return data_set(
        **{
            "StudyDescription": "Chest CT",
            "ReferringPhysicianName": "Refer^Rita",
            "AccessionNumber": "ACC1",
            "PatientSex": "F",
            "PatientComments": 'ünrest <"\\> 1.50',
            "PatientWeight": "70.50",
            "Modality": "CT",
        }
        | attributes
    )


def report(of: Dataset, **attributes: object) -> Dataset:
    """An instance of the same study that says little."""
    made = data_set(StudyInstanceUID=of.StudyInstanceUID, Modality="SR", ReferringPhysicianName="", **attributes)
    made.AccessionNumber = "ACC2"
    return made


async def store(source: Source, *data_sets: Dataset) -> None:
    body, headers = multipart([encode(one) for one in data_sets])
    answer = await source.client.post("/dicom-web/studies", content=body, headers=headers)
    assert answer.status_code == 200, answer.text


async def study_of(source: Source, **query: str) -> dict[str, Any]:
    answer: httpx.Response = await source.client.get("/dicom-web/studies", params={"includefield": "all"} | query)
    (found,) = answer.json()
    assert isinstance(found, dict)
    return found


async def test_what_a_report_does_not_say_stays_as_the_images_said_it(source: Source) -> None:
    first = image()
    await store(source, first)
    before = await study_of(source)
    await store(source, report(first))
    after = await study_of(source)
    for tag in (DESCRIPTION, REFERRING, SEX, COMMENTS, "00101030"):
        assert after[tag] == before[tag], tag
    assert after[DESCRIPTION]["Value"] == ["Chest CT"]
    assert after[ACCESSION]["Value"] == ["ACC2"], "the newest value counts"
    assert list(after) == sorted(after)
    for query in ({"StudyDescription": "Chest CT"}, {"ReferringPhysicianName": "refer*"}, {"AccessionNumber": "ACC2"}):
        assert (await study_of(source, **query))[DESCRIPTION] == before[DESCRIPTION]
    none = await source.client.get("/dicom-web/studies", params={"AccessionNumber": "ACC1"})
    assert none.status_code == 204
    await store(source, image(StudyInstanceUID=first.StudyInstanceUID, StudyDescription="Chest CT, corrected"))
    assert (await study_of(source))[DESCRIPTION]["Value"] == ["Chest CT, corrected"]


async def test_the_report_itself_is_as_it_was_sent(source: Source) -> None:
    first = image()
    sent = report(first)
    await store(source, first)
    await store(source, sent)
    path = f"/dicom-web/studies/{sent.StudyInstanceUID}/series/{sent.SeriesInstanceUID}"
    (metadata,) = (await source.client.get(f"{path}/metadata")).json()
    assert DESCRIPTION not in metadata
    assert "Value" not in metadata[REFERRING]


async def test_it_does_not_matter_which_came_first_or_with_which(source: Source) -> None:
    """Of one request, and of many at once, which the catalog takes together."""
    for at_once in (True, False):
        for turn in (1, -1):
            first = image()
            sent = [first, report(first), report(first)][::turn]
            if at_once:
                await store(source, *sent)
            else:
                await asyncio.gather(*(store(source, one) for one in sent))
            found = await study_of(source, StudyInstanceUID=str(first.StudyInstanceUID))
            assert found[DESCRIPTION]["Value"] == ["Chest CT"]
            assert found[REFERRING]["Value"] == [{"Alphabetic": "Refer^Rita"}]
            matched = await study_of(source, StudyInstanceUID=str(first.StudyInstanceUID), StudyDescription="Chest*")
            assert matched[SEX]["Value"] == ["F"]
