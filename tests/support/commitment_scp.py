"""Another archive by DIMSE, of pynetdicom: it stores, and reports on storage commitment when and how a test says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

PUSH, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
SC = "1.2.840.10008.5.1.4.1.1.7"
SAME, NEW, NEVER = "same", "new", "never"
SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]


class Keeper:
    """One such archive. `ours` is where it calls back."""

    def __init__(self, aet: str, ours: tuple[str, int], way: str = NEW) -> None:
        self.aet = aet
        self.way = way
        self.port = 0
        self.refused: set[str] = set()
        """What it does not commit to."""
        self.action_status = 0
        self.has_roles = True
        self.stored: list[str] = []
        self.asked: list[Dataset] = []
        self.answers: list[int] = []
        """Statuses of its reports."""
        self.was_open: list[bool] = []
        """Whether the association of the request stood when it reported."""
        self._ours = ours
        self._news = threading.Condition()
        self._threads: list[threading.Thread] = []

    def store(self, event: evt.Event) -> int:
        """C-STORE."""
        with self._news:
            self.stored.append(str(event.dataset.SOPInstanceUID))
        return 0

    def act(self, event: evt.Event) -> tuple[int, None]:
        """N-ACTION."""
        with self._news:
            self.asked.append(event.action_information)
            self._news.notify_all()
        if not self.action_status and self.way != NEVER:
            thread = threading.Thread(target=self._report, args=(event.action_information, event.assoc))
            self._threads.append(thread)
            thread.start()
        return self.action_status, None

    def wait_asked(self, count: int = 1, seconds: float = 40) -> Dataset:
        """The last of `count` requests."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.asked) >= count, seconds), "nobody asked"
        return self.asked[count - 1]

    def _report(self, asked: Dataset, association: Association) -> None:
        if self.way == SAME:
            self.was_open.append(association.is_established)
            self.answers.append(self._send(association, asked))
        else:
            association.join(20)
            self.was_open.append(association.is_alive())
            self.answers.append(self.report(asked))

    def report(self, asked: Dataset) -> int:
        """Reports on an association of its own; the status."""
        roles: list[Any] = [build_role(PUSH, scp_role=True)] if self.has_roles else []
        called, port = self._ours
        association = AE(self.aet).associate("127.0.0.1", port, [build_context(PUSH)], called, ext_neg=roles)
        assert association.is_established
        try:
            return self._send(association, asked)
        finally:
            association.release()

    def _send(self, association: Association, asked: Dataset) -> int:
        good = [one for one in asked.ReferencedSOPSequence if one.ReferencedSOPInstanceUID not in self.refused]
        bad = [one for one in asked.ReferencedSOPSequence if one.ReferencedSOPInstanceUID in self.refused]
        told = Dataset()
        told.TransactionUID = asked.TransactionUID
        if good:
            told.ReferencedSOPSequence = Sequence(good)
        for one in bad:
            one.FailureReason = 0x0112
        if bad:
            told.FailedSOPSequence = Sequence(bad)
        status, _ = association.send_n_event_report(told, 2 if bad else 1, PUSH, INSTANCE)
        return int(status.Status) if "Status" in status else -1

    def join(self) -> None:
        """Waits for its reports."""
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()


@contextmanager
def keeping(aet: str, ours: tuple[str, int], way: str = NEW, port: int = 0) -> Iterator[Keeper]:
    """One that listens."""
    keeper = Keeper(aet, ours, way)
    ae = AE(aet)
    for sop_class in (PUSH, SC, "1.2.840.10008.1.1"):
        ae.add_supported_context(sop_class, SYNTAXES)
    handlers: list[Any] = [(evt.EVT_C_STORE, keeper.store), (evt.EVT_N_ACTION, keeper.act)]
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    assert isinstance(server, ThreadedAssociationServer)
    keeper.port = server.server_address[1]
    try:
        yield keeper
        keeper.join()
    finally:
        server.shutdown()
