"""Another archive by DIMSE, of pynetdicom, that knows no queries below series: it refuses C-FIND at IMAGE level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)

Found = Iterator[tuple[int, Dataset | None]]
_KEYS = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}
_TOLD = ("PatientID", "StudyDate", "Modality", "StudyInstanceUID", "SeriesInstanceUID")


class SeriesPeer:
    """One such archive, with these instances; `asked` are the levels of its queries."""

    def __init__(self, images: Sequence[Dataset]) -> None:
        self.port = 0
        self.asked: list[str] = []
        self.got: list[str] = []
        self._images = images

    def find(self, event: evt.Event) -> Found:
        """C-FIND."""
        query = event.identifier
        self.asked.append(query.QueryRetrieveLevel)
        if query.QueryRetrieveLevel not in _KEYS:
            yield 0xA900, None
            return
        key = _KEYS[query.QueryRetrieveLevel]
        for one in {image[key].value: image for image in self._meant(query)}.values():
            answer = Dataset()
            answer.QueryRetrieveLevel = query.QueryRetrieveLevel
            for name in _TOLD:
                setattr(answer, name, one[name].value)
            answer.ModalitiesInStudy = one.Modality
            yield 0xFF00, answer

    def get(self, event: evt.Event) -> Iterator[int | tuple[int, Dataset | None]]:
        """C-GET."""
        self.got.append(event.identifier.QueryRetrieveLevel)
        meant = self._meant(event.identifier)
        yield len(meant)
        for image in meant:
            yield 0xFF00, image

    def _meant(self, query: Dataset) -> list[Dataset]:
        wanted = [(name, query.get(name)) for name in ("PatientID", *_KEYS.values()) if query.get(name)]
        return [image for image in self._images if all(image[name].value == value for name, value in wanted)]


@contextmanager
def series_peer(images: Sequence[Dataset]) -> Iterator[SeriesPeer]:
    """It listens while the block runs."""
    peer = SeriesPeer(images)
    ae = AE("BYSERIES")
    ae.add_supported_context(CTImageStorage, "1.2.840.10008.1.2.1", scu_role=False, scp_role=True)
    for uid in (
        Verification,
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelGet,
    ):
        ae.add_supported_context(uid)
    handlers: list[Any] = [(evt.EVT_C_FIND, peer.find), (evt.EVT_C_GET, peer.get)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    peer.port = server.server_address[1]
    try:
        yield peer
    finally:
        server.shutdown()
