"""The HL7 feed: orders become worklist items, patients change and merge, and each message is acknowledged, kept and
replayable; over MLLP as senders speak it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import cli
from app.archive import worklist_search
from app.archive.context import Context
from app.archive.worklist import settle
from app.archive.worklist_rules import WorklistRules
from app.blobs.memory import MemoryBlobStore
from app.catalog import hl7_messages
from app.catalog.engine import Catalog
from app.dicom.query import read_query
from app.errors import CannotStart
from app.hl7.feed import Feed
from app.hl7.mllp import BEGIN, END, Door, read_networks, serve
from app.serving.feed import open_feed
from app.settings import Settings
from tests.support.archive import free_port
from tests.support.database import DatabaseServer
from tests.support.hl7 import OBR, ORC, PID, imaging_order, message, order, segment
from tests.support.worklist import step_of, text


@pytest.fixture(scope="module")
def database_url(database_server: DatabaseServer) -> Iterator[str]:
    """A migrated database for all of these tests; each finds it empty."""
    url = database_server.create()
    yield url
    database_server.drop(url)


@pytest_asyncio.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    catalog = Catalog(database_url)
    await catalog.execute("TRUNCATE worklist_item, hl7_message CASCADE")
    yield catalog
    await catalog.close()


@pytest.fixture
def context(catalog: Catalog) -> Context:
    return Context(catalog, MemoryBlobStore())


@pytest.fixture
def feed(context: Context) -> Feed:
    return Feed(context)


async def sent(feed: Feed, data: bytes) -> tuple[str, str, str]:
    """Acknowledgement code, control ID and error code of a message."""
    lines = (await feed.receive(data, "10.0.0.7")).decode("latin-1").split("\r")
    (acknowledged,) = (line.split("|") for line in lines if line.startswith("MSA"))
    errors = [line.split("|")[3].split("^")[0] for line in lines if line.startswith("ERR")]
    return acknowledged[1], acknowledged[2], errors[0] if errors else ""


async def listed(context: Context) -> list[dict[str, Any]]:
    """What a search finds, with all attributes."""
    parameters = [("includefield", "all")]
    answer = await worklist_search.search(context, read_query("STUDY", parameters), parameters)
    return [orjson.loads(result) for result in answer.results]


async def test_an_order_becomes_an_item(feed: Feed, context: Context) -> None:
    assert await sent(feed, order()) == ("AA", "CTL-1", "")
    (item,) = await listed(context)
    step = step_of(item)
    wanted = {
        "00100020": "P1",
        "00100021": "HOSP",
        "00100010": "Doe^Jane^Q^Dr^Jr",
        "00100030": "19700102",
        "00100040": "F",
        "00080050": "ACC-1",
        "00401001": "RP-1",
        "0020000D": "1.2.826.0.1.3680043.8.498.7332.99",
        "00321060": "Knee MRI",
        "00401003": "STAT",
        "00321032": "Asker^Anna",
        "00080090": "Ordner^Otto^^Dr",
        "00380300": "WARD 101 2",
        "00402016": "PL-1",
        "00402017": "FL-1",
    }
    assert {tag: text(item, tag) for tag in wanted} == wanted
    in_step = {
        "00080060": "MR",
        "00400001": "MR1",
        "00400002": "20240229",
        "00400003": "0930",
        "00400006": "Doer^Dora",
        "00400007": "Knee left",
        "00400009": "SPS-1",
    }
    assert {tag: text(step, tag) for tag in in_step} == in_step
    (code,) = step["00400008"]["Value"]
    assert (text(code, "00080100"), text(code, "00080102"), text(code, "00080104")) == ("PC", "99P", "Knee left")


async def test_an_imaging_order_has_an_item_for_each_step(feed: Feed, context: Context) -> None:
    assert await sent(feed, imaging_order()) == ("AA", "CTL-1", "")
    assert await sent(feed, imaging_order()) == ("AA", "CTL-1", "")
    items = await listed(context)
    assert [text(step_of(item), "00400001") for item in items] == ["CT1", "PT1"]
    assert [text(step_of(item), "00400009") for item in items] == ["SPS-20", "SPS-21"]
    assert {text(item, "0020000D") for item in items} == {"1.2.826.0.1.3680043.8.498.7332.98"}
    assert {text(step_of(item), "00400003") for item in items} == {"1000"}


async def test_a_change_changes_what_it_mentions(feed: Feed, context: Context) -> None:
    await sent(feed, order())
    moved = segment("OBR", {1: "1", 2: "PL-1^RIS", 20: "SPS-1", 24: '""', 27: "^^^20240301"})
    assert (await sent(feed, message("ORM^O01", PID, ORC.format(control="XO", status=""), moved)))[0] == "AA"
    (item,) = await listed(context)
    step = step_of(item)
    assert (text(step, "00400002"), text(step, "00400003")) == ("20240301", "0930")
    assert (text(step, "00080060"), text(step, "00400001"), text(item, "00080050")) == ("MR", "MR1", "ACC-1")
    assert text(item, "0020000D") == "1.2.826.0.1.3680043.8.498.7332.99"
    emptied = OBR.replace("|MR1|", '|""|')
    await sent(feed, order("XO", request=emptied))
    (item,) = await listed(context)
    assert "Value" not in step_of(item)["00400001"]


@pytest.mark.parametrize("control", ["CA", "OC", "DC", "OD", "CR"])
async def test_a_cancelled_order_is_hidden_and_comes_back_when_it_is_new(
    feed: Feed, context: Context, control: str
) -> None:
    await sent(feed, order())
    assert (await sent(feed, order(control)))[0] == "AA"
    assert await listed(context) == []
    assert (await sent(feed, order("NW")))[0] == "AA"
    assert len(await listed(context)) == 1


async def test_one_step_of_an_order_is_cancelled(feed: Feed, context: Context) -> None:
    await sent(feed, imaging_order())
    assert (await sent(feed, imaging_order("CA", steps=1)))[0] == "AA"
    assert [text(step_of(item), "00400009") for item in await listed(context)] == ["SPS-21"]
    bare = message("OMI^O23", PID, "ORC|CA|PL-2|FL-2")
    assert (await sent(feed, bare))[0] == "AA"
    assert await listed(context) == []


async def test_status_changes(feed: Feed, context: Context) -> None:
    await sent(feed, order())
    assert (await sent(feed, order("SC", status="IP")))[0] == "AA"
    (item,) = await listed(context)
    assert text(step_of(item), "00400020") == "STARTED"
    assert (await sent(feed, order("SC", status="A")))[0] == "AA"
    assert len(await listed(context)) == 1
    assert (await sent(feed, order("SC", status="CM")))[0] == "AA"
    assert await listed(context) == []


async def test_patients_change(feed: Feed, context: Context) -> None:
    await sent(feed, order())
    await sent(feed, order(patient=PID.replace("P1^", "P2^")).replace(b"PL-1", b"PL-9").replace(b"FL-1", b"FL-9"))
    changed = 'PID|1||P1^^^HOSP^MR||Roe^Jane||""|M'
    assert await sent(feed, message("ADT^A08", "EVN|A08", changed, "AL1|1||^Latex", "AL1|2||PEN^Penicillin")) == (
        "AA",
        "CTL-1",
        "",
    )
    items = {text(item, "00100020"): item for item in await listed(context)}
    assert (text(items["P1"], "00100010"), text(items["P1"], "00100040")) == ("Roe^Jane", "M")
    assert items["P1"]["00102110"]["Value"] == ["Latex", "Penicillin"]
    assert "Value" not in items["P1"]["00100030"]
    assert text(items["P2"], "00100010") == "Doe^Jane^Q^Dr^Jr"
    assert (await sent(feed, message("ADT^A08", "PID|1||NOBODY")))[0] == "AA"


async def test_patients_merge(feed: Feed, context: Context) -> None:
    await sent(feed, order())
    merge = message("ADT^A40", "EVN|A40", "PID|1||P7^^^HOSP^MR||Doe^Jane^Q", "MRG|P1^^^HOSP^MR")
    assert (await sent(feed, merge))[0] == "AA"
    (item,) = await listed(context)
    assert (text(item, "00100020"), text(item, "00100010")) == ("P7", "Doe^Jane^Q")
    assert text(item, "0020000D") == "1.2.826.0.1.3680043.8.498.7332.99"
    other = message("ADT^A40", "PID|1||P8^^^HOSP^MR||Doe^Jane", "MRG|P7^^^ELSEWHERE")
    assert (await sent(feed, other))[0] == "AA"
    assert text((await listed(context))[0], "00100020") == "P7"


async def test_names_in_several_groups(feed: Feed, context: Context) -> None:
    names = "Yamada^Tarou^^^^^^A~山田^太郎^^^^^^I~やまだ^たろう^^^^^^P"
    data = message("ORM^O01", PID.replace("Doe^Jane^Q^Jr^Dr", names), ORC.format(control="NW", status=""), OBR)
    assert (await sent(feed, data))[0] == "AA"
    (item,) = await listed(context)
    assert item["00100010"]["Value"] == [
        {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    ]


async def test_observations_of_the_body(feed: Feed, context: Context) -> None:
    body = ("OBX|1|NM|29463-7^Body Weight^LN||82500|g", "OBX|2|NM|X^Body Height||1,80|m", "OBX|3|NM|8302-2||181|cm")
    data = message("ORM^O01", PID, *body, ORC.format(control="NW", status=""), OBR)
    assert (await sent(feed, data))[0] == "AA"
    (item,) = await listed(context)
    assert (item["00101030"]["Value"], item["00101020"]["Value"]) == (["82.5"], ["1.81"])


@pytest.mark.parametrize(
    ("data", "code", "error"),
    [
        (order("CA"), "AE", "204"),
        (order("QQ"), "AE", "103"),
        (order(patient="PID|1||"), "AE", "101"),
        (order(request=OBR.replace("|||MR|||", "||||||")), "AE", "101"),
        (order(request=OBR.replace("202402290930", "soon")), "AE", "102"),
        (message("ORM^O01", "PID|1||P1"), "AE", "100"),
        (message("ORM^O01", "ORC|NW|1"), "AE", "100"),
        (message("ORM^O01", PID, "ORC|NW|1"), "AE", "100"),
        (message("ADT^A08", "EVN|A08"), "AE", "101"),
        (message("ADT^A40", PID), "AE", "101"),
        (message("ADT^A01", PID), "AR", "201"),
        (message("ORM^O02", PID), "AR", "201"),
        (message("ORU^R01", PID), "AR", "200"),
        (message("", PID), "AR", "200"),
        (message("ORM^O01", PID, character_set="EBCDIC"), "AE", "103"),
    ],
)
async def test_what_cannot_be_done_is_said(feed: Feed, context: Context, data: bytes, code: str, error: str) -> None:
    assert await sent(feed, data) == (code, "CTL-1", error)
    assert await listed(context) == []


async def test_an_acknowledgement_goes_back_to_its_sender(feed: Feed) -> None:
    lines = (await feed.receive(order(), "10.0.0.7")).decode().split("\r")
    head = lines[0].split("|")
    assert (head[2:6], head[8], head[10:12]) == (["FILEROOM", "HOSP", "RIS", "HOSP"], "ACK^O01", ["P", "2.3.1"])
    assert lines[1].startswith("MSA|AA|CTL-1")
    nonsense = (await feed.receive(b"\xff\x00 nonsense", "10.0.0.7")).decode()
    assert "\rMSA|AE||" in nonsense


async def test_every_message_is_kept_and_replayable(
    feed: Feed, context: Context, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for data in (order(), b"\xff\0nonsense", order("CA"), message("ADT^A01", PID)):
        await feed.receive(data, "10.0.0.7")
    rows = await hl7_messages.page(context.catalog, 0, 10)
    assert [(row["kind"], row["acknowledged"]) for row in rows] == [
        ("ORM^O01", "AA"),
        ("", "AE"),
        ("ORM^O01", "AA"),
        ("ADT^A01", "AR"),
    ]
    assert bytes(rows[1]["message"]) == b"\xff\0nonsense"
    monkeypatch.delenv("FILEROOM_CORPUS", raising=False)
    monkeypatch.setenv("FILEROOM_DATABASE_URL", database_url)
    monkeypatch.setenv("FILEROOM_DATA", str(tmp_path))
    await context.catalog.execute("TRUNCATE worklist_item CASCADE")

    def fileroom(*words: str) -> tuple[int, list[str]]:
        status = cli.main(["worklist", *words])
        return status, capsys.readouterr().out.splitlines()

    def type_all() -> None:
        status, lines = fileroom("messages")
        assert (status, len(lines)) == (0, 4)
        status, lines = fileroom("messages", "--failed")
        assert (status, [line.split()[-1] for line in lines]) == (0, ["MSH", "supported"])
        status, lines = fileroom("replay", "--message", str(rows[0]["id"]))
        assert (status, len(lines)) == (0, 1)
        assert "AA" in lines[0]
        assert fileroom("replay", "--since", "2999-01-01") == (0, [])
        status, lines = fileroom("replay", "--failed")
        assert (status, len(lines)) == (1, 2)

    await asyncio.to_thread(type_all)
    assert len(await listed(context)) == 1
    again = await hl7_messages.page(context.catalog, 0, 10)
    assert [row["replayed_at"] is not None for row in again] == [True, True, False, True]


async def test_old_messages_are_forgotten(feed: Feed, context: Context) -> None:
    await feed.receive(order(), "10.0.0.7")
    await settle(context)
    assert len(await hl7_messages.page(context.catalog, 0, 10)) == 1
    context.worklist = WorklistRules(keep_days=0)
    await settle(context)
    assert await hl7_messages.page(context.catalog, 0, 10) == []


async def test_without_a_catalog_the_sender_is_told_to_send_again(tmp_path: Path) -> None:
    away = Context(Catalog("postgresql://postgres@127.0.0.1:1/none"), MemoryBlobStore())
    assert await sent(Feed(away), order()) == ("AR", "CTL-1", "207")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_messages_are_acknowledged(data: st.DataObject, database_url: str) -> None:
    damaged = bytearray(data.draw(st.sampled_from((order(), imaging_order(), message("ADT^A40", PID, "MRG|P1")))))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(4, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.sampled_from((b"", b"|", b"^", b"&", b"~", b"\\", b"\r", b"\0", b'""', b"\xc3\xa4", b"\x1c", b"9" * 40))
        )

    async def attempt() -> None:
        catalog = Catalog(database_url)
        code, _, _ = await sent(Feed(Context(catalog, MemoryBlobStore())), bytes(damaged))
        assert code in ("AA", "AE", "AR")
        await catalog.close()

    asyncio.run(attempt())


# -- MLLP

EVERYBODY = Door()


@asynccontextmanager
async def listening(feed: Feed, door: Door = EVERYBODY) -> AsyncIterator[int]:
    """A listener, and its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.ensure_future(serve([listener], feed.receive, door))
    await asyncio.sleep(0)
    try:
        yield listener.getsockname()[1]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_several_messages_on_one_connection(feed: Feed, context: Context) -> None:
    async with listening(feed) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\r\n" + BEGIN + order() + END + BEGIN + order("CA")[:50])
        first = await reader.readuntil(END)
        assert first.startswith(BEGIN + b"MSH")
        writer.write(order("CA")[50:] + END)
        assert b"MSA|AA|CTL-1" in await reader.readuntil(END)
        writer.close()
    assert await listed(context) == []


async def test_frames_that_never_end_or_are_too_long_end_the_connection(feed: Feed) -> None:
    async with listening(feed, Door(longest=10_000)) as port:
        for data in (BEGIN + b"x" * 30_000, b"x" * 5_000, BEGIN + order()):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            if data.startswith(BEGIN + b"M"):
                writer.write_eof()
            assert await reader.read() == b""
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(BEGIN + order() + END)
        assert b"MSA|AA" in await reader.readuntil(END)
        writer.close()


async def test_only_some_may_send(feed: Feed) -> None:
    async with listening(feed, Door(read_networks(["10.0.0.0/8"]))) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
    assert Door(read_networks(["127.0.0.1"])).lets_in("::ffff:127.0.0.1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hl7_host": "0.0.0.0"}, "FILEROOM_HL7_PLAIN=anywhere"),
        ({"hl7_character_set": "EBCDIC"}, "FILEROOM_HL7_CHARACTER_SET"),
        ({"hl7_station_field": "OBR.21"}, "FILEROOM_HL7_STATION_FIELD"),
        ({"hl7_addresses": ("ris",)}, "FILEROOM_HL7_ADDRESSES"),
    ],
)
def test_what_is_wrong_in_the_settings_is_said(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(CannotStart, match=said):
        open_feed(Settings(data=tmp_path, hl7_port=free_port(), **change))


def test_the_feed_listens_where_it_may(tmp_path: Path) -> None:
    assert open_feed(Settings(data=tmp_path)) == []
    for more in ({}, {"hl7_host": "0.0.0.0", "hl7_plain": "anywhere"}):
        options: Any = more
        for one in open_feed(Settings(data=tmp_path, hl7_port=free_port(), **options)):
            one.close()
