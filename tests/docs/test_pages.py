"""The pages in `docs`: every command is executed as it stands there, against real peers, and does what it is for."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from pydicom.dataset import Dataset
from pynetdicom.ae import ApplicationEntity
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from tests.docs.test_readme import lay_out
from tests.style.measure import ROOT as PROJECT
from tests.support.archive import RunningArchive, free_port
from tests.support.bridge import start_both
from tests.support.hl7 import order
from tests.support.receiver import Receiver
from tests.support.small_files import data_set, encode

MOST_LINES = 150
PAGES = sorted((PROJECT / "docs").glob("*.md"))


def text_of(name: str) -> str:
    return (PROJECT / "docs" / f"{name}.md").read_text(encoding="utf8")


async def run(name: str, folder: Path, archive: RunningArchive, replaced: dict[str, str]) -> str:
    """What the commands of a page print, all in one shell; what they name that a test has elsewhere is replaced."""
    environment = lay_out(folder, archive)
    (folder / "scan.dcm").write_bytes(encode(data_set(Modality="CT")))
    script = "\n".join(re.findall(r"(?ms)^```sh\n(.*?)^```$", text_of(name)))
    for old, new in replaced.items():
        assert old in script
        script = script.replace(old, new)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euxo", "pipefail", "-c", script), cwd=folder, env=environment, stdout=pipe, stderr=pipe
    )
    async with asyncio.timeout(240):
        output, errors = await process.communicate()
    assert process.returncode == 0, f"{output.decode()}\n{errors.decode()}\n{archive.log}"
    return output.decode() + errors.decode()


def worklist_item() -> Dataset:
    """What a `.wl` file holds: a step of another station."""
    step, item = Dataset(), Dataset()
    step.Modality, step.ScheduledStationAETitle = "MR", "MR2"
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = "20300302", "1015"
    item.PatientName, item.PatientID, item.AccessionNumber = "Poe^Edgar", "P2", "KNEE-2"
    item.ScheduledProcedureStepSequence = [step]
    return item


async def started(folder: Path, **settings: str) -> tuple[RunningArchive, int]:
    return await asyncio.to_thread(start_both, folder / "data", **settings)


async def test_the_worklist_page(tmp_path: Path) -> None:
    feed = free_port()
    archive, port = await started(tmp_path / "archive", FILEROOM_HL7_PORT=str(feed))
    try:
        kitchen = tmp_path / "kitchen"
        (kitchen / "wl").mkdir(parents=True)
        (kitchen / "order.hl7").write_bytes(order().replace(b"\r", b"\n"))
        worklist_item().save_as(kitchen / "wl" / "knee.wl", implicit_vr=True, little_endian=True)
        output = await run("worklist", kitchen, archive, {"127.0.0.1/2575": f"127.0.0.1/{feed}", " 11112": f" {port}"})
    finally:
        await asyncio.to_thread(archive.stop)
    assert "MSA|AA|CTL-1" in output
    assert '"P4711"' in output
    assert "1 added, 0 replaced, 0 left out" in output
    assert len(re.findall(r"(?m)^20240229 \S+ +MR1 +MR +P1 +Doe\^Jane", output)) == 2, "preview and list"
    assert re.search(r"PN \[Doe\^Jane", output), "what findscu was told"
    assert re.search(r"(?m)^20300302 .*KNEE-2 .*scheduled", output)


async def test_the_routing_page(tmp_path: Path, archive: RunningArchive) -> None:
    sender, _ = await started(tmp_path / "archive", FILEROOM_QUIET_SECONDS="1")
    pacs = ApplicationEntity(ae_title="PACS2")
    pacs.add_supported_context(Verification)
    server = pacs.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    assert server.socket is not None
    try:
        async with Receiver(secret="").listening() as receiver, httpx.AsyncClient(timeout=30) as client:
            (tmp_path / "kitchen").mkdir()
            replaced = {
                "https://second.example/dicom-web": archive.root,
                "https://ris.example/fileroom": receiver.url,
                '"host": "10.0.0.9", "port": 104': f'"host": "127.0.0.1", "port": {server.socket.getsockname()[1]}',
            }
            output = await run("routing", tmp_path / "kitchen", sender, replaced)
            (secret,) = re.findall(r'"secret":"(whsec_[^"]+)"', output)
            receiver.secret = secret
            assert receiver.got[0].value["type"] == "ping"
            (study,) = set(re.findall(r"STUDY=([0-9.]+)", output))
            async with asyncio.timeout(60):
                while True:
                    if (await client.get(f"{archive.root}/studies/{study}/metadata")).status_code == 200:
                        break
                    await asyncio.sleep(0.1)
            await client.delete(f"{sender.root}/studies/{study}")
            await receiver.until(lambda: any(event["kind"] == "deleted" for event in receiver.events))
            assert all(map(receiver.is_signed, receiver.got))
    finally:
        server.shutdown()
        await asyncio.to_thread(sender.stop)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.stem))
def test_a_page_is_a_page(page: Path) -> None:
    text = page.read_text(encoding="utf8")
    assert len(text.splitlines()) <= MOST_LINES
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("https://")]
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert f"docs/{page.name}" in (PROJECT / "README.md").read_text(encoding="utf8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.stem))
def test_every_setting_and_address_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf8")
    known = (PROJECT / "README.md").read_text(encoding="utf8")
    for name in set(re.findall(r"FILEROOM_[A-Z0-9_]+(?=`|=)", text)):
        assert f"| `{name}` |" in known, name
