"""The worklist's part of a day, by real peers: an order by HL7, the modality's question, its images, and the item is
gone."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import httpx

from app.hl7.mllp import BEGIN, END
from tests.requirements.instances import encode, make
from tests.support.archive import RunningArchive
from tests.support.bridge import RunningBridge, run_dcmtk
from tests.support.hl7 import order
from tests.support.worklist import RESOURCE

SECONDS = 15


def seen(bridge: RunningBridge, folder: Path) -> int:
    """How many items findscu gets for the station."""
    folder.mkdir()
    step = "ScheduledProcedureStepSequence[0]"
    status, said = run_dcmtk(
        "findscu", "-W", "-aec", "FILEROOM", "-X", "-od", folder, "-k", "PatientName", "-k", "StudyInstanceUID",
        "-k", f"{step}.ScheduledStationAETitle=MR1", "-k", f"{step}.ScheduledProcedureStepStartDate=20240229",
        "127.0.0.1", bridge.port,
    )  # fmt: skip
    assert status == 0, said
    return len(list(folder.glob("rsp*.dcm")))


def test_from_the_order_to_the_images(
    worklist_archive: RunningArchive, bridge: RunningBridge, client: httpx.Client, tmp_path: Path
) -> None:
    port = int(worklist_archive.environment["FILEROOM_HL7_PORT"])
    assert f"HL7 v2    127.0.0.1:{port}" in worklist_archive.log
    assert seen(bridge, tmp_path / "before") == 0
    with socket.create_connection(("127.0.0.1", port), 10) as sender:
        sender.sendall(BEGIN + order() + END)
        assert b"MSA|AA|CTL-1" in sender.recv(4096)
    assert seen(bridge, tmp_path / "ordered") == 1
    image = make("99", 1, Modality="MR")
    (tmp_path / "image.dcm").write_bytes(encode(image))
    status, said = run_dcmtk("storescu", "-aec", "FILEROOM", "127.0.0.1", bridge.port, tmp_path / "image.dcm")
    assert status == 0, said
    deadline = time.monotonic() + SECONDS
    while client.get(RESOURCE, params={"StudyInstanceUID": image.StudyInstanceUID}).status_code != 204:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert seen(bridge, tmp_path / "done") == 0
