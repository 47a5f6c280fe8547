"""Who may associate, judged by the peers of the running archive, told with the reasons of PS3.8 9.3.4."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pynetdicom import AE
from pynetdicom.association import Association

from app.dicom.transfer_syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from app.errors import CannotStart
from dimse_bridge import peers
from dimse_bridge.association.acceptor import serve_associations
from dimse_bridge.peers import read_file
from dimse_bridge.reception import Reception
from dimse_bridge.settings import Settings
from tests.support.archive import RunningArchive, free_port
from tests.support.bridge import echo

CT = "1.2.840.10008.5.1.4.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.11"
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
VERIFICATION = "1.2.840.10008.1.1"
JPEG = "1.2.840.10008.1.2.4.50"

CALLING_UNKNOWN = (1, 1, 3)
CALLED_UNKNOWN = (1, 1, 7)
CONGESTION = (2, 3, 1)


@dataclass
class Answer:
    """What became of an association request: the triple of A-ASSOCIATE-RJ, or the accepted transfer syntaxes."""

    rejection: tuple[int, int, int] | None
    contexts: dict[str, str]
    results: dict[str, int]
    max_pdu: int = 0
    implementation: tuple[str, str] = ("", "")


def request(port: int, calling: str, called: str, contexts: list[tuple[str, list[str]]]) -> Answer:
    """One association by pynetdicom, released at once."""
    ae = AE(calling)
    for abstract, syntaxes in contexts:
        ae.add_requested_context(abstract, syntaxes)
    for _ in range(5):  # pynetdicom takes some rejections for aborts: its threads race after it closed the connection
        association: Association = ae.associate("127.0.0.1", port, ae_title=called)
        if not association.is_aborted:
            break
    if association.is_rejected:
        said: Any = association.acceptor.primitive
        return Answer((said.result, said.result_source, said.diagnostic), {}, {})
    assert association.is_established
    found = Answer(
        None,
        {str(one.abstract_syntax): str(one.transfer_syntax[0]) for one in association.accepted_contexts},
        {str(one.abstract_syntax): one.result or 0 for one in association.rejected_contexts},
        association.acceptor.maximum_length or 0,
        (str(association.acceptor.implementation_class_uid), str(association.acceptor.implementation_version_name)),
    )
    association.release()
    return found


async def ask(
    port: int, calling: str, called: str = "FILEROOM", contexts: list[tuple[str, list[str]]] | None = None
) -> Answer:
    """An association, asked for in a thread."""
    return await asyncio.to_thread(request, port, calling, called, contexts or [(VERIFICATION, [IMPLICIT_LE])])


@asynccontextmanager
async def listening(**settings: Any) -> AsyncIterator[list[int]]:
    """A bridge in this process that may be called from elsewhere, as far as its settings go; its ports."""
    values: dict[str, Any] = {"dimse_host": "0.0.0.0", "dimse_plain": "anywhere"} | settings
    reception = Reception(Settings(**values))
    listeners = [
        await serve_associations("127.0.0.1", 0, reception.policy(one), reception.serve, timeouts=reception.timeouts)
        for one in Settings(**values).listeners
    ]
    yield [listener.port for listener in listeners]
    for listener in listeners:
        await listener.close()
    reception.close()


@pytest.fixture(autouse=True)
def _no_belief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers are asked for at each association."""
    monkeypatch.setattr(peers, "BELIEVED_SECONDS", 0.0)


class Registry:
    """The archive's peers; those of a test go with it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.made: list[str] = []

    def put(self, aet: str, **members: object) -> None:
        """Registers a peer."""
        self.made.append(aet)
        assert httpx.put(f"{self._url}/peers/{aet}", json=members).is_success

    def delete(self, aet: str) -> None:
        """Forgets a peer."""
        httpx.delete(f"{self._url}/peers/{aet}")


@pytest.fixture
def registry(archive: RunningArchive) -> Iterator[Registry]:
    found = Registry(archive.url)
    yield found
    for aet in found.made:
        found.delete(aet)


async def test_G26_an_unknown_calling_ae_is_rejected_where_others_can_call(archive: RunningArchive) -> None:
    async with listening(archive_url=archive.root) as (port,):
        assert (await ask(port, "NOBODY")).rejection == CALLING_UNKNOWN
        status, said = await asyncio.to_thread(echo, port, calling="NOBODY")
        assert status != 0
        assert "Calling AE Title Not Recognized" in said


async def test_who_was_rejected_stands_in_the_log(archive: RunningArchive, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "fileroom.bridge"):
        async with listening(archive_url=archive.root) as (port,):
            await ask(port, "NOBODY", "SOMEBODY")
    told = [getattr(one, "fields", {}) for one in caplog.records if "association rejected" in one.getMessage()]
    assert told[0] == {"peer": "NOBODY", "called": "SOMEBODY", "address": "127.0.0.1"}


async def test_on_loopback_everybody_is_admitted_unless_set_otherwise(archive: RunningArchive) -> None:
    for unknown, rejection in (("auto", None), ("admit", None), ("reject", CALLING_UNKNOWN)):
        async with listening(archive_url=archive.root, dimse_host="127.0.0.1", unknown_peers=unknown) as (port,):
            assert (await ask(port, "NOBODY")).rejection == rejection
            assert (await ask(port, "NOBODY", "SOMEBODY")).rejection == (rejection or CALLED_UNKNOWN)


async def test_changes_of_the_registry_apply_without_restart(archive: RunningArchive, registry: Registry) -> None:
    async with listening(archive_url=archive.root) as (port,):
        assert (await ask(port, "NEW")).rejection == CALLING_UNKNOWN
        registry.put("NEW")
        assert (await ask(port, "NEW")).rejection is None
        registry.put("NEW", may=["store"])
        both = [(VERIFICATION, [IMPLICIT_LE]), (CT, [IMPLICIT_LE])]
        assert (await ask(port, "NEW", contexts=both)).results == {VERIFICATION: 1}
        registry.delete("NEW")
        assert (await ask(port, "NEW")).rejection == CALLING_UNKNOWN


async def test_the_called_ae_must_be_ours_and_the_peers(archive: RunningArchive, registry: Registry) -> None:
    registry.put("ONE")
    registry.put("SECONDS", called=["SECOND"])
    registry.put("CARELESS", behaviour={"check_called_ae": False})
    async with listening(archive_url=archive.root, aets=[{"aet": "SECOND"}]) as (port,):
        assert (await ask(port, "ONE", "THIRD")).rejection == CALLED_UNKNOWN
        assert (await ask(port, "ONE", "SECOND")).rejection is None
        assert (await ask(port, "SECONDS", "FILEROOM")).rejection == CALLED_UNKNOWN
        assert (await ask(port, "SECONDS", "SECOND")).rejection is None
        assert (await ask(port, "CARELESS", "THIRD")).rejection is None


async def test_several_ae_titles_have_ports_and_names_of_their_own(archive: RunningArchive, registry: Registry) -> None:
    registry.put("ONE")
    second = {
        "aet": "SECOND",
        "port": free_port(),
        "implementation_class_uid": "1.2.3.4",
        "implementation_version_name": "SECOND_9",
    }
    async with listening(archive_url=archive.root, aets=[second]) as (main, other):
        assert (await ask(main, "ONE", "SECOND")).rejection == CALLED_UNKNOWN
        assert (await ask(other, "ONE", "FILEROOM")).rejection == CALLED_UNKNOWN
        syntaxes = [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE]
        for port, called in ((main, "FILEROOM"), (other, "SECOND")):
            for syntax in syntaxes:
                answer = await ask(port, "ONE", called, [(VERIFICATION, [syntax])])
                assert answer.contexts == {VERIFICATION: syntax}
        assert (await ask(other, "ONE", "SECOND")).implementation == ("1.2.3.4", "SECOND_9")
        assert (await ask(main, "ONE")).implementation[1] == "FILEROOM_0_1"


@pytest.mark.parametrize(
    ("addresses", "behaviour", "admitted"),
    [
        (["10.0.0.0/8"], "standard", False),
        (["127.0.0.1"], "standard", True),
        (["10.0.0.1", "127.0.0.0/8"], "xpacs", True),
        (["::1"], "xpacs", False),
        (["10.0.0.0/8"], "onepacs", True),
    ],
)
async def test_callers_can_be_limited_to_addresses(
    archive: RunningArchive, registry: Registry, addresses: list[str], behaviour: str, admitted: bool
) -> None:
    registry.put("FIXED", addresses=addresses, behaviour=behaviour)
    async with listening(archive_url=archive.root) as (port,):
        assert ((await ask(port, "FIXED")).rejection is None) is admitted


async def test_G28_a_peer_that_speaks_tls_may_not_call_without(archive: RunningArchive, registry: Registry) -> None:
    registry.put("SECURE", tls=True, certificate="ab" * 32)
    async with listening(archive_url=archive.root) as (port,):
        assert (await ask(port, "SECURE")).rejection == CALLING_UNKNOWN


async def test_rights_decide_about_contexts(archive: RunningArchive, registry: Registry) -> None:
    registry.put("READER", may=["echo", "find"])
    contexts = [(VERIFICATION, [IMPLICIT_LE]), (CT, [EXPLICIT_LE]), (STUDY_FIND, [IMPLICIT_LE])]
    async with listening(archive_url=archive.root) as (port,):
        answer = await ask(port, "READER", contexts=contexts)
        assert set(answer.contexts) == {VERIFICATION, STUDY_FIND}
        assert answer.results == {CT: 1}, "user rejection"


@pytest.mark.parametrize(
    ("preset", "abstract", "proposed", "accepted"),
    [
        ("standard", CT, [JPEG, EXPLICIT_LE], JPEG),
        ("standard", CT, [IMPLICIT_LE, EXPLICIT_LE], IMPLICIT_LE),
        ("dxserver", CT, [IMPLICIT_LE, EXPLICIT_LE], IMPLICIT_LE),
        ("onepacs", CT, [IMPLICIT_LE, JPEG, EXPLICIT_LE], JPEG),
        ("onepacs", CT, [IMPLICIT_LE], IMPLICIT_LE),
        ("standard", SR, [EXPLICIT_BE], EXPLICIT_BE),
        ("dxserver", SR, [EXPLICIT_BE], None),
        ("dxserver", SR, [EXPLICIT_BE, EXPLICIT_LE], EXPLICIT_LE),
    ],
)
async def test_presets_choose_transfer_syntaxes(
    archive: RunningArchive, registry: Registry, preset: str, abstract: str, proposed: list[str], accepted: str | None
) -> None:
    registry.put("PRESET", behaviour=preset)
    async with listening(archive_url=archive.root) as (port,):
        answer = await ask(port, "PRESET", contexts=[(VERIFICATION, [IMPLICIT_LE]), (abstract, proposed)])
        assert answer.contexts.get(abstract) == accepted


async def test_the_longest_pdu_is_announced_by_preset_and_setting(archive: RunningArchive, registry: Registry) -> None:
    registry.put("OWN", behaviour="onepacs")
    registry.put("PLAIN")
    async with listening(archive_url=archive.root, dimse_max_pdu=65536) as (port,):
        assert (await ask(port, "OWN")).max_pdu == 116794
        assert (await ask(port, "PLAIN")).max_pdu == 65536


async def test_G15_while_the_archive_is_away_its_last_known_peers_stand(
    archive: RunningArchive, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.put("KNOWN")
    async with listening(archive_url=archive.root) as (port,), relay(archive.port) as away:
        assert (await ask(port, "KNOWN")).rejection is None
        async with listening(archive_url=f"http://127.0.0.1:{away.port}/dicom-web") as (other,):
            assert (await ask(other, "KNOWN")).rejection is None
            await away.close()
            assert (await ask(other, "KNOWN")).rejection is None
            assert (await ask(other, "NOBODY")).rejection == CALLING_UNKNOWN


async def test_G15_before_the_archive_was_ever_there_callers_may_try_again() -> None:
    async with listening(archive_url=f"http://127.0.0.1:{free_port()}/dicom-web") as (port,):
        assert (await ask(port, "ANYONE")).rejection == CONGESTION


class Relay:
    """Passes bytes on to a port, until it is closed."""

    def __init__(self) -> None:
        self.server: asyncio.Server | None = None
        self.writers: list[asyncio.StreamWriter] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self.server is not None
        return int(self.server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Cuts every connection and takes no more."""
        assert self.server is not None
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()


@asynccontextmanager
async def relay(port: int) -> AsyncIterator[Relay]:
    """A relay to a port of this machine."""
    running = Relay()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        running.writers += (writer, back)
        await asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)

    running.server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield running
    await running.close()


async def test_before_another_server_peers_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "peers.toml"
    file.write_text('["CT 1"]\nmay = ["echo"]\n[MR1]\nhost = "127.0.0.1"\nport = 4\naddresses = ["10.0.0.0/8"]\n')
    settings = {"archive_url": "http://127.0.0.1:1/dicom-web", "archive_kind": "dicomweb", "dimse_peers": str(file)}
    async with listening(**settings) as (port,):
        assert (await ask(port, "CT 1")).rejection is None
        assert (await ask(port, "MR1")).rejection == CALLING_UNKNOWN
        assert (await ask(port, "MR2")).rejection == CALLING_UNKNOWN
    async with listening(**settings, unknown_peers="admit", dimse_behaviour="onepacs") as (port,):
        assert (await ask(port, "MR2")).max_pdu == 116794


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[A", "is no TOML"),
        ("[A]\nport = 0\n", "`port`"),
        ('["A\\\\B"]\n', "AE title"),
        ("A = 1\n", "object"),
    ],
)
def test_what_is_wrong_in_the_file_is_told(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "peers.toml"
    file.write_text(text)
    with pytest.raises(CannotStart, match=problem):
        read_file(file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="No such file"):
        read_file(tmp_path / "none.toml")
