"""Orders as an information system sends them: HL7 v2 over MLLP, sent again until they are acknowledged."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from app.hl7.mllp import BEGIN, END
from tests.support.hl7 import message

DAY = time.strftime("%Y%m%d")
"""Today: an item of another day is over, and its priors are fetched for nobody."""
_PV1 = "PV1|1|I|WARD^101^2|||||77^Ordner^Otto^^^Dr"


@dataclass(frozen=True, slots=True)
class Order:
    """One examination of one patient at the station `station`."""

    number: int
    patient: str
    name: str
    study: str
    station: str

    @property
    def accession(self) -> str:
        """What names it in DICOM."""
        return f"ACC{self.number}"

    @property
    def step_id(self) -> str:
        """Of its scheduled procedure step."""
        return f"SPS{self.number}"

    def orm(self, control: str = "NW") -> bytes:
        """It as ORM^O01."""
        numbers = f"PL{self.number}^RIS|FL{self.number}^RIS"
        obr = f"OBR|1|{numbers}|RPC^Knee MRI^99R^PC^Knee left^99P||||||||||||12^Asker^Anna||{self.accession}|"
        obr += f"RP{self.number}|{self.step_id}|{self.station}|||MR|||^^^{DAY}0930^^S"
        zds = f"ZDS|{self.study}^RIS^Application^DICOM"
        return message("ORM^O01", self._pid, _PV1, f"ORC|{control}|{numbers}||||^^^{DAY}0930", obr, zds)

    def omi(self, control: str = "NW") -> bytes:
        """It as OMI^O23."""
        numbers = f"PL{self.number}^RIS|FL{self.number}^RIS"
        ipc = f"IPC|{self.accession}|RP{self.number}|{self.study}|{self.step_id}|MR|PC^Knee left^99P|STN|ROOM|"
        segments = [self._pid, _PV1, f"ORC|{control}|{numbers}", f"TQ1|1||||||{DAY}1000||S^Stat"]
        segments += [f"OBR|1|{numbers}|RPC^Knee MRI^99R", ipc + self.station]
        return message("OMI^O23^OMI_O23", *segments, version="2.5.1")

    @property
    def _pid(self) -> str:
        return f"PID|1||{self.patient}^^^HOSP^MR||{self.name}||19700102|F"


def send(port: int, order: bytes, seconds: float = 60) -> int:
    """Sends a message until it is acknowledged with AA; how often it was sent. AE, the sender's own fault, is none."""
    deadline = time.monotonic() + seconds
    sent, answer = 0, b""
    while b"MSA|AA|" not in answer:
        assert b"MSA|AE|" not in answer, answer
        assert time.monotonic() < deadline, f"sent {sent} times, last answer {answer!r}"
        time.sleep(0.1 if sent else 0)
        sent += 1
        answer = _exchange(port, order)
    return sent


def _exchange(port: int, order: bytes) -> bytes:
    """What is answered; nothing when the connection breaks."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            connection.settimeout(20)
            connection.sendall(BEGIN + order + END)
            while not answer.endswith(END):
                piece = connection.recv(4096)
                if not piece:
                    return b""
                answer += piece
    except OSError:
        return b""
    return answer
