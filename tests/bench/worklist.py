"""The worklist with 10,000 items beside DCMTK's wlmscpfs: one question by station and day, asked of both in turn.

    python -m tests.bench.worklist [ITEMS]

Asked by one association each, in this process; times are wall clock of the query, the best and the median of some."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

from pydicom.dataset import Dataset

from app.dicom.transfer_syntaxes import EXPLICIT_LE
from dimse_bridge.association.abstract_syntaxes import MODALITY_WORKLIST_FIND
from dimse_bridge.association.commands import find_rq
from dimse_bridge.association.context import Proposed
from dimse_bridge.association.negotiation import LocalAE
from dimse_bridge.association.requestor import connect
from dimse_bridge.user.remote import PENDING
from tests.dimse.find.encoding import encode
from tests.dimse.worklist.conftest import CALLED, keys
from tests.support.archive import ROOT, free_port, start_archive
from tests.support.bridge import dcmtk, start_bridge

STATIONS = [f"STATION{number:02}" for number in range(20)]
DAYS = [f"{date(2024, 3, 1) + timedelta(days):%Y%m%d}" for days in range(25)]
ROUNDS = 15
THEIR_ROUNDS = 5
TARGET = 0.02


def item(number: int) -> Dataset:
    ds = Dataset()
    ds.PatientName, ds.PatientID = f"Patient^Number{number}", f"P{number}"
    ds.PatientBirthDate, ds.PatientSex = "19700101", "O"
    ds.StudyInstanceUID, ds.AccessionNumber = f"1.2.826.0.1.3680043.8.498.7332.700.{number}", f"A{number}"
    ds.RequestedProcedureID, ds.RequestedProcedureDescription = f"R{number}", "EXAM"
    step = Dataset()
    step.Modality, step.ScheduledStationAETitle = "CT", STATIONS[number % len(STATIONS)]
    step.ScheduledProcedureStepStartDate = DAYS[number // len(STATIONS) % len(DAYS)]
    step.ScheduledProcedureStepStartTime = f"{8 + number % 10:02}{number % 60:02}00"
    step.ScheduledProcedureStepID, step.ScheduledProcedureStepDescription = f"S{number}", "STEP"
    step.ScheduledPerformingPhysicianName, step.ScheduledStationName = "Doer^Dora", "NAME"
    ds.ScheduledProcedureStepSequence = [step]
    return ds


def question() -> Dataset:
    step = dict.fromkeys(("Modality", "ScheduledProcedureStepStartTime", "ScheduledProcedureStepID"))
    step |= {"ScheduledStationAETitle": STATIONS[7], "ScheduledProcedureStepStartDate": DAYS[9]}
    return keys(step, PatientName=None, PatientID=None, AccessionNumber=None, StudyInstanceUID=None)


async def measured(port: int, rounds: int) -> tuple[list[float], int]:
    """Seconds of each query, sorted, and how many answers it had; by a client that costs little itself."""
    seconds, found = [], 0
    asked = encode(question(), EXPLICIT_LE)
    contexts = [Proposed(MODALITY_WORKLIST_FIND, (EXPLICIT_LE,))]
    async with connect("127.0.0.1", port, calling=LocalAE("BENCH"), called=CALLED, contexts=contexts) as association:
        (context,) = association.contexts.values()
        for _ in range(rounds + 1):
            started = time.perf_counter()
            await association.send(context, find_rq(1, MODALITY_WORKLIST_FIND), asked)
            found = -1
            message = None
            while message is None or message.command.status in PENDING:
                found += 1
                message = await association.receive()
                if message.has_data_set:
                    await message.data_set(1 << 20)
            assert message.command.status == 0, message.command
            seconds.append(time.perf_counter() - started)
    return sorted(seconds[1:]), found


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory(prefix="worklist-") as name:
        folder = Path(name)
        database = folder / "files" / CALLED
        database.mkdir(parents=True)
        (database / "lockfile").touch()
        for number in range(count):
            item(number).save_as(database / f"{number}.wl", implicit_vr=False, little_endian=True)
        archive = start_archive(folder / "data", FILEROOM_WORKERS="1")
        bridge = start_bridge(folder, archive.root, FILEROOM_DIMSE_WORKERS="1")
        port = free_port()
        command = [dcmtk("wlmscpfs"), "--single-process", "-dhl", "-dfp", str(database.parent), str(port)]
        theirs = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            started = time.perf_counter()
            importing = [sys.executable, "-m", "app.cli", "worklist", "import", str(database)]
            subprocess.run(importing, cwd=ROOT, env=archive.environment, check=True)
            print(f"imported in {time.perf_counter() - started:.1f} s")
            of_theirs, their_count = asyncio.run(measured(port, THEIR_ROUNDS))
            of_ours, our_count = asyncio.run(measured(bridge.port, ROUNDS))
        finally:
            theirs.terminate()
            theirs.wait(10)
            bridge.stop()
            archive.stop()
    assert our_count == their_count > 0, (our_count, their_count)
    ratio = statistics.median(of_ours) / statistics.median(of_theirs)
    print(f"{count} items, {our_count} found by station and day")
    for who, seconds in (("wlmscpfs", of_theirs), ("fileroom", of_ours)):
        print(f"{who:10} best {seconds[0] * 1000:8.1f} ms, median {statistics.median(seconds) * 1000:8.1f} ms")
    print(f"ratio of the medians {ratio:.4f}, wanted at most {TARGET}")
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
