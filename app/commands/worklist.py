"""`fileroom worklist`: imports `.wl` files, shows what is on the worklist and what a modality would see of it; lists
and replays messages of the HL7 feed."""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import datetime
from pathlib import Path

import orjson

from app.archive import peers, worklist_files, worklist_search
from app.archive.context import Context
from app.archive.worklist_rules import State
from app.catalog import hl7_messages
from app.catalog import worklist_search as catalog
from app.catalog.worklist_search import Row
from app.commands.workplace import work
from app.dicom.peer import Peer, ae_title, unregistered
from app.dicom.query import read_query
from app.dicom.worklist import (
    ACCESSION,
    MODALITY,
    PATIENT_ID,
    PATIENT_NAME,
    START_DATE,
    START_TIME,
    STATION_AET,
    step_of,
    text_of,
)
from app.errors import BadRequest, NotFound
from app.hl7.feed import Feed, FeedRules, Verdict
from app.serving.feed import rules_of
from app.settings import Settings

_PAGE = 500


def arguments(parser: argparse.ArgumentParser) -> None:
    """import, list, preview, messages, replay."""
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    importing = actions.add_parser("import", help="take items from the .wl files of a folder")
    importing.add_argument("paths", nargs="+", type=Path, metavar="FOLDER", help="a folder, or a file")
    listing = actions.add_parser("list", help="show items, those too that nobody sees any more")
    preview = actions.add_parser("preview", help="show what a modality would see")
    preview.add_argument("--as", dest="aet", required=True, metavar="AET", help="its AE title")
    for action in (listing, preview):
        action.add_argument(
            "--key",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="a matching key, such as PatientName='doe*'; keys of the step as 00400100.00080060=CT",
        )
    preview.add_argument("--json", action="store_true", help="one DICOM JSON object on each line")
    messages = actions.add_parser("messages", help="show the HL7 messages that are kept")
    replay = actions.add_parser("replay", help="apply kept HL7 messages again, in the order they came")
    for action in (messages, replay):
        action.add_argument("--since", type=datetime.fromisoformat, metavar="DATE", help="such as 2024-02-29T08:00")
        action.add_argument("--message", type=int, default=0, metavar="N", help="the one of this number")
        action.add_argument("--failed", action="store_true", help="those that were not accepted")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Does the action on the catalog, which may be in use at the same time."""
    if options.action == "import":
        return work(settings, lambda context: _import(context, options.paths))
    if options.action in ("messages", "replay"):
        feed = rules_of(settings) if options.action == "replay" else None
        return work(settings, lambda context: _messages(context, options, feed))
    if options.action == "list":
        return work(settings, lambda context: _list(context, _keys(options.key)))
    return work(settings, lambda context: _preview(context, options.aet, _keys(options.key), json=options.json))


async def _import(context: Context, paths: list[Path]) -> int:
    counted = {"added": 0, "replaced": 0, "left out": 0}
    for path in paths:
        if not path.exists():
            print(f"fileroom worklist import: {path} does not exist", file=sys.stderr)
            return 2
        found = await asyncio.to_thread(worklist_files.files, path)
        async for one in worklist_files.import_files(context, found):
            if one.reason:
                print(f"{one.path}: {one.reason}", file=sys.stderr)
            counted["left out" if one.reason else "added" if one.created else "replaced"] += 1
    print(", ".join(f"{number} {what}" for what, number in counted.items()))
    return 1 if counted["left out"] else 0


async def _list(context: Context, keys: list[tuple[str, str]]) -> int:
    planned = catalog.plan(read_query("STUDY", keys).criteria, hidden=True)
    async for row in worklist_search.matching(context, planned, context.limits.query_offset):
        hidden = f"hidden {row['hidden_at']:%Y-%m-%d %H:%M}" if row["hidden_at"] else ""
        state = State(row["state"]).name.lower().replace("_", " ")
        print(f"{_line(row)}  {row['source']:<4}  {state:<12}  {hidden:<24}  {row['key']}".rstrip())
    return 0


async def _preview(context: Context, aet: str, keys: list[tuple[str, str]], *, json: bool) -> int:
    peer = await _peer(context, aet)
    if "worklist" not in peer.may:
        print(f"fileroom worklist: {peer.ae_title} may not ask for the worklist", file=sys.stderr)
        return 1
    planned = worklist_search.plan(context, read_query("STUDY", keys), keys, peer)
    async for row in worklist_search.matching(context, planned, context.limits.query_offset):
        print(orjson.dumps(worklist_search.whole(row)).decode() if json else _line(row))
    return 0


async def _peer(context: Context, aet: str) -> Peer:
    """The registered peer, or what stands for one that nobody registered."""
    try:
        return await peers.one(context, aet)
    except NotFound:
        print(f"fileroom worklist: {ae_title(aet)} is not registered", file=sys.stderr)
        return unregistered(aet)


async def _messages(context: Context, options: argparse.Namespace, rules: FeedRules | None) -> int:
    """Lists kept messages; with `rules` applies each again."""
    feed = Feed(context, rules) if rules else None
    after, refused = 0, 0
    while rows := await hl7_messages.page(
        context.catalog, after, _PAGE, since=options.since, number=options.message, failed=options.failed
    ):
        for row in rows:
            after = row["id"]
            verdict = Verdict(row["acknowledged"], 0, row["reason"])
            if feed:
                verdict = await feed.replay(row["id"], row["message"])
                refused += verdict.code != "AA"
            when = f"{row['received_at']:%Y-%m-%d %H:%M:%S}"
            print(f"{row['id']:>8}  {when}  {row['kind']:<8}  {verdict.code}  {verdict.reason}".rstrip())
    return 1 if refused else 0


def _line(row: Row) -> str:
    """One item as people read it: when, where, what, who."""
    item = worklist_search.data_set(row)
    step = step_of(item)
    stations = "\\".join(step.get(STATION_AET, {}).get("Value", ()))
    return (
        f"{text_of(step, START_DATE)} {text_of(step, START_TIME)[:6]:<6}  {stations:<16}  "
        f"{text_of(step, MODALITY):<4}  {text_of(item, PATIENT_ID):<16}  {text_of(item, PATIENT_NAME):<32}  "
        f"{text_of(item, ACCESSION):<16}"
    )


def _keys(given: list[str]) -> list[tuple[str, str]]:
    found = []
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise BadRequest(f"--key {name}: NAME=VALUE is needed")
        found.append((name, value))
    return found
