"""`fileroom dimse commit`: the report comes on the same association or on one of the peer's, and each instance is told
of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dimse.user.test_commands import Typed, dimse
from tests.support.archive import free_port
from tests.support.commitment_scp import NEVER, NEW, SAME, SC, keeping
from tests.support.samples import Sample, new_token, new_uid

__all__ = ["dimse"]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, list[Sample]]:
    """A folder with three files, and what they hold."""
    study, series = new_uid(), new_uid()
    samples = [Sample(study, series, new_uid(), new_token()) for _ in range(3)]
    for one in samples:
        (tmp_path / one.sop).write_bytes(one.encode())
    return tmp_path, samples


Files = tuple[Path, list[Sample]]


async def test_the_report_comes_on_the_same_association(dimse: Typed, files: Files) -> None:
    folder, samples = files
    with keeping("KEEPER", ("US", 1), SAME) as keeper:
        status, printed, said = await dimse("commit", f"KEEPER@127.0.0.1:{keeper.port}", folder)
    assert status == 0, said
    assert sorted(printed.splitlines()) == sorted(
        [*(f"committed {one.sop}" for one in samples), "3 of 3 instances are committed."]
    )
    assert (keeper.answers, keeper.was_open) == ([0], [True])
    items = keeper.asked[0].ReferencedSOPSequence
    assert {(one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID) for one in items} == {
        (SC, one.sop) for one in samples
    }


async def test_the_report_comes_on_an_association_of_the_peer(dimse: Typed, files: Files) -> None:
    folder, samples = files
    port = free_port()
    with keeping("KEEPER", ("US", port), NEW) as keeper:
        keeper.refused = {samples[0].sop}
        peer = f"KEEPER@127.0.0.1:{keeper.port}"
        status, printed, said = await dimse("commit", peer, folder, "--aet", "US", "--listen", f"127.0.0.1:{port}")
    assert status == 1, said
    assert f"failed {samples[0].sop}: 0112H no such instance" in printed
    assert printed.endswith("2 of 3 instances are committed.\n")
    assert (keeper.answers, keeper.was_open) == ([0], [False])


async def test_no_report_in_time(dimse: Typed, files: Files) -> None:
    with keeping("KEEPER", ("US", 1), NEVER) as keeper:
        peer = f"KEEPER@127.0.0.1:{keeper.port}"
        for more in ((), ("--listen", f"127.0.0.1:{free_port()}")):
            status, printed, said = await dimse("commit", peer, files[0], "--wait", "0.3", *more)
            assert (status, printed) == (1, "")
            assert "no report came within 0.3 seconds" in said


async def test_a_peer_that_refuses_and_things_that_are_no_instances(dimse: Typed, files: Files, tmp_path: Path) -> None:
    with keeping("KEEPER", ("US", 1), NEVER) as keeper:
        keeper.action_status = 0x0213
        peer = f"KEEPER@127.0.0.1:{keeper.port}"
        status, _, said = await dimse("commit", peer, "-i", f"{SC}=1.2.3")
        assert (status, "the peer answered 0213H" in said) == (1, True)
        (tmp_path / "text").mkdir()
        (tmp_path / "text" / "a.txt").write_bytes(b"nothing of DICOM" * 40)
        status, printed, said = await dimse("commit", peer, tmp_path / "text")
        assert (status, printed, "nothing to ask about" in said) == (1, "", True)
    for words in (("-i", "1.2"), ("-i", "x=1.2"), ("--listen", "host")):
        status, _, said = await dimse("commit", "A@b", *words)
        assert (status, "usage: fileroom dimse" in said) == (2, True)
