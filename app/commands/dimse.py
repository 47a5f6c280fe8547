"""`fileroom dimse`: asks other AEs as their user: echo, find, get, move, store, commit. No archive is needed for it."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from pydicom.datadict import keyword_for_tag
from tqdm import tqdm

from app.commands import dimse_commit
from app.commands.configuration import read
from app.dicom.peer import PRESETS, ae_title
from app.errors import BadRequest, CannotStart
from app.settings import Settings
from dimse_bridge.association.association import AssociationEnded
from dimse_bridge.association.context import Timeouts
from dimse_bridge.association.negotiation import LocalAE
from dimse_bridge.identifiers.request import Identifier, Key
from dimse_bridge.settings import Settings as BridgeSettings
from dimse_bridge.user import echo, find, get, move, store
from dimse_bridge.user.identifiers import parse_key
from dimse_bridge.user.remote import Remote, Retrieved

_PEER = re.compile(r"(?P<aet>[^@\\]{1,16})@(?:\[(?P<six>[^]]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")
_LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
_ROOTS = {"patient": "1.2.840.10008.5.1.4.1.2.1.", "study": "1.2.840.10008.5.1.4.1.2.2."}
_FIND, _MOVE, _GET = "1", "2", "3"
_SERVICES = {
    "echo": "ask whether an AE answers",
    "find": "search, and print what matches",
    "get": "retrieve instances into a folder over the same association",
    "move": "have instances sent to an AE that the peer knows",
    "store": "send files and folders",
    "commit": "ask whether files and folders that were sent are kept",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """A service, its peer, and what it is about."""
    services = parser.add_subparsers(dest="service", metavar="service", required=True)
    for name, summary in _SERVICES.items():
        service = services.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        service.add_argument("peer", type=_peer, metavar="AET@HOST[:PORT]", help="such as PACS@192.0.2.7:104")
        _connection(service)
        if name in ("find", "get", "move"):
            _identifier(service)
        if name == "find":
            service.add_argument("--json", action="store_true", help="one JSON object for each match")
            service.add_argument("--charset", default="ISO_IR 192", help="character set of the request (ISO_IR 192)")
        elif name == "get":
            service.add_argument("folder", type=Path, help="gets <SOP Instance UID>.dcm for each instance")
            service.add_argument("--sop-class", action="append", metavar="UID", help="only these may come")
        elif name == "move":
            service.add_argument("--to", required=True, type=_title, metavar="AET", help="who gets the instances")
        elif name == "store":
            service.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file or a folder")
        elif name == "commit":
            dimse_commit.arguments(service)


def _connection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("connection")
    group.add_argument("--aet", type=_title, help="our AE title (that of FILEROOM_AET)")
    group.add_argument(
        "--timeout", type=float, default=60, metavar="S", help="seconds for each response; 0: any time (60)"
    )
    group.add_argument("--behaviour", choices=sorted(PRESETS), default="standard", help="what the peer is used to")
    group.add_argument("--tls", action="store_true", help="speak TLS")
    group.add_argument("--authorities", type=Path, metavar="PEM", help="authorities of the peer's certificate")
    group.add_argument("--certificate", type=Path, metavar="PEM", help="our certificate with its chain")
    group.add_argument("--key", type=Path, metavar="PEM", help="our key, when it is not with the certificate")


def _identifier(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--level", choices=_LEVELS, default="STUDY", help="Query/Retrieve Level (STUDY)")
    parser.add_argument("--root", choices=sorted(_ROOTS), default="study", help="information model (study)")
    parser.add_argument(
        "-k", "--key-value", dest="keys", action="append", default=[], type=_key, metavar="KEY[=VALUE]",
        help="such as PatientName=DOE*, 00100020, or RequestAttributesSequence.RequestedProcedureID=7",
    )  # fmt: skip


def _peer(text: str) -> tuple[str, str, int]:
    match = _PEER.fullmatch(text)
    if match is None or not 0 < int(match["port"] or 104) < 65536:
        raise argparse.ArgumentTypeError("AET@HOST:PORT is needed; an IPv6 address stands in brackets")
    return _title(match["aet"]), match["six"] or match["host"], int(match["port"] or 104)


def _title(text: str) -> str:
    try:
        return ae_title(text)
    except BadRequest as error:
        raise argparse.ArgumentTypeError(error.detail.rpartition("`: ")[2]) from error


def _key(text: str) -> Key:
    try:
        return parse_key(text)
    except BadRequest as error:
        raise argparse.ArgumentTypeError(error.detail) from error


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Asks; 0 when everything was answered well."""
    deeds = {"echo": _echo, "find": _find, "get": _get, "move": _move, "store": _store, "commit": _commit}
    deed = deeds[options.service]
    try:
        return asyncio.run(deed(options, _remote(options)))
    except AssociationEnded as ended:
        title, host, port = options.peer
        print(f"fileroom dimse: {title}@{host}:{port}: {ended}", file=sys.stderr)
        return 1


def _remote(options: argparse.Namespace) -> Remote:
    title, host, port = options.peer
    patience = options.timeout or None
    return Remote(
        title,
        host,
        port,
        LocalAE(options.aet or read(BridgeSettings).aet),
        _tls(options),
        Timeouts(acse=patience, dimse=patience),
        patience,
        PRESETS[options.behaviour],
    )


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    """By BCP 195: TLS 1.2 or newer, the peer's certificate is always checked."""
    if not options.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=options.authorities)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if options.certificate:
            context.load_cert_chain(options.certificate, options.key)
    except (ssl.SSLError, OSError) as error:
        raise CannotStart(f"--authorities, --certificate or --key: {error}") from error
    return context


async def _echo(options: argparse.Namespace, remote: Remote) -> int:
    await echo.echo(remote)
    print(f"{remote.ae_title} answers.")
    return 0


async def _find(options: argparse.Namespace, remote: Remote) -> int:
    count = 0
    model = _ROOTS[options.root] + _FIND
    with _bar(desc="finding", unit=" matches") as bar:
        async for match in find.find(remote, options.level, options.keys, model=model, character_set=options.charset):
            count += 1
            bar.update()
            with bar.external_write_mode(file=sys.stdout):
                _show(match, as_json=options.json, number=count)
    print(f"{count} matches.", file=sys.stderr)
    return 0


def _show(match: Identifier, *, as_json: bool, number: int) -> None:
    if as_json:
        print(json.dumps(_plain(match.keys), ensure_ascii=False))
        return
    print(f"# {number}")
    for line in _lines(match.keys, ""):
        print(line)


def _plain(keys: tuple[Key, ...]) -> dict[str, object]:
    return {_name(key): [_plain(item) for item in key.items] if key.vr == "SQ" else key.text for key in keys}


def _lines(keys: tuple[Key, ...], indent: str) -> Iterator[str]:
    for key in keys:
        yield f"{indent}{_name(key)}: {_printable(key.text)}" if key.vr != "SQ" else f"{indent}{_name(key)}"
        for item in key.items:
            yield f"{indent}  -"
            yield from _lines(item, indent + "    ")


def _name(key: Key) -> str:
    return keyword_for_tag(key.tag) or f"{key.tag:08X}"


def _printable(text: str) -> str:
    """`text` on one line, without what would steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


async def _get(options: argparse.Namespace, remote: Remote) -> int:
    await asyncio.to_thread(options.folder.mkdir, parents=True, exist_ok=True)
    folder = get.Folder(options.folder)
    more = {"classes": options.sop_class} if options.sop_class else {}
    model = _ROOTS[options.root] + _GET
    last = Retrieved(0)
    with _bar(desc="getting", unit=" instances") as bar:
        async for last in get.get(remote, options.level, options.keys, folder, model=model, **more):
            _advance(bar, last)
    print(f"{folder.count} instances, {folder.bytes / 1e6:,.1f} MB, are in {options.folder}.")
    return _end(last)


async def _move(options: argparse.Namespace, remote: Remote) -> int:
    model = _ROOTS[options.root] + _MOVE
    last = Retrieved(0)
    with _bar(desc="moving", unit=" instances") as bar:
        async for last in move.move(remote, options.level, options.keys, options.to, model=model):
            _advance(bar, last)
    print(f"{last.completed + last.warning} instances were sent to {options.to}.")
    return 0 if remote.behaviour.ignore_statuses else _end(last)


def _bar(**options: Any) -> tqdm[NoReturn]:
    return tqdm(file=sys.stderr, mininterval=0.5, **options)


def _advance(bar: tqdm[NoReturn], response: Retrieved) -> None:
    done = response.completed + response.failed + response.warning
    bar.total = done + response.remaining
    bar.update(done - bar.n)


def _end(last: Retrieved) -> int:
    if last.succeeded:
        return 0
    comment = f": {_printable(last.comment)}" if last.comment else ""
    print(f"{last.failed} failed; the peer answered {last.status:04X}H{comment}", file=sys.stderr)
    for uid in last.failed_uids:
        print(f"failed: {_printable(uid)}", file=sys.stderr)
    return 1


async def _store(options: argparse.Namespace, remote: Remote) -> int:
    paths = await asyncio.to_thread(lambda: list(_files(options.paths)))
    size = sum(path.stat().st_size for path in paths)
    stored = 0
    with _bar(total=size, desc="sending", unit="B", unit_scale=True, unit_divisor=1024) as bar:
        async for sent in store.store(remote, paths):
            bar.update(sent.length)
            stored += sent.is_stored
            if sent.reason:
                bar.write(f"{sent.path}: {sent.reason}", file=sys.stderr)
    print(f"{stored} of {len(paths)} files were stored.")
    return 0 if stored == len(paths) else 1


async def _commit(options: argparse.Namespace, remote: Remote) -> int:
    return await dimse_commit.run(options, remote, _files(options.paths))


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(inner for inner in path.rglob("*") if inner.is_file())
        else:
            yield path
