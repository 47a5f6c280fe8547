"""The upper layer with DCMTK and pynetdicom at the other end, in both roles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import AE, evt

from dimse_bridge.association.association import Aborted, Association, Rejected, Unreachable
from dimse_bridge.association.commands import echo_rq, store_rq
from dimse_bridge.association.context import Proposed, Timeouts
from dimse_bridge.association.negotiation import LocalAE, policy
from dimse_bridge.association.requestor import connect
from tests.dimse.association.conftest import Running, start
from tests.dimse.association.raw import CT, EXPLICIT, IMPLICIT, VERIFICATION
from tests.support.archive import free_port
from tests.support.bridge import dcmtk
from tests.support.small_files import data_set, encode

ECHO_ONLY = [Proposed(VERIFICATION, (IMPLICIT,))]


async def run(name: str, *arguments: str | int | Path) -> tuple[int, str]:
    """A command of DCMTK: exit status, and what it said."""
    process = await asyncio.create_subprocess_exec(
        dcmtk(name), *map(str, arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(30):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode("latin-1")


async def test_echoscu_and_its_128_contexts(provider: Running) -> None:
    assert await run("echoscu", "-pts", 38, "-ppc", 128, "--repeat", 5, "127.0.0.1", provider.port) == (0, "")


async def test_echoscu_that_aborts(provider: Running) -> None:
    await run("echoscu", "--abort", "127.0.0.1", provider.port)
    async with asyncio.timeout(5):
        while not provider.endings:  # noqa: ASYNC110 (services have no event)
            await asyncio.sleep(0.01)
    assert isinstance(provider.endings[0], Aborted)


@pytest.mark.parametrize("length", [4096, 131072])
async def test_storescu_with_short_and_long_pdus(provider: Running, tmp_path: Path, length: int) -> None:
    """DCMTK leaves Nagle's algorithm on; what it sends is what is in its files."""
    files = []
    for number, size in enumerate((2, 30_000, 400_000)):
        file = tmp_path / f"{number}.dcm"
        file.write_bytes(encode(data_set(PixelData=bytes(range(250)) * (size // 250) + b"\0\0")))
        files.append(file)
    status, said = await run("storescu", "--max-send-pdu", length, "127.0.0.1", provider.port, *files)
    assert (status, said) == (0, "")
    assert len(provider.data_sets) == 3
    for file, got in zip(files, provider.data_sets, strict=True):
        assert file.read_bytes().endswith(got[-1000:])


async def test_dcmtk_is_told_why_it_is_rejected() -> None:
    async def nobody(title: str) -> None:
        return None

    running = await start(policy({"FILEROOM": LocalAE("FILEROOM")}, nobody))
    async with running.listener:
        status, said = await run("echoscu", "-aec", "FILEROOM", "127.0.0.1", running.port)
    assert status != 0
    assert "Calling AE Title Not Recognized" in said


async def test_pynetdicom_as_user(provider: Running) -> None:
    def use() -> list[int]:
        ae = AE("PYNETDICOM")
        ae.add_requested_context(VERIFICATION, [IMPLICIT])
        ae.add_requested_context(CT, [EXPLICIT])
        association = ae.associate("127.0.0.1", provider.port, ae_title="FILEROOM")
        assert association.is_established
        statuses = [association.send_c_echo().Status]
        statuses.append(association.send_c_store(dcmread(BytesIO(encode(data_set(SOPClassUID=CT))))).Status)
        association.release()
        assert association.is_released
        return statuses

    assert await asyncio.to_thread(use) == [0, 0]
    assert len(provider.data_sets) == 1


@pytest.fixture
def pynetdicom() -> Iterator[tuple[int, list[bytes]]]:
    """pynetdicom as provider: its port, and the data sets that it got."""
    got: list[bytes] = []

    def on_store(event: evt.Event) -> int:
        request: Any = event.request
        got.append(request.DataSet.getvalue())
        return 0

    ae = AE("PYNETDICOM")
    ae.add_supported_context(VERIFICATION)
    ae.add_supported_context(CT, [EXPLICIT], scu_role=True, scp_role=True)
    ae.require_called_aet = True
    ae.maximum_pdu_size = 4096
    server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    yield server.socket.getsockname()[1], got
    server.shutdown()


async def _pieces(data: bytes, step: int) -> AsyncIterator[bytes]:
    for start_ in range(0, len(data), step):
        yield data[start_ : start_ + step]


async def test_pynetdicom_as_provider(pynetdicom: tuple[int, list[bytes]]) -> None:
    """Objects as bytes, in pieces that fit no PDU, in ones that fit exactly, and empty."""
    port, got = pynetdicom
    contexts = [*ECHO_ONLY, Proposed(CT, (EXPLICIT,), scp_role=True), Proposed("1.2.3.4", (IMPLICIT,))]
    sent = [bytes(range(256)) * 100, b"\1\2" * 4090, b"\1\2" * 2045, b""]
    async with connect("127.0.0.1", port, calling="US", called="PYNETDICOM", contexts=contexts) as association:
        assert set(association.contexts) == {1, 3}
        assert (association.contexts[3].scu, association.contexts[3].scp) == (True, True)
        assert association.max_send_length == 4096
        await association.send(association.contexts[1], echo_rq(1))
        assert (await association.receive()).command.status == 0
        for step in (0, 1, 1000, 4090, 100_000):
            for data in sent:
                if step == 1:
                    data = data[:300]
                body = _pieces(data, step) if step else data
                await association.send(association.contexts[3], store_rq(2, CT, "1.2.3"), body)
                assert (await association.receive()).command.status == 0
                assert got.pop() == data


async def test_pynetdicom_rejects(pynetdicom: tuple[int, list[bytes]]) -> None:
    with pytest.raises(Rejected) as caught:
        async with connect("127.0.0.1", pynetdicom[0], calling="US", called="OTHER", contexts=ECHO_ONLY):
            pass
    assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 7)
    assert not caught.value.is_transient


async def test_storescp_keeps_what_we_send(tmp_path: Path) -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(dcmtk("storescp"), "-od", str(tmp_path), "+B", str(port))
    data = encode(data_set(SOPClassUID=CT, PixelData=bytes(100_000)))
    body = data[data.index(b"\x08\0\x16\0UI") :]
    try:
        async with _connected(port) as association:
            await association.send(association.contexts[1], store_rq(1, CT, "1.2.3"), body)
            assert (await association.receive()).command.status == 0
    finally:
        process.terminate()
        await process.wait()
    (kept,) = list(tmp_path.iterdir())  # noqa: ASYNC240
    assert kept.read_bytes().endswith(body)


class _connected:
    """An association with a server that may still be starting."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Association:
        async with asyncio.timeout(20):
            while True:
                self._one = connect(
                    "127.0.0.1", self._port, calling="US", called="THEM", contexts=[Proposed(CT, (EXPLICIT,))]
                )
                try:
                    return await self._one.__aenter__()
                except Unreachable:
                    await asyncio.sleep(0.05)

    async def __aexit__(self, *error: object) -> None:
        await self._one.__aexit__(None, None, None)


async def test_nobody_listens() -> None:
    with pytest.raises(Unreachable):
        async with connect("127.0.0.1", free_port(), calling="A", called="B", contexts=ECHO_ONLY):
            pass


async def test_a_block_that_raises_aborts(provider: Running) -> None:
    with pytest.raises(ZeroDivisionError):
        async with connect("127.0.0.1", provider.port, calling="A", called="B", contexts=ECHO_ONLY):
            raise ZeroDivisionError
    async with asyncio.timeout(5):
        while not provider.endings:  # noqa: ASYNC110 (services have no event)
            await asyncio.sleep(0.01)
    assert isinstance(provider.endings[0], Aborted)


async def test_both_sides_release_at_once(provider: Running) -> None:
    """PS3.8 7.2.2, with pynetdicom's and our own machines in the two roles."""
    async with connect(
        "127.0.0.1", provider.port, calling="A", called="B", contexts=ECHO_ONLY, timeouts=Timeouts(acse=5.0)
    ) as association:
        acceptor = next(iter(provider.listener._acceptors))
        assert acceptor.association is not None
        theirs = asyncio.create_task(acceptor.association.release())
        await association.release()
        await theirs
        assert acceptor.association.ending is not None
