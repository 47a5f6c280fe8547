"""Side by side with DCMTK's wlmscpfs on the same items: the same questions have the same answers.

Among the questions are those of DCMTK's own examples (wlistqry0 to wlistqry12)."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import httpx
import orjson
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom.association import Association

from app.dicom.part10 import HeaderReader
from app.dicom.status import Progress
from tests.dimse.find.asking import Reply
from tests.dimse.worklist.conftest import CALLED, ask, associated, keys
from tests.support.archive import free_port
from tests.support.bridge import RunningBridge, dcmtk
from tests.support.waiting import listens, until
from tests.support.worklist import RESOURCE
from tests.testdata.fixtures import CorpusFile

WLMSCPFS = "open/dcmtk-wlist/wlistdb/OFFIS/"
ROOT = "1.2.826.0.1.3680043.8.498.7332.600"
EVERY_KEY = """AccessionNumber PatientName PatientID PatientBirthDate PatientSex MedicalAlerts Allergies
StudyInstanceUID RequestingPhysician RequestedProcedureDescription RequestedProcedureID
RequestedProcedurePriority""".split()
EVERY_STEP_KEY = """Modality RequestedContrastAgent ScheduledStationAETitle ScheduledProcedureStepStartDate
ScheduledProcedureStepStartTime ScheduledPerformingPhysicianName ScheduledProcedureStepDescription
ScheduledProcedureStepID ScheduledStationName ScheduledProcedureStepLocation PreMedication
CommentsOnTheScheduledProcedureStep""".split()
DAY, TIME = "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"
STATION, PHYSICIAN = "ScheduledStationAETitle", "ScheduledPerformingPhysicianName"


def made(number: int, day: str, clock: str, station: str, modality: str, name: str) -> Dataset:
    """An item of ours."""
    ds = Dataset()
    ds.PatientName, ds.PatientID, ds.PatientSex, ds.PatientBirthDate = name, f"SIDE{number}", "O", "19600101"
    ds.StudyInstanceUID, ds.AccessionNumber = f"{ROOT}.{number}", f"A{number:04}"
    ds.RequestedProcedureID, ds.RequestedProcedureDescription = f"RP{number}", "EXAM"
    ds.RequestingPhysician, ds.RequestedProcedurePriority = "ASKER^ANNA", "ROUTINE"
    step = Dataset()
    step.Modality, step.ScheduledStationAETitle, step.ScheduledStationName = modality, station, f"NAME{station}"
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = day, clock
    step.ScheduledPerformingPhysicianName = "DOER^DORA" if number % 2 else "DOER^DAN"
    step.ScheduledProcedureStepID, step.ScheduledProcedureStepDescription = f"SPS{number}", f"STEP {modality}"
    ds.ScheduledProcedureStepSequence = [step]
    return ds


def all_made() -> list[Dataset]:
    grid = product(("20240228", "20240229", "20240301"), ("0730", "120000", "235959"), ("CT1", "CT2", "MR1"))
    names = ("DOE^JANE", "DOE^JOHN", "ROE^RICHARD", "DOERING^JANE^ANNA")
    return [
        made(number, day, clock, station, station[:2], names[number % 4])
        for number, (day, clock, station) in enumerate(grid)
    ]


@pytest.fixture(scope="module")
def folder(corpus: list[CorpusFile], client: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same items as files, and on our worklist."""
    folder = tmp_path_factory.mktemp("wlmscpfs")
    database = folder / CALLED
    database.mkdir()
    (database / "lockfile").touch()
    files = [file.path.read_bytes() for file in corpus if file.name.startswith(WLMSCPFS)]
    assert len(files) == 10
    for ds in all_made():
        out = io.BytesIO()
        ds.save_as(out, implicit_vr=False, little_endian=True)
        files.append(out.getvalue())
    for number, data in enumerate(files):
        (database / f"{number}.wl").write_bytes(data)
        reader = HeaderReader()
        reader.feed(data)
        item = orjson.loads(reader.finish_json())
        assert client.put(f"{RESOURCE}/side-{number}", json=item).status_code == 201
    yield folder
    for number in range(len(files)):
        client.delete(f"{RESOURCE}/side-{number}")


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Iterator[Association]:
    port = free_port()
    command = [dcmtk("wlmscpfs"), "--single-process", "-dhl", "-dfp", str(folder), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: listens(port), "it listens")
        with associated(port) as association:
            yield association
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def ours(folder: Path, bridge: RunningBridge) -> Iterator[Association]:
    with associated(bridge.port) as association:
        yield association


def question(step: dict[str, str] | None = None, **root: str) -> Dataset:
    """Every key, those with a value for matching."""
    wanted: dict[str, object] = dict.fromkeys(EVERY_KEY)
    return keys({**dict.fromkeys(EVERY_STEP_KEY), **(step or {})}, **(wanted | root))


QUESTIONS: dict[str, Dataset] = {
    "everything": question(),
    "by station": question({STATION: "CT1"}),
    "by one of several stations": question({STATION: "NN77"}),
    "by no such station": question({STATION: "CT"}),
    "by modality": question({"Modality": "MR"}),
    "by no such modality": question({"Modality": "DD"}),
    "by day": question({DAY: "20240229"}),
    "by days": question({DAY: "20240228-20240229"}),
    "from a day on": question({DAY: "20240229-"}),
    "until a day": question({DAY: "-19960101"}),
    "by time": question({TIME: "120000"}),
    "by times": question({TIME: "110000-130000"}),
    "from a time on": question({TIME: "120000-"}),
    "until a time": question({TIME: "-0800"}),
    "by day and times": question({DAY: "20240229", TIME: "110000-130000"}),
    "by day and from a time on": question({DAY: "20240229", TIME: "120000-"}),
    "by days and times": question({DAY: "20240228-20240229", TIME: "110000-130000"}),
    "by days and until a time": question({DAY: "20240228-20240301", TIME: "-1000"}),
    "from a day and time on": question({DAY: "20240229-", TIME: "1000-"}),
    "by name": question(PatientName="DOE^JANE"),
    "by name with wild card": question(PatientName="DOE*"),
    "by name with question marks": question(PatientName="?OE^J???"),
    "by wild cards all over": question(PatientName="*O*^*A*"),
    "by patient": question(PatientID="AV35674"),
    "by accession number": question(AccessionNumber="A0003"),
    "by procedure": question(RequestedProcedureID="RP4"),
    "by physician": question({PHYSICIAN: "DOER^D*N"}),
    "by station, day and modality": question({STATION: "MR1", DAY: "20240301", "Modality": "MR"}),
    "by sequence without a condition": keys({}, PatientName=None),
    "by a sequence that is empty": keys(PatientName="VIVALDI*", ScheduledProcedureStepSequence=[]),
    "by few keys": keys({"Modality": None, STATION: "AB45"}, PatientName=None, RequestedProcedureID=None),
}
DIFFERENT = {"by sequence without a condition", "by a sequence that is empty"}
"""wlmscpfs expands an empty sequence to the keys that it knows, we to all that there is: found is the same."""


UNLIKE = {
    "by station with wild card": (question({STATION: "AA*"}), 0, 3),
    "by station with a question mark": (question({STATION: "CT?"}), 0, 18),
    "by study": (question(StudyInstanceUID=f"{ROOT}.5"), 37, 1),
    "by days and from a time on": (question({DAY: "19951001-20240229", TIME: "130000-"}), 17, 26),
}
"""Questions that wlmscpfs does not answer as others do, and how many items each finds: it takes an AE title as it
stands, knows no Study Instance UID as a key, and leaves the last day out when the times have no end."""


def found(reply: Reply) -> list[dict[str, object]]:
    """The answers as JSON, in one order."""
    assert reply.status == Progress.DONE
    answers = []
    for identifier in reply.identifiers:
        if "SpecificCharacterSet" in identifier:
            del identifier.SpecificCharacterSet
        answers.append(identifier.to_json_dict())
    return sorted(answers, key=lambda answer: orjson.dumps(answer, option=orjson.OPT_SORT_KEYS))


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_same_question_has_the_same_answer(theirs: Association, ours: Association, name: str) -> None:
    asked = QUESTIONS[name]
    expected, answered = found(ask(theirs, asked)), found(ask(ours, asked))
    if name in DIFFERENT:
        assert [one["00100010"] for one in answered] == [one["00100010"] for one in expected]
    else:
        assert answered == expected


@pytest.mark.parametrize("name", UNLIKE)
def test_where_wlmscpfs_differs(theirs: Association, ours: Association, name: str) -> None:
    asked, *counts = UNLIKE[name]
    assert [len(ask(one, asked).identifiers) for one in (theirs, ours)] == counts


def test_the_questions_tell_items_apart(ours: Association) -> None:
    """Most find some items and not all, or the comparison would say little."""
    counts = {name: len(ask(ours, asked).identifiers) for name, asked in QUESTIONS.items()}
    assert counts["everything"] == 37
    assert sum(0 < count < 37 for count in counts.values()) >= len(counts) - 5


def test_examples_are_what_dcmtk_has(folder: Path) -> None:
    patients = {str(dcmread(path, force=True).PatientID) for path in (folder / CALLED).glob("*.wl")}
    assert {"AV35674", "MWA484763", "HF", "BLV734623"} <= patients
