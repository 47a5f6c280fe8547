"""G15: the archive is down, slow, full, or answers nonsense. The modality is told to try again (A700), nothing is
acknowledged, nothing hangs, and the association goes on when the archive does."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from app.dicom.peer import PRESETS, Peer
from dimse_bridge.archive_client.connection import Times
from dimse_bridge.services.store import AT_ONCE
from tests.dimse.store.conftest import Sent, open_bridge, send, sent_of
from tests.support.archive import RunningArchive, free_port, start_archive
from tests.support.samples import new_sample
from tests.unit.bridge.scripted_server import Exchange, Script, serving

SUCCESS, OUT_OF_RESOURCES, OUT_OF_RESOURCES_DXSERVER, MISMATCH = 0, 0xA700, 0xA765, 0xA900
OVER_LIMIT = 0xC001
SOON = Times(connect=1.0, answer=0.5, stall=0.5)
SMALL, LONG = 32, 3 * AT_ONCE // 64
JSON = "application/dicom+json"


def sample(rows: int = SMALL) -> Sent:
    return sent_of(new_sample(rows=rows).encode())


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    """An archive to kill and to stop."""
    running = start_archive(tmp_path_factory.mktemp("victim") / "data")
    yield running
    running.stop()


@pytest.mark.parametrize("rows", [SMALL, LONG])
async def test_G15_an_archive_that_is_not_there(rows: int) -> None:
    one = sample(rows)
    async with (
        open_bridge(f"http://127.0.0.1:{free_port()}/dicom-web") as bridge,
        bridge.associate([one.context]) as association,
    ):
        for _ in range(2):
            response = await send(association, one)
            assert response.status == OUT_OF_RESOURCES
            assert response.error_comment == "the archive cannot be reached"


async def test_G15_an_archive_that_is_killed_comes_back_to_the_same_association(victim: RunningArchive) -> None:
    one, other, long = sample(), sample(), sample(LONG)
    async with open_bridge(victim.root) as bridge, bridge.associate([one.context]) as association:
        assert (await send(association, one)).status == SUCCESS

        async def killed_in_mid_object() -> AsyncIterator[bytes]:
            yield long.data_set[: 2 * AT_ONCE]
            await asyncio.sleep(0.1)
            workers = victim.workers()
            victim.process.kill()
            for worker in workers:
                worker.kill()
            victim.process.wait(10)
            yield long.data_set[2 * AT_ONCE :]

        assert (await send(association, long, killed_in_mid_object())).status == OUT_OF_RESOURCES
        assert (await send(association, other)).status == OUT_OF_RESOURCES
        victim.start()
        await asyncio.to_thread(victim.wait_ready)
        for instance in (one, other, long):
            assert (await send(association, instance)).status == SUCCESS
            assert await bridge.stored(instance.path) == instance.data_set


async def test_G15_an_archive_that_is_stopped_does_not_stop_the_modality(victim: RunningArchive) -> None:
    one, long, last = sample(), sample(LONG), sample()
    async with open_bridge(victim.root, times=SOON) as bridge, bridge.associate([one.context]) as association:
        assert (await send(association, one)).status == SUCCESS
        processes = [psutil.Process(victim.pid), *victim.workers()]
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        try:
            assert (await send(association, sample())).status == OUT_OF_RESOURCES
            assert (await send(association, long)).status == OUT_OF_RESOURCES
        finally:
            for process in processes:
                process.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.2)
        assert (await send(association, last)).status == SUCCESS


@pytest.fixture
def full(tmp_path: Path) -> Iterator[RunningArchive]:
    """An archive that asks for more free space than there is."""
    running = start_archive(tmp_path / "data", ready=False, FILEROOM_RESERVE_MIB=str(1 << 40))
    while running.status("/dicom-web/studies") not in (200, 204):
        assert running.process.poll() is None, running.log
        time.sleep(0.05)
    yield running
    running.stop()


async def test_G15_a_full_archive_is_told_as_the_peer_is_used_to(full: RunningArchive) -> None:
    peers = {"DXSERVER": Peer("DXSERVER", behaviour=PRESETS["dxserver"])}
    async with open_bridge(full.root, peers=peers) as bridge:
        for calling, status in (("MODALITY", OUT_OF_RESOURCES), ("DXSERVER", OUT_OF_RESOURCES_DXSERVER)):
            for one in (sample(), sample(LONG)):
                async with bridge.associate([one.context], calling) as association:
                    response = await send(association, one)
                assert response.status == status
                assert response.error_comment == "free space is under the reserve; nothing was stored"


def _receipts(name: str) -> bytes:
    item = {"00081155": {"vr": "UI", "Value": [name]}}
    return json.dumps({"00081199": {"vr": "SQ", "Value": [item]}}).encode()


async def _close(exchange: Exchange) -> None:
    exchange.writer.close()


async def _silence(exchange: Exchange) -> None:
    await asyncio.sleep(60)


def _answer(status: int, kind: str, body: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.answer(status, kind, body)

    return script


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (_close, OUT_OF_RESOURCES),
        (_silence, OUT_OF_RESOURCES),
        (_answer(200, "text/html", b"<html>welcome</html>"), OUT_OF_RESOURCES),
        (_answer(200, JSON, b"{}"), OUT_OF_RESOURCES),
        (_answer(200, JSON, b"[1]"), OUT_OF_RESOURCES),
        (_answer(200, JSON, b"{"), OUT_OF_RESOURCES),
        (_answer(204, JSON, b""), OUT_OF_RESOURCES),
        (_answer(503, "text/plain", b"Doe^John is not in"), OUT_OF_RESOURCES),
        (_answer(502, "text/plain", b""), OUT_OF_RESOURCES),
        (_answer(301, "text/plain", b""), OUT_OF_RESOURCES),
        (_answer(500, "text/plain", b""), 0x0110),
        (_answer(401, "text/plain", b""), 0x0124),
        (_answer(200, JSON, _receipts("1.2.3")), MISMATCH),
    ],
)
async def test_G15_no_answer_that_makes_no_sense_is_a_success(script: Script, status: int) -> None:
    async with serving(script) as server, open_bridge(server.root, times=SOON) as bridge:
        for one in (sample(), sample(LONG)):
            async with bridge.associate([one.context]) as association:
                response = await send(association, one)
            assert response.status == status
            assert "Doe" not in (response.error_comment or "")


async def test_G15_an_early_refusal_is_answered_when_the_object_has_passed() -> None:
    """Then the same association goes on."""
    one = sample(LONG)

    async def script(exchange: Exchange) -> None:
        await exchange.reader.read(100)
        problem = b'{"detail":"the instance is longer than the limit for one part","limit":"part"}'
        await exchange.answer(413, "application/problem+json", problem)
        while await exchange.reader.read(65536):
            pass

    async with serving(script) as server, open_bridge(server.root) as bridge:
        async with bridge.associate([one.context]) as association:
            for _ in range(2):
                response = await send(association, one)
                assert response.status == OVER_LIMIT
                assert response.error_comment == "the instance is longer than the limit for one part"
