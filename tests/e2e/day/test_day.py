"""A whole day of a department by real peers: an order, its worklist item, the step, its images, commitment, what is
sent on; each state is looked at on the way, and what arrives is compared with what was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from tests.e2e.day.department import STATION, Department, at_work
from tests.e2e.day.destinations import assert_everywhere, assert_here, assert_nothing_came_twice
from tests.e2e.day.modality import Exam, assert_committed
from tests.e2e.day.orders import Order, send
from tests.e2e.day.priors import remember
from tests.support.commitment import committed, pairs
from tests.support.receiver import in_order
from tests.support.small_files import new_uid

IMAGES = 6
ENDED = ("succeeded", "failed", "cancelled")


@pytest.fixture(scope="module")
def department(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Department]:
    with at_work(tmp_path_factory.mktemp("day")) as running:
        yield running


def test_a_day_from_the_order_to_the_last_copy(department: Department, tmp_path: Path) -> None:
    order = Order(1, "DAY-1", "Doe^Jane", new_uid(), STATION)
    priors = remember(department, tmp_path / "past", [order.patient, "DAY-2"])[order.patient]
    exam = scheduled(department, order)
    fetched(department, priors)
    performed(department, exam)
    safe(department, exam)
    sent_on(department, exam)
    told_in_order(department, exam)


def seen(department: Department) -> list[Dataset]:
    """What the modality sees of its worklist."""
    items = department.modality.worklist()
    assert items is not None
    return items


def scheduled(department: Department, order: Order) -> Exam:
    """The order makes an item, which the modality sees."""
    assert seen(department) == []
    assert send(department.hl7, order.orm()) == 1
    assert department.worklist_states(order.patient) == {order.patient: "scheduled"}
    (item,) = seen(department)
    exam = Exam(item)
    assert (exam.study, exam.step_id, item.AccessionNumber) == (order.study, order.step_id, order.accession)
    assert (item.PatientID, str(item.PatientName)) == (order.patient, order.name)
    return exam


def fetched(department: Department, priors: list[Dataset]) -> None:
    """The item has the patient's priors fetched: those that the rule wants, and nothing else."""
    department.until("/transfers", lambda _: bool(department.jobs("prefetch")))
    (job,) = department.jobs("prefetch")
    path = f"/transfers/{job['id']}"
    ended = department.until(path, lambda one: one["state"] in ENDED)
    assert (ended["state"], ended["peer"]) == ("succeeded", department.past.aet), ended
    assert_here(department, priors)
    patient = str(priors[0].PatientID)
    assert len(department.get("/dicom-web/studies", PatientID=patient)) == len(priors) // 2


def performed(department: Department, exam: Exam) -> None:
    """The modality begins, stores and completes; the item changes with it, and is gone at the end."""
    modality = department.modality
    patient = str(exam.item.PatientID)
    assert modality.begin(exam) == 0
    assert [step["status"] for step in department.steps(exam.study)["steps"]] == ["IN PROGRESS"]
    (item,) = seen(department)
    assert item.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStatus == "STARTED"
    assert department.worklist_states(patient) == {patient: "in progress"}
    exam.expose(IMAGES)
    assert modality.store(exam)
    assert department.steps(exam.study)["status"] == "IN PROGRESS"
    assert modality.end(exam) == 0
    known = department.steps(exam.study)
    assert (known["status"], [step["missing"] for step in known["steps"]]) == ("COMPLETED", [0])
    found = modality.look(exam)
    assert found is not None
    assert found.PerformedProcedureStepStatus == "COMPLETED"
    assert len(found.PerformedSeriesSequence[0].ReferencedImageSequence) == IMAGES
    assert seen(department) == []
    assert department.worklist_states(patient) == {patient: "completed hidden"}
    assert_here(department, exam.images)
    department.until("/transfers", lambda _: department.told_second(exam.uid) == "COMPLETED")


def safe(department: Department, exam: Exam) -> None:
    """The modality asks for commitment, and hears of it on the same association."""
    assert department.modality.commit(exam, stays=True) == 0
    assert assert_committed(department.modality, exam) == "requestor"
    result: Any = department.get(f"/dicom-web/commitment-requests/{exam.transaction}")
    assert sorted(committed(result[0])) == sorted(pairs(*exam.images))


def sent_on(department: Department, exam: Exam) -> None:
    """Both routes make a transfer, which is followed to its end."""
    both = {department.orthanc.aet, "second"}
    department.until("/transfers", lambda _: set(department.transfers(exam.study)) == both)
    for one in department.transfers(exam.study).values():
        path = f"/transfers/{one['id']}"
        ended = department.until(path, lambda transfer: transfer["state"] in ENDED)
        assert (ended["state"], ended["echo"], ended["commit"]["committed"]) == ("succeeded", True, IMAGES), ended
        assert ended["instances"] == {"total": IMAGES, "arrived": IMAGES, "refused": 0}
        rows = department.get(f"{path}/instances")["instances"]
        assert {row["instance"] for row in rows} == exam.sops
        assert {(row["state"], row["status"]) for row in rows} == {("committed", "0000")}
    assert_everywhere(department, exam)
    assert_nothing_came_twice(department)


def told_in_order(department: Department, exam: Exam) -> None:
    """The change feed tells of each image once, then that the series and the study are quiet, from any cursor."""
    whole = department.changes()
    ids = [one["id"] for one in whole]
    assert ids == sorted(set(ids))
    for at in (0, len(ids) // 2):
        assert department.changes(ids[at]) == whole[at + 1 :]
    told = department.told_of(exam.study)
    assert [one["kind"] for one in told[:IMAGES]] == ["stored"] * IMAGES
    assert {one["instance"] for one in told[:IMAGES]} == exam.sops
    rest = Counter(one["kind"] for one in told[IMAGES:])
    assert (rest.pop("series-quiet"), rest.pop("study-quiet")) == (1, 1)
    assert rest == {"step-completed": 1, "study-completed": 1}
    department.until("/webhooks/ris", lambda hook: hook["position"] >= ids[-1])
    assert in_order(department.receiver.events)[: len(whole)] == whole, "the webhook tells the same"
