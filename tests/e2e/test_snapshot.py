"""A study that is being retrieved is the one that was there at the start, whatever happens to it meanwhile."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

import httpx
import pytest

from tests.requirements.instances import ROOT, encode, make, store
from tests.support.archive import RunningArchive

INSTANCES = 40
PIXELS = 1024
"""Rows and columns of 8 bits: 40 MiB in all, far more than the sockets between us hold."""


def files(study: str, fill: int) -> list[bytes]:
    instances = [make(study, number, Rows=PIXELS, Columns=PIXELS) for number in range(INSTANCES)]
    for ds in instances:
        ds.PixelData = bytes((fill,)) * (PIXELS * PIXELS)
    return [encode(ds) for ds in instances]


def delete(client: httpx.Client, study: str) -> None:
    assert client.delete(f"/studies/{ROOT}.{study}").status_code == 200


def replace(client: httpx.Client, study: str) -> None:
    assert store(client, files(study, 2)[INSTANCES // 2 :]).status_code == 200


def digests(contents: list[bytes]) -> list[str]:
    return sorted(hashlib.sha256(content).hexdigest() for content in contents)


def parts(content_type: str, body: bytes) -> list[bytes]:
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    assert boundary is not None
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode())
    assert pieces[-1].startswith(b"--"), "the closing delimiter is there"
    return [piece.partition(b"\r\n\r\n")[2] for piece in pieces[1:-1]]


@pytest.mark.parametrize(("study", "meanwhile"), [("6.1", delete), ("6.2", replace)], ids=["delete", "replace"])
def test_G20_a_retrieve_gives_what_was_there_at_its_start(
    archive: RunningArchive, study: str, meanwhile: Callable[[httpx.Client, str], None]
) -> None:
    sent = files(study, 1)
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    with httpx.Client(base_url=archive.root, timeout=60) as client, httpx.Client(base_url=archive.root) as other:
        assert store(client, sent).status_code == 200
        with client.stream("GET", f"/studies/{ROOT}.{study}", headers={"Accept": accept}) as answer:
            assert answer.status_code == 200
            chunks = answer.iter_raw()
            body = [next(chunks)]
            meanwhile(other, study)
            body += chunks
        received = parts(answer.headers["content-type"], b"".join(body))
    assert digests(received) == digests(sent)
