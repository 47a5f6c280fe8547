"""Other people's requestors, unmodified: DCMTK's `storescu` with the whole corpus, with Nagle's algorithm on and off;
`echoscu`; pynetdicom."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from pynetdicom import AE

from app.dicom.part10 import HeaderReader
from app.dicom.transfer_syntaxes import EXPLICIT_LE, TRANSFER_SYNTAXES
from app.errors import FileroomError
from tests.corpus.test_roundtrip import refusals
from tests.dimse.store.conftest import CALLED, Bridge, open_bridge, sent_of
from tests.requirements.instances import CT, encode, make
from tests.support.archive import RunningArchive, free_port
from tests.testdata.fixtures import CorpusFile

MOST_CONTEXTS = 128
SENT_AT_LEAST = 180
LONGEST = 1_000_000
"""Bytes of a file that storescu sends here, since DCMTK reads and writes it four times; the requestor of our own sends
the longer ones, too."""


def dcmtk(name: str) -> str:
    """The tool of DCMTK: pynetdicom has tools of the same names."""
    path = shutil.which(name, path="/usr/bin:/usr/local/bin")
    if path is None:
        pytest.skip(f"needs DCMTK's {name}")
    return path


async def run(*command: str, **environment: str) -> str:
    """Runs a tool; its output, when it succeeds."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | environment,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 120)
    text = output.decode("latin-1")
    assert process.returncode == 0, text[-2000:]
    return text


def profile(path: Path, contexts: Sequence[tuple[str, str]]) -> Path:
    """A configuration of `storescu`: each (class, transfer syntax) as a presentation context of its own."""
    syntaxes = sorted({syntax for _, syntax in contexts})
    names = {syntax: f"T{at}" for at, syntax in enumerate(syntaxes)}
    lines = ["[[TransferSyntaxes]]"]
    for syntax in syntaxes:
        lines += [f"[{names[syntax]}]", f"TransferSyntax1 = {syntax}"]
    lines += ["[[PresentationContexts]]", "[P]"]
    lines += [f"PresentationContext{at} = {uid}\\{names[ts]}" for at, (uid, ts) in enumerate(contexts, 1)]
    lines += ["[[Profiles]]", "[ALL]", "PresentationContexts = P"]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def sendable(corpus: list[CorpusFile]) -> dict[str, tuple[CorpusFile, tuple[str, str]]]:
    """SOP Instance UID → file and what must be negotiated for it; of instances that are there once."""
    found = {}
    for file in corpus:
        if file.name in refusals() or file.facts["shares_sop_uid"] or file.path.stat().st_size > LONGEST:
            continue
        reader = HeaderReader()
        try:
            reader.feed(file.path.read_bytes())
            header = reader.finish()
        except FileroomError:
            continue
        if header.sop_class and header.transfer_syntax in TRANSFER_SYNTAXES:
            found[header.sop_instance] = file, (header.sop_class, header.transfer_syntax)
    return found


async def listening(port: int, seconds: float = 20) -> None:
    """Returns when somebody takes connections at `port`."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            return


async def test_what_storescu_sends_of_the_corpus_is_what_the_archive_has(
    sendable: dict[str, tuple[CorpusFile, tuple[str, str]]], empty: RunningArchive, tmp_path: Path
) -> None:
    """DCMTK reads and writes anew what it sends: what that is, DCMTK's `storescp` tells, which gets the same."""
    reference = tmp_path / "reference"
    reference.mkdir()
    port = free_port()
    command = (dcmtk("storescp"), "--bit-preserving", "+xa", "--promiscuous", "-aet", CALLED, "-uf")
    environment = os.environ | {"TCP_NODELAY": "1"}
    scp = await asyncio.create_subprocess_exec(*command, "-od", str(reference), str(port), env=environment)
    try:
        await listening(port)
        async with open_bridge(empty.root) as bridge:
            await send_corpus(sendable, (port, bridge.port), tmp_path)
            await compare(bridge, [reference / name for name in os.listdir(reference)])
    finally:
        scp.terminate()
        await scp.wait()


async def send_corpus(
    sendable: dict[str, tuple[CorpusFile, tuple[str, str]]], ports: Sequence[int], folder: Path
) -> None:
    """Sends every file to each of `ports`, in as few associations as its contexts need."""
    contexts = list(dict.fromkeys(context for _, context in sendable.values()))
    for first in range(0, len(contexts), MOST_CONTEXTS):
        group = contexts[first : first + MOST_CONTEXTS]
        configuration = profile(folder / f"profile{first}", group)
        files = [str(file.path) for file, context in sendable.values() if context in group]
        options = ("-xf", str(configuration), "ALL", "--no-halt", "-aec", CALLED)
        for port in ports:
            await run(dcmtk("storescu"), *options, "127.0.0.1", str(port), *files, TCP_NODELAY="1")


async def compare(bridge: Bridge, reference: Sequence[Path]) -> None:
    """Each data set that the reference got is in the archive as it is there."""
    wrong, compared = [], 0
    for path in reference:
        try:
            one = sent_of(path.read_bytes())
        except FileroomError:
            continue
        compared += 1
        if await bridge.stored(one.path, one.syntax) != one.data_set:
            wrong.append(one.sop_instance)
    assert wrong == []
    assert compared > SENT_AT_LEAST


@pytest.mark.parametrize("nodelay", ["", "1"])
async def test_storescu_with_and_without_nagles_algorithm(bridge: Bridge, tmp_path: Path, nodelay: str) -> None:
    made = [make("65" + nodelay, at, CT, EXPLICIT_LE) for at in range(20)]
    for at, data_set in enumerate(made):
        (tmp_path / f"{at}.dcm").write_bytes(encode(data_set))
    environment = {"TCP_NODELAY": nodelay} if nodelay else {}
    await run(dcmtk("storescu"), "-aec", CALLED, "+sd", "127.0.0.1", str(bridge.port), str(tmp_path), **environment)
    for data_set in made:
        one = sent_of(encode(data_set))
        assert await bridge.stored(one.path) == one.data_set


async def test_echoscu(bridge: Bridge) -> None:
    await run(dcmtk("echoscu"), "-aec", CALLED, "127.0.0.1", str(bridge.port))


async def test_pynetdicom(bridge: Bridge) -> None:
    made = make("66", 1, CT, EXPLICIT_LE)

    def talk() -> tuple[int, int]:
        ae = AE("PYNETDICOM")
        ae.add_requested_context("1.2.840.10008.1.1")
        ae.add_requested_context(CT, EXPLICIT_LE)
        association = ae.associate("127.0.0.1", bridge.port, ae_title=CALLED)
        assert association.is_established
        statuses = association.send_c_echo().Status, association.send_c_store(made).Status
        association.release()
        return statuses

    assert await asyncio.to_thread(talk) == (0, 0)
    one = sent_of(encode(made))
    assert await bridge.stored(one.path) == one.data_set
