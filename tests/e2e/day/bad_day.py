"""Examinations of a bad day. Each step is repeated until the archive has taken it, as a modality with patience does,
and each says at its end what must hold when everything is at rest."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from pydicom.dataset import Dataset

from app.archive.transfers import GONE
from tests.e2e.day.department import STATION, Department
from tests.e2e.day.destinations import assert_everywhere, assert_here, file_at, sops_at
from tests.e2e.day.modality import Exam, assert_committed, insist
from tests.e2e.day.orders import Order, send
from tests.e2e.day.priors import remember
from tests.support.small_files import new_uid

TAKEN, KNOWN_ALREADY, ENDED_ALREADY = 0x0000, 0x0111, 0x0110
IMAGES = 4
_LONG = 180.0


def _have_ended(listed: dict[str, Any]) -> bool:
    return all(one["state"] in ("succeeded", "failed", "cancelled") for one in listed["transfers"])


@dataclass
class Day:
    """Of one department: what was examined, and what came of it. People take their time between steps, by `chance`."""

    department: Department
    folder: Path
    chance: random.Random
    orders: int = 0
    normal: list[Exam] = field(default_factory=list)
    wrong: list[Exam] = field(default_factory=list)
    undone: list[Exam] = field(default_factory=list)
    priors: dict[str, list[Dataset]] = field(default_factory=dict)

    def play(self, patients: int) -> None:
        """For each patient one examination of each kind, all at once; each patient has priors elsewhere."""
        names = [f"BAD-{number}" for number in range(1, patients * 3 + 1)]
        self.priors = remember(self.department, self.folder / "past", names)
        with ThreadPoolExecutor(3) as people:
            kinds = (self.examine, self.choose_wrongly_and_notice_soon, self.choose_wrongly_and_notice_late)
            for ended in [people.submit(kind, self._order()) for _ in range(patients) for kind in kinds]:
                ended.result()

    def _order(self) -> Order:
        self.orders += 1
        return Order(self.orders, f"BAD-{self.orders}", f"Doe^Number{self.orders}", new_uid(), STATION)

    # ---------------------------------------------------------------- the kinds

    def examine(self, order: Order) -> None:
        """As it should be: ordered, begun, stored, completed, committed."""
        exam = self._ordered(order, order.orm())
        self._do(exam)
        self.normal.append(exam)

    def choose_wrongly_and_notice_soon(self, order: Order) -> None:
        """Discontinued before the images come, which nobody may see then; the item is open again, and done rightly."""
        wrong = self._ordered(order, order.omi())
        self._begin(wrong)
        wrong.expose(IMAGES)
        self._end(wrong, "DISCONTINUED", wrong_entry=True)
        self._store(wrong)
        assert self._visible(wrong) == set()
        self.wrong.append(wrong)
        right = Exam(self._item(order))
        self._do(right)
        self.normal.append(right)

    def choose_wrongly_and_notice_late(self, order: Order) -> None:
        """Discontinued after the images came; then somebody finds that they were right, and undoes it."""
        exam = self._ordered(order, order.orm())
        self._begin(exam)
        exam.expose(IMAGES)
        self._store(exam)
        self._end(exam, "DISCONTINUED", wrong_entry=True)
        insist(lambda: self._visible(exam), lambda found: not found)
        self._item(order)
        self._undo(exam)
        assert self._visible(exam) == exam.sops
        self.undone.append(exam)

    # ---------------------------------------------------------------- steps

    def _ordered(self, order: Order, message: bytes) -> Exam:
        send(self.department.hl7, message)
        return Exam(self._item(order))

    def _item(self, order: Order) -> Dataset:
        """The item of an order as the modality sees it."""

        def look() -> list[Dataset]:
            return [one for one in self.department.modality.worklist() or () if one.PatientID == order.patient]

        (item,) = insist(look, lambda found: len(found) == 1)
        return item

    def _do(self, exam: Exam) -> None:
        self._begin(exam)
        exam.expose(IMAGES)
        self._store(exam)
        self._end(exam, "COMPLETED")
        self._take_time()
        insist(lambda: self.department.modality.commit(exam), lambda status: status == TAKEN)
        assert_committed(self.department.modality, exam, _LONG)

    def _take_time(self) -> None:
        time.sleep(self.chance.uniform(0, 1))

    def _begin(self, exam: Exam) -> None:
        self._take_time()
        insist(lambda: self.department.modality.begin(exam), lambda status: status in (TAKEN, KNOWN_ALREADY))

    def _store(self, exam: Exam) -> None:
        self._take_time()
        insist(lambda: self.department.modality.store(exam), bool)

    def _end(self, exam: Exam, status: str, *, wrong_entry: bool = False) -> None:
        """Ends a step: an answer that was lost leaves it ended, and in the state that was wanted."""
        self._take_time()
        modality = self.department.modality

        def end() -> int | None:
            return modality.end(exam, status, wrong_entry=wrong_entry)

        insist(end, lambda answer: answer in (TAKEN, ENDED_ALREADY))
        known = insist(lambda: modality.look(exam), lambda found: found is not None)
        assert known is not None
        assert known.PerformedProcedureStepStatus == status

    def _visible(self, exam: Exam) -> set[str]:
        """Its images that somebody can see."""
        found = self.department.get(f"/dicom-web/studies/{exam.study}/instances") or ()
        return exam.sops & {one["00080018"]["Value"][0] for one in found}

    def _undo(self, exam: Exam) -> None:
        """Undoes what its discontinuation hid."""
        self._take_time()
        (deletion,) = self.deletions(exam)

        def undo() -> int:
            try:
                return self.department.user.post(f"/dicom-web/deletions/{deletion['id']}/undo").status_code
            except httpx.TransportError:
                return 0

        insist(undo, lambda status: status in (200, 404))  # 404: the first answer was lost
        assert [one["ended"] for one in self.deletions(exam)] == ["undone"]

    def deletions(self, exam: Exam) -> list[dict[str, Any]]:
        """The deletions that an exam's discontinuation made."""
        found = self.department.get("/dicom-web/deletions")
        return [one for one in found if one["principal"] == f"mpps {exam.uid}"]

    # ---------------------------------------------------------------- at rest

    def assert_all_is_well(self) -> None:
        """Every transfer has succeeded, every state is as it must be, and the copies are what was made."""
        department = self.department
        self._assert_told()
        states = department.worklist_states()
        for exam in self.normal:
            self._assert_sent(exam)
            known = department.steps(exam.study)
            assert known["status"] == "COMPLETED"
            assert [step["missing"] for step in known["steps"] if step["uid"] == exam.uid] == [0]
            assert states[str(exam.item.PatientID)] == "completed hidden"
        for exam in self.wrong:
            (deletion,) = self.deletions(exam)
            assert (deletion["study_uid"], deletion["ended"]) == (exam.study, "")
            assert not exam.sops & set(sops_at(department.second, exam.study))
            assert all(file_at(department.archive, image) is None for image in exam.images)
        for exam in self.undone:
            insist(lambda: self._undo_at_second(exam), lambda sops: sops == sorted(exam.sops), _LONG)  # noqa: B023
            self._assert_sent(exam)
            assert states[str(exam.item.PatientID)] == "scheduled"
        for images in self.priors.values():
            assert_here(department, images)
        self._assert_ended()

    def _assert_ended(self) -> None:
        """Every job ends, and says why if not with success."""
        department = self.department
        for one in department.until("/transfers", _have_ended, _LONG, limit=1000)["transfers"]:
            rows = department.get(f"/transfers/{one['id']}/instances")["instances"]
            refused = {row["reason"] for row in rows if row["state"] not in ("arrived", "committed")}
            assert (one["state"], refused) in (("succeeded", set()), ("failed", {GONE})), (one, rows)

    def _assert_told(self) -> None:
        """The second archive was told of each step to its end, and the rule was asked about each item."""
        department = self.department
        for exams, status in ((self.normal, "COMPLETED"), (self.wrong + self.undone, "DISCONTINUED")):
            for exam in exams:
                department.until("/transfers", lambda _: department.told_second(exam.uid) == status, _LONG)  # noqa: B023
        fetching = {"waiting", "active"}
        department.until(
            "/transfers",
            lambda _: (
                len(jobs := department.jobs("prefetch")) >= self.orders
                and not any(one["state"] in fetching for one in jobs)
            ),
            _LONG,
        )

    def _undo_at_second(self, exam: Exam) -> list[str]:
        """The second archive, told of the wrong entry, hides the images too, whenever they come; what it shows."""
        with httpx.Client(base_url=self.department.second.root, timeout=60) as user:
            for one in user.get("/deletions").raise_for_status().json():
                if one["principal"] == f"mpps {exam.uid}" and not one["ended"]:
                    user.post(f"/deletions/{one['id']}/undo").raise_for_status()
        return sops_at(self.department.second, exam.study)

    def _assert_sent(self, exam: Exam) -> None:
        """Both routes have sent it on."""
        both = {self.department.orthanc.aet, "second"}

        def are_sent(_: object) -> bool:
            found = self.department.transfers(exam.study)
            return set(found) == both and all(one["state"] == "succeeded" for one in found.values())

        self.department.until("/transfers", are_sent, _LONG)
        assert_everywhere(self.department, exam)
