"""DIMSE over TLS (PS3.15 B.9): certificates of both sides, made by openssl; old versions and strangers stay out."""

from __future__ import annotations

import hashlib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.dicom.peer import Peer
from app.errors import CannotStart
from dimse_bridge.association.association import Unreachable
from dimse_bridge.association.commands import echo_rq
from dimse_bridge.association.context import Proposed
from dimse_bridge.association.requestor import connect
from dimse_bridge.settings import Settings
from dimse_bridge.tls import ClientContexts, server_context
from tests.dimse.association.raw import IMPLICIT, VERIFICATION
from tests.support.archive import free_port
from tests.support.bridge import RunningBridge, run_dcmtk, start_bridge

ECHO = [Proposed(VERIFICATION, (IMPLICIT,))]


class Papers:
    """An authority, and certificates that it signed for `server` and `client`; `stranger` signed its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._openssl(
            "req", "-x509", *self._key("authority"), "-subj", "/CN=Authority", "-out", self.file("authority.pem")
        )
        self._openssl(
            "req", "-x509", *self._key("stranger"), "-subj", "/CN=Stranger", "-out", self.file("stranger.pem")
        )
        names = folder / "names"
        names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        for name in ("server", "client"):
            self._openssl("req", *self._key(name), "-subj", f"/CN={name}", "-out", self.file(f"{name}.csr"))
            authority = ("-CA", self.file("authority.pem"), "-CAkey", self.file("authority.key"), "-CAcreateserial")
            files = ("-in", self.file(f"{name}.csr"), "-out", self.file(f"{name}.pem"), "-extfile", str(names))
            self._openssl("x509", "-req", *authority, *files, "-days", "2")

    def file(self, name: str) -> str:
        """The path of one of the files."""
        return str(self.folder / name)

    def fingerprint(self, name: str) -> str:
        """SHA-256 of a certificate."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(Path(self.file(name)).read_text())).hexdigest()

    def settings(self, name: str, **more: object) -> Settings:
        """The settings of a bridge with the certificate of `name`."""
        return Settings(
            dimse_tls_certificate=self.file(f"{name}.pem"),
            dimse_tls_key=self.file(f"{name}.key"),
            dimse_tls_authorities=self.file("authority.pem"),
            **more,  # type: ignore[arg-type]
        )

    def _key(self, name: str) -> tuple[str, ...]:
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.file(f"{name}.key"))

    @staticmethod
    def _openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def secure(papers: Papers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningBridge, int]]:
    """A bridge that needs certificates, and its port for TLS. PINNED must show the certificate of `client`."""
    folder = tmp_path_factory.mktemp("secure")
    peers = folder / "peers.toml"
    pinned = f'["PINNED"]\ntls = true\ncertificate = "{papers.fingerprint("client.pem")}"\n'
    wrong = f'["WRONG"]\ntls = true\ncertificate = "{papers.fingerprint("stranger.pem")}"\n'
    peers.write_text(f'["PEER"]\ntls = true\n{pinned}{wrong}')
    port = free_port()
    running = start_bridge(
        folder,
        "http://127.0.0.1:1/dicom-web",
        FILEROOM_DIMSE_PEERS=str(peers),
        FILEROOM_UNKNOWN_PEERS="reject",
        FILEROOM_DIMSE_TLS_PORT=str(port),
        FILEROOM_DIMSE_TLS_CERTIFICATE=papers.file("server.pem"),
        FILEROOM_DIMSE_TLS_KEY=papers.file("server.key"),
        FILEROOM_DIMSE_TLS_AUTHORITIES=papers.file("authority.pem"),
    )
    yield running, port
    assert running.stop() == 0


def echoscu(papers: Papers, port: int, name: str, title: str = "PEER") -> tuple[int, str]:
    """DCMTK's echo over TLS with the certificate of `name`."""
    key = ("+tls", papers.file(f"{name}.key"), papers.file(f"{name}.pem"), "+cf", papers.file("authority.pem"))
    return run_dcmtk("echoscu", *key, "-aet", title, "-aec", "FILEROOM", "localhost", port)


def test_dcmtk_with_a_certificate_is_answered(papers: Papers, secure: tuple[RunningBridge, int]) -> None:
    assert echoscu(papers, secure[1], "client") == (0, "")
    assert echoscu(papers, secure[1], "client", "PINNED") == (0, "")


def test_strangers_stay_out(papers: Papers, secure: tuple[RunningBridge, int]) -> None:
    running, port = secure
    assert echoscu(papers, port, "stranger")[0] != 0
    assert "Calling AE Title Not Recognized" in echoscu(papers, port, "client", "WRONG")[1]
    plain = run_dcmtk("echoscu", "-aet", "PEER", "-aec", "FILEROOM", "127.0.0.1", running.port)
    assert "Calling AE Title Not Recognized" in plain[1]  # PEER must call by TLS
    assert run_dcmtk("echoscu", "-to", 3, "-ta", 3, "127.0.0.1", port)[0] != 0
    assert echoscu(papers, port, "client") == (0, "")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_are_refused(papers: Papers, secure: tuple[RunningBridge, int]) -> None:
    context = ssl.create_default_context(cafile=papers.file("authority.pem"))
    context.load_cert_chain(papers.file("client.pem"), papers.file("client.key"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", secure[1]), 5) as connection,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(connection, server_hostname="localhost")


async def _echo(port: int, peer: Peer, contexts: ClientContexts, *, host: str = "localhost") -> int | None:
    async with connect(
        host,
        port,
        calling="PEER",
        called="FILEROOM",
        contexts=ECHO,
        tls=contexts.of(peer),
        certificate=peer.certificate,
    ) as association:
        await association.send(association.contexts[1], echo_rq(1))
        return (await association.receive()).command.status


async def test_we_call_by_tls(papers: Papers, secure: tuple[RunningBridge, int]) -> None:
    contexts = ClientContexts(papers.settings("client"))
    assert await _echo(secure[1], Peer("X", tls=True), contexts) == 0
    pinned = Peer("X", tls=True, certificate=papers.fingerprint("server.pem"))
    assert await _echo(secure[1], pinned, contexts) == 0


async def test_we_call_nobody_whose_certificate_is_not_the_right_one(
    papers: Papers, secure: tuple[RunningBridge, int]
) -> None:
    contexts = ClientContexts(papers.settings("client"))
    with pytest.raises(Unreachable):
        await _echo(secure[1], Peer("X", tls=True, certificate=papers.fingerprint("stranger.pem")), contexts)
    with pytest.raises(Unreachable):
        await _echo(secure[1], Peer("X", tls=True), contexts, host="127.0.0.2")
    with pytest.raises(Unreachable):
        await _echo(secure[0].port, Peer("X", tls=True), contexts)


def test_files_that_are_none_are_named(papers: Papers, tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    for file in (str(junk), str(tmp_path / "missing.pem")):
        with pytest.raises(CannotStart, match=Path(file).name):
            server_context(Settings(dimse_tls_port=1, dimse_tls_certificate=file, dimse_tls_clients="none"))
