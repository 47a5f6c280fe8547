"""A modality: DCMTK asks for the worklist and stores, pynetdicom says what is performed and asks for commitment.

A step that got no answer gives None, for whoever wants to try again; reports are taken whenever they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

from tests.e2e.day.orders import DAY
from tests.support.bridge import CALLED, run_dcmtk
from tests.support.commitment import Pair, pairs
from tests.support.small_files import data_set, encode, new_uid
from tests.support.steps import beginning, ending, reference

STEP, RETRIEVE = "1.2.840.10008.3.1.2.3.3", "1.2.840.10008.3.1.2.3.4"
PUSH, PUSH_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
ALL_COMMITTED = 1
T = TypeVar("T")
_SCHEDULED = "ScheduledProcedureStepSequence[0]"


@dataclass
class Exam:
    """What the modality makes of a worklist item."""

    item: Dataset
    uid: str = field(default_factory=lambda: str(generate_uid()))
    transaction: str = field(default_factory=lambda: str(generate_uid()))
    images: list[Dataset] = field(default_factory=list)

    @property
    def study(self) -> str:
        """The study that the worklist asks for."""
        return str(self.item.StudyInstanceUID)

    @property
    def sops(self) -> set[str]:
        """Its images."""
        return {str(image.SOPInstanceUID) for image in self.images}

    @property
    def step_id(self) -> str:
        """The scheduled step."""
        return str(self.item.ScheduledProcedureStepSequence[0].ScheduledProcedureStepID)

    def expose(self, count: int) -> None:
        """Makes images of one series, as the worklist item says."""
        series = new_uid()
        for number in range(1, count + 1):
            self.images.append(self._image(series, number))

    def _image(self, series: str, number: int) -> Dataset:
        request, performed = Dataset(), Dataset()
        request.ScheduledProcedureStepID = self.step_id
        request.RequestedProcedureID = self.item.RequestedProcedureID
        performed.ReferencedSOPClassUID, performed.ReferencedSOPInstanceUID = STEP, self.uid
        image = data_set(
            SOPClassUID=MR,
            StudyInstanceUID=self.study,
            SeriesInstanceUID=series,
            InstanceNumber=number,
            PatientName=self.item.PatientName,
            PatientID=self.item.PatientID,
            AccessionNumber=self.item.AccessionNumber,
            Modality="MR",
            StudyDate=DAY,
            RequestAttributesSequence=Sequence([request]),
            ReferencedPerformedProcedureStepSequence=Sequence([performed]),
        )
        image.PixelData = bytes((number * 7 + at) % 256 for at in range(16))
        return image


class Modality:
    """One of AE title `aet`, which listens for reports on a port of its own."""

    def __init__(self, aet: str, dimse: int, folder: Path) -> None:
        self.aet = aet
        self.reports: dict[str, list[tuple[int, Dataset, str]]] = {}
        self._dimse = dimse
        self._folder = folder
        self._folder.mkdir(parents=True)
        self._asked = 0
        self._news = threading.Condition()
        self._ae = AE(aet)
        self._ae.add_supported_context(PUSH, scu_role=True, scp_role=True)
        server = self._ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=self._handlers)
        assert isinstance(server, ThreadedAssociationServer)
        self._server = server
        self.port: int = server.server_address[1]

    def close(self) -> None:
        """Listens no more."""
        self._server.shutdown()

    # ---------------------------------------------------------------- the worklist

    def worklist(self) -> list[Dataset] | None:
        """What `findscu -W` shows for the station today; None when it could not ask."""
        self._asked += 1
        folder = self._folder / f"worklist{self._asked}"
        folder.mkdir()
        keys = ["PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber", "RequestedProcedureID"]
        keys += [f"{_SCHEDULED}.ScheduledStationAETitle={self.aet}", f"{_SCHEDULED}.ScheduledProcedureStepID"]
        keys += [f"{_SCHEDULED}.ScheduledProcedureStepStartDate={DAY}", f"{_SCHEDULED}.ScheduledProcedureStepStatus"]
        asked = [word for key in keys for word in ("-k", key)]
        who = ("-aet", self.aet, "-aec", CALLED)
        status, said = run_dcmtk("findscu", "-W", "-v", *who, "-X", "-od", folder, *asked, "127.0.0.1", self._dimse)
        if status or "Success" not in said:
            return None
        return [dcmread(file, force=True) for file in sorted(folder.glob("rsp*.dcm"))]

    # ---------------------------------------------------------------- the step and its images

    def begin(self, exam: Exam) -> int | None:
        """N-CREATE; the status."""
        begun = beginning(exam.study, step_id=exam.step_id, PerformedStationAETitle=self.aet, Modality="MR")
        begun.PatientName, begun.PatientID = exam.item.PatientName, exam.item.PatientID
        begun.ScheduledStepAttributesSequence[0].AccessionNumber = exam.item.AccessionNumber
        return self._ask(lambda association: association.send_n_create(begun, STEP, exam.uid))[0]

    def store(self, exam: Exam) -> bool:
        """`storescu` of all images; whether each was taken."""
        folder = self._folder / exam.uid
        folder.mkdir(exist_ok=True)
        for at, image in enumerate(exam.images):
            (folder / f"{at}.dcm").write_bytes(encode(image))
        who = ("-aet", self.aet, "-aec", CALLED)
        status, _ = run_dcmtk("storescu", *who, "127.0.0.1", self._dimse, "+sd", folder)
        return status == 0

    def end(self, exam: Exam, status: str = "COMPLETED", *, wrong_entry: bool = False) -> int | None:
        """N-SET that references every image; the status."""
        ended = ending(exam.images, status, wrong_entry=wrong_entry)
        return self._ask(lambda association: association.send_n_set(ended, STEP, exam.uid))[0]

    def look(self, exam: Exam) -> Dataset | None:
        """N-GET: what the archive knows of the step."""
        return self._ask(lambda association: association.send_n_get([], RETRIEVE, exam.uid))[1]

    # ---------------------------------------------------------------- commitment

    def commit(self, exam: Exam, *, stays: bool = False) -> int | None:
        """N-ACTION; the status. `stays`: the association is kept until the report has come."""
        asked = Dataset()
        asked.TransactionUID = exam.transaction
        asked.ReferencedSOPSequence = Sequence([reference(image) for image in exam.images])

        def act(association: Association) -> tuple[Dataset, Dataset | None]:
            answer = association.send_n_action(asked, 1, PUSH, PUSH_INSTANCE)
            if stays:
                self.await_report(exam)
            return answer

        return self._ask(act)[0]

    def await_report(self, exam: Exam, seconds: float = 60) -> tuple[int, Dataset, str]:
        """The first report about an exam: event type, data set, and in which role we got it."""
        with self._news:
            assert self._news.wait_for(lambda: exam.transaction in self.reports, seconds), "no commitment report"
            return self.reports[exam.transaction][0]

    def _take_report(self, event: evt.Event) -> tuple[int, None]:
        told = event.event_information
        role = "acceptor" if event.assoc.is_acceptor else "requestor"
        with self._news:
            self.reports.setdefault(str(told.TransactionUID), []).append((event.event_type or 0, told, role))
            self._news.notify_all()
        return 0, None

    @property
    def _handlers(self) -> list[Any]:
        return [(evt.EVT_N_EVENT_REPORT, self._take_report)]

    def _ask(self, send: Callable[[Association], tuple[Dataset, Dataset | None]]) -> tuple[int | None, Dataset | None]:
        """One request on an association of its own: status and data set of the answer, None without one."""
        with self._associated() as association:
            if not association.is_established:
                return None, None
            try:
                answer, found = send(association)
            except RuntimeError:  # it broke before the request left
                return None, None
        return answer.get("Status"), found

    @contextmanager
    def _associated(self) -> Iterator[Association]:
        contexts = [build_context(one) for one in (STEP, RETRIEVE, PUSH)]
        association = self._ae.associate("127.0.0.1", self._dimse, contexts, CALLED, evt_handlers=self._handlers)
        try:
            yield association
        finally:
            if association.is_established:
                association.release()


def committed(told: Dataset) -> list[Pair]:
    """The instances that a report calls safe."""
    return [
        (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
        for item in told.get("ReferencedSOPSequence", [])
    ]


def assert_committed(modality: Modality, exam: Exam, seconds: float = 60) -> str:
    """Waits for the report: every image is safe. In which role it was taken."""
    event, told, role = modality.await_report(exam, seconds)
    assert (event, sorted(committed(told))) == (ALL_COMMITTED, sorted(pairs(*exam.images)))
    return role


def insist(step: Callable[[], T], is_done: Callable[[T], bool], seconds: float = 90) -> T:
    """Repeats a step until it is done, as a modality with patience does."""
    deadline = time.monotonic() + seconds
    while not is_done(done := step()):
        assert time.monotonic() < deadline, f"{step} still gives {done!r}"
        time.sleep(0.2)
    return done
