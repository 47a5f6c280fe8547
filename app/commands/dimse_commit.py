"""`fileroom dimse commit`: asks whether another AE keeps instances (PS3.4 J.3), waits for its report on the same
association or listens for it, and tells what it says of each."""

from __future__ import annotations

import argparse
import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from app.dicom.commitment import FailureReason, Result, read_result
from app.dicom.uid import is_uid
from app.errors import FileroomError, NotFound, Unreadable
from dimse_bridge.association.acceptor import accept_all, serve_associations
from dimse_bridge.association.association import Association
from dimse_bridge.user.commit import Take, answer_report, commit
from dimse_bridge.user.remote import OperationFailed, Remote
from dimse_bridge.user.store import open_file

_HANG_UP_SECONDS = 2.0
"""While we listen, the report may still come on the association of the request."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What is asked about, and how its answer comes."""
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="a file or a folder")
    parser.add_argument(
        "-i", "--instance", dest="instances", action="append", default=[], type=_reference, metavar="CLASS=UID",
        help="SOP Class and SOP Instance UID, without a file",
    )  # fmt: skip
    parser.add_argument(
        "--listen", type=_address, metavar="[HOST:]PORT", help="take the report on an association of the peer's too"
    )
    parser.add_argument("--wait", type=float, default=60, metavar="S", help="seconds for the report (60)")


def _reference(text: str) -> tuple[str, str]:
    sop_class, _, sop = text.partition("=")
    if not is_uid(sop_class) or not is_uid(sop):
        raise argparse.ArgumentTypeError("two UIDs with = between them are needed")
    return sop_class, sop


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError("a port is needed, with an address before it or not")
    return host.strip("[]"), int(port)


async def run(options: argparse.Namespace, remote: Remote, files: Iterable[Path]) -> int:
    """Asks; 0 when everything is committed."""
    references = await asyncio.to_thread(_references, files, options.instances)
    if not references:
        print("there is nothing to ask about", file=sys.stderr)
        return 1
    try:
        result = await _ask(options, remote, list(references))
    except OperationFailed as error:
        print(error, file=sys.stderr)
        return 1
    except TimeoutError:
        print(f"no report came within {options.wait:g} seconds", file=sys.stderr)
        return 1
    committed = set(result.committed)
    for _, sop in references:
        print(f"committed {sop}" if sop in committed else f"failed {sop}: {_why(result.failures.get(sop))}")
    count = sum(sop in committed for _, sop in references)
    print(f"{count} of {len(references)} instances are committed.")
    return 0 if count == len(references) else 1


async def _ask(options: argparse.Namespace, remote: Remote, references: list[tuple[str, str]]) -> Result:
    """Raises `TimeoutError` when no report comes, and what `commit` raises."""
    told: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    uid = f"2.25.{uuid.uuid4().int}"

    async def take(content: bytes) -> None:
        result = read_result(orjson.loads(content))
        if result.transaction != uid:
            raise NotFound("nobody asked for this commitment")
        if not told.done():
            told.set_result(result)

    if options.listen is None:
        if not await commit(remote, uid, references, take, options.wait):
            raise TimeoutError
        return await told
    host, port = options.listen
    async with _listening(host, port, take):
        await commit(remote, uid, references, take, min(options.wait, _HANG_UP_SECONDS))
        async with asyncio.timeout(options.wait):
            return await told


@asynccontextmanager
async def _listening(host: str, port: int, take: Take) -> AsyncIterator[None]:
    async def serve(association: Association) -> None:
        while True:
            await answer_report(association, await association.receive(), take)

    async with await serve_associations(host, port, accept_all, serve):
        yield


def _references(files: Iterable[Path], more: Iterable[tuple[str, str]]) -> dict[tuple[str, str], None]:
    found = dict.fromkeys(more)
    for path in files:
        try:
            wanted = open_file(path).wanted
            if not wanted.sop_class or not wanted.sop:
                raise Unreadable("it has no SOP Class or no SOP Instance UID")
        except FileroomError as error:
            print(f"{path}: {error.detail}", file=sys.stderr)
        else:
            found[wanted.sop_class, wanted.sop] = None
    return found


def _why(reason: int | None) -> str:
    if reason is None:
        return "the report does not name it"
    known = reason in FailureReason.__members__.values()
    return f"{reason:04X}H" + (f" {FailureReason(reason).name.lower().replace('_', ' ')}" if known else "")
