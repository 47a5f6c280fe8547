"""Webhooks: the change feed by signed messages, to receivers that are well, away, slow, wrong or gone."""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.archive.context import WebhookRules
from app.archive.signed_post import Answer, Sender, sign
from app.catalog import webhooks as rows
from app.catalog.changes import KINDS
from app.catalog.notices import Notices
from app.jobs import webhooks as job
from app.security.policy import rule_for
from tests.style.measure import ROOT
from tests.support.archive import free_port
from tests.support.receiver import SECRET, Receiver, Reply, in_order
from tests.support.sending import Source, source, working

__all__ = ["source"]


@asynccontextmanager
async def telling(source: Source, count: int = 1) -> AsyncIterator[None]:
    """Whoever delivers, `count` times over as on several nodes, and who keeps the feed going."""
    notices = [Notices(source.context.catalog.url) for _ in range(count)]
    async with working(source, 0):
        tasks = [asyncio.create_task(job.work(source.context, one)) for one in notices]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for one in notices:
                await one.close()


@pytest.fixture
def quick(source: Source) -> Source:
    """An archive that waits shortly between its tries."""
    source.context.webhooks = WebhookRules(seconds=2, pause_seconds=0.05)
    return source


async def put(source: Source, url: str, name: str = "ris", **more: Any) -> None:
    """Adds or replaces a webhook that tells of all that happened."""
    wanted = {"url": url, "secret": SECRET, "after": 0} | more
    answer = await source.client.put(f"/webhooks/{name}", json=wanted)
    assert answer.status_code in (201, 204), answer.text
    assert answer.content == b""


async def told(source: Source, name: str = "ris") -> dict[str, Any]:
    """A webhook as it is told."""
    found: dict[str, Any] = (await source.client.get(f"/webhooks/{name}")).json()
    return found


async def until(source: Source, is_so: Any, name: str = "ris") -> dict[str, Any]:
    """The webhook as soon as it is as wanted."""
    async with asyncio.timeout(60):
        while True:
            if is_so(found := await told(source, name)):
                return found
            await asyncio.sleep(0.02)


async def feed(source: Source, *kinds: str) -> list[dict[str, Any]]:
    """What happened, as a reader of the feed sees it."""
    changes = (await source.client.get("/changes?limit=1000")).json()["changes"]
    return [one for one in changes if not kinds or one["kind"] in kinds]


async def happened(source: Source, count: int) -> None:
    """Returns when `count` stored instances are in the feed."""
    async with asyncio.timeout(60):
        while True:
            if len(await feed(source, "stored")) >= count:
                return
            await asyncio.sleep(0.02)


async def stored(source: Source, receiver: Receiver, count: int) -> list[dict[str, Any]]:
    """The feed when `count` stored instances were told."""
    await receiver.until(lambda: sum(one["kind"] == "stored" for one in in_order(receiver.events)) >= count)
    return await feed(source, "stored")


# ---------------------------------------------------------------- the registry


async def test_a_webhook_is_added_changed_and_removed(source: Source) -> None:
    client = source.client
    made = await client.put("/webhooks/ris", json={"url": "https://ris.example/hook"})
    assert made.status_code == 201
    secret = made.json()["secret"]
    assert secret.startswith("whsec_")
    kept = await told(source)
    assert (kept["url"], kept["kinds"], kept["state"]) == ("https://ris.example/hook", [], "active")
    assert (kept["last"], kept["next"], kept["failures"]) == (None, None, 0)
    changed = await client.put(
        "/webhooks/ris", json={"url": "http://ris.example/", "kinds": ["deleted"], "enabled": False}
    )
    assert (changed.status_code, changed.content) == (204, b"")
    everyone = await client.get("/webhooks")
    assert everyone.json() == {"ris": await told(source)}
    assert "secret" not in everyone.text
    assert (everyone.json()["ris"]["kinds"], everyone.json()["ris"]["state"]) == (["deleted"], "paused")
    assert await rows.address(source.context.catalog, "ris") == ("http://ris.example/", secret)
    assert (await client.delete("/webhooks/ris")).status_code == 204
    assert (await client.delete("/webhooks/ris")).status_code == 404
    for path in ("ris", "a%00b", "x" * 65):
        assert (await client.get(f"/webhooks/{path}")).status_code == 404
        assert (await client.post(f"/webhooks/{path}/ping")).status_code == 404
        assert (await client.post(f"/webhooks/{path}/resume")).status_code == 404


def test_only_administrators_may(source: Source) -> None:
    for method, path in (("GET", ""), ("PUT", "/x"), ("DELETE", "/x"), ("POST", "/x/ping"), ("POST", "/x/resume")):
        rule = rule_for(method, f"/webhooks{path}")
        assert rule is not None
        assert (rule.scope, rule.bridge) == ("admin", False)


WRONG: list[object] = [
    [],
    {},
    {"url": "ftp://host/"},
    {"url": "http://user:password@host/"},
    {"url": "http://host/", "kinds": "stored"},
    {"url": "http://host/", "kinds": ["stored", "lost"]},
    {"url": "http://host/", "kinds": [1]},
    {"url": "http://host/", "kinds": [[]]},
    {"url": "http://host/", "secret": 5},
    {"url": "http://host/", "secret": "whsec_"},
    {"url": "http://host/", "secret": "whsec_c2hvcnQ="},
    {"url": "http://host/", "secret": SECRET.removeprefix("whsec_")},
    {"url": "http://host/", "secret": "whsec_" + "ä" * 40},
    {"url": "http://host/", "secret": "whsec_" + "A" * 88},
    {"url": "http://host/", "after": -1},
    {"url": "http://host/", "after": True},
    {"url": "http://host/", "after": "newest"},
    {"url": "http://host/", "after": 1 << 63},
    {"url": "http://host/", "after": 7},
    {"url": "http://host/", "enabled": 1},
    {"url": "http://host/", "colour": "red"},
]


async def test_a_wrong_webhook_is_refused(source: Source) -> None:
    for value in WRONG:
        answer = await source.client.put("/webhooks/ris", json=value)
        assert (answer.status_code, value) == (400, value)
        assert "password" not in answer.text
    assert (await source.client.get("/webhooks")).json() == {}


def test_every_kind_of_event_can_be_asked_for() -> None:
    """Those too that other parts of the archive add to the feed."""
    folders = (ROOT / "migrations" / "sql", ROOT / "app" / "catalog")
    texts = [path.read_text() for folder in folders for path in folder.iterdir() if path.is_file()]
    added = [kind for text in texts for kind in re.findall(r"add_change\('([a-z-]+)'", text)]
    assert set(added) <= set(KINDS)


# ---------------------------------------------------------------- the signature


def test_the_signature_is_that_of_the_specification() -> None:
    """The example with which the specification's own libraries are tested."""
    signature = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


# ---------------------------------------------------------------- deliveries


async def test_G22_each_event_is_told_in_its_order(quick: Source) -> None:
    async with Receiver().listening() as receiver, telling(quick):
        await put(quick, receiver.url)
        for _ in range(5):
            samples = await quick.study(3)
        await quick.client.delete(f"/dicom-web/studies/{samples[0].study}")
        await receiver.until(lambda: any(one["kind"] == "deleted" for one in receiver.events))
        expected = await stored(quick, receiver, 15)
        known = await feed(quick)
    assert [one for one in receiver.events if one["kind"] == "stored"] == expected
    assert receiver.events == known[: len(receiver.events)]
    for message in receiver.got:
        assert message.headers["content-type"] == "application/json"
        assert abs(int(message.headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 300
        value = message.value
        assert (value["type"], value["timestamp"]) == ("changes", message.events[-1]["at"])
        assert value["data"]["next"] >= message.events[-1]["id"]
        for named in (b"Sample^", b"S" + samples[0].study[-6:].encode()):
            assert named not in message.body


async def test_only_the_kinds_that_were_asked_for_are_told(quick: Source) -> None:
    async with Receiver().listening() as receiver, telling(quick):
        await put(quick, receiver.url, kinds=["deleted"])
        for _ in range(3):
            (one,) = await quick.study(1)
            await quick.client.delete(f"/dicom-web/studies/{one.study}")
        await receiver.until(lambda: len(receiver.events) == 3)
        expected = await feed(quick, "deleted")
        known = await until(quick, lambda found: found["position"] >= expected[-1]["id"])
    assert receiver.events == expected
    assert (known["last"]["status"], known["failures"]) == (204, 0)


async def test_a_new_webhook_begins_with_what_happens_next(quick: Source) -> None:
    await quick.study(2)
    async with Receiver().listening() as receiver, telling(quick):
        await happened(quick, 2)
        await put(quick, receiver.url, after=None, kinds=["stored"])
        (one,) = await quick.study(1)
        await receiver.until(lambda: receiver.events)
    assert [event["instance"] for event in receiver.events] == [one.sop]


async def test_a_long_feed_comes_in_portions(quick: Source) -> None:
    add = "SELECT count(add_change('deleted', '1.' || n, '', '', '{}')) FROM generate_series(1, 1050) AS n"
    await quick.context.catalog.execute(add)
    async with Receiver().listening() as receiver, telling(quick, 2):
        await put(quick, receiver.url)
        await receiver.until(lambda: len(in_order(receiver.events)) == 1050)
    assert [one["study"] for one in receiver.events] == [f"1.{n}" for n in range(1, 1051)]
    assert max(len(message.events) for message in receiver.got) == 100
    assert receiver.most_at_once == 1


# ---------------------------------------------------------------- failures


async def test_G23_a_receiver_that_is_down_is_waited_for(quick: Source) -> None:
    port = free_port()
    async with telling(quick):
        await put(quick, f"http://127.0.0.1:{port}/hook")
        await quick.study(4)
        found = await until(quick, lambda found: found["failures"] >= 2)
        assert (found["state"], found["last"]["status"]) == ("active", 0)
        assert found["last"]["reason"] == "it could not be reached: ConnectError"
        assert found["failing_since"] <= found["last"]["at"]
        assert found["next"]
        async with Receiver().listening(port) as receiver:
            expected = await stored(quick, receiver, 4)
            found = await until(quick, lambda found: found["position"] >= expected[-1]["id"])
    assert [one for one in in_order(receiver.events) if one["kind"] == "stored"] == expected
    assert (found["failures"], found["failing_since"]) == (0, None)


async def test_G23_what_was_not_taken_is_sent_again_as_the_same_message(quick: Source) -> None:
    quick.context.webhooks = WebhookRules(0.5, 0.05)
    answers = [Reply(500), Reply(0), Reply(404), Reply(302, "Location: /elsewhere\r\n"), Reply(204, seconds=1)]
    async with Receiver().listening() as receiver, telling(quick):
        receiver.reply = lambda message: answers[message.at] if message.at < len(answers) else Reply()
        await put(quick, receiver.url, kinds=["stored"])
        await quick.study(1)
        await until(quick, lambda found: found["failures"] == 1)
        await quick.study(2)  # it does not come between
        expected = await stored(quick, receiver, 3)
    first = receiver.got[: len(answers) + 1]
    assert {(message.id, message.body) for message in first} == {(first[0].id, first[0].body)}
    assert {message.path for message in receiver.got} == {"/hook"}, "a redirect was followed"
    assert in_order(receiver.events) == expected


async def test_why_it_failed_is_told(quick: Source) -> None:
    answers = {
        500: "it answered 500",
        302: "it answered 302, and redirects are not followed",
        0: "it could not be reached: RemoteProtocolError",
    }
    for status, reason in answers.items():
        async with Receiver().listening() as receiver, telling(quick):
            receiver.reply = lambda message, status=status: Reply(status, "Location: /else\r\n")  # type: ignore[misc]
            await put(quick, receiver.url)
            await quick.study(1)
            found = await until(quick, lambda found: found["failures"])
            assert found["last"]["reason"] == reason


async def test_a_slow_receiver_holds_up_nobody_else(quick: Source) -> None:
    quick.context.webhooks = WebhookRules(0.5, 0.05)
    slow, other = Receiver(), Receiver()
    slow.reply = lambda message: Reply(seconds=60)
    async with slow.listening(), other.listening(), telling(quick):
        await put(quick, slow.url, "slow")
        await quick.study(1)
        await slow.until(lambda: slow.got)
        await put(quick, other.url, "other")
        await quick.study(3)
        await stored(quick, other, 4)
        found = await until(quick, lambda found: found["failures"], "slow")
    assert found["last"]["reason"] == "no answer within 0.5 s"
    assert not slow.taken


async def test_an_endless_answer_is_cut(quick: Source) -> None:
    """The status counts; what follows is not read for long, and is kept nowhere."""
    quick.context.webhooks = WebhookRules(0.5, 0.05)
    async with Receiver().listening() as receiver, telling(quick):
        receiver.reply = lambda message: Reply(200, endless=True)
        await put(quick, receiver.url)
        await quick.study(1)
        await until(quick, lambda found: found["last"] and found["last"]["status"] == 200)
    assert len(receiver.got) < 4


async def test_gone_is_believed_until_somebody_resumes(quick: Source) -> None:
    async with Receiver().listening() as receiver, telling(quick):
        receiver.reply = lambda message: Reply(410)
        await put(quick, receiver.url)
        await quick.study(1)
        found = await until(quick, lambda found: found["state"] == "gone")
        assert found["next"] is None
        seen = len(receiver.got)
        await quick.study(1)
        await asyncio.sleep(0.5)
        assert len(receiver.got) == seen
        receiver.reply = lambda message: Reply()
        assert (await quick.client.post("/webhooks/ris/resume")).json()["state"] == "active"
        expected = await stored(quick, receiver, 2)
    assert [one for one in in_order(receiver.events) if one["kind"] == "stored"] == expected


async def test_after_days_of_failing_it_is_set_aside_and_can_be_resumed(quick: Source) -> None:
    quick.context.webhooks = WebhookRules(2, 0.05, days=0.3 / 86400)
    async with Receiver().listening() as receiver, telling(quick):
        receiver.reply = lambda message: Reply(503)
        await put(quick, receiver.url)
        await quick.study(1)
        found = await until(quick, lambda found: found["state"] == "set-aside")
        assert (found["next"], found["last"]["reason"]) == (None, "it answered 503")
        assert found["failures"] >= 2
        seen = len(receiver.got)
        receiver.reply = lambda message: Reply()
        await quick.study(1)
        await asyncio.sleep(0.5)
        assert len(receiver.got) == seen
        await quick.client.post("/webhooks/ris/resume")
        expected = await stored(quick, receiver, 2)
    assert [one for one in in_order(receiver.events) if one["kind"] == "stored"] == expected


async def test_pauses_grow_and_a_receiver_may_ask_for_more(quick: Source) -> None:
    quick.context.webhooks = WebhookRules(2, 0.01)

    def pause(found: dict[str, Any]) -> float:
        moments = [datetime.fromisoformat(text) for text in (found["next"], found["last"]["at"])]
        return (moments[0] - moments[1]).total_seconds()

    async with Receiver().listening() as receiver, telling(quick):
        receiver.reply = lambda message: Reply(429, "Retry-After: 1000\r\n" if message.at == 6 else "")
        await put(quick, receiver.url)
        await quick.study(1)
        pauses = {}
        for failures in (5, 6, 7):
            found = await until(
                quick, lambda found, least=failures: found["failures"] >= least and not found["under_way"]
            )
            pauses[found["failures"]] = pause(found)
    assert pauses[7] == pytest.approx(1000)
    assert all(seconds == pytest.approx(0.01 * 2 ** (number - 1)) for number, seconds in pauses.items() if number < 7)


async def test_paused_is_not_told_and_goes_on_where_it_was(quick: Source) -> None:
    async with Receiver().listening() as receiver, telling(quick):
        await put(quick, receiver.url, enabled=False)
        await quick.study(2)
        await happened(quick, 1)
        assert not receiver.got
        await put(quick, receiver.url, after=None)
        await stored(quick, receiver, 2)


async def test_one_node_delivers_for_one_webhook_at_a_time(quick: Source) -> None:
    receivers = [Receiver() for _ in range(3)]
    async with AsyncExitStack() as stack:
        for number, receiver in enumerate(receivers):
            receiver.reply = lambda message: Reply(503 if message.at % 3 == 1 else 200, seconds=0.01)
            await stack.enter_async_context(receiver.listening())
            await put(quick, receiver.url, f"hook{number}", kinds=["stored"])
        await stack.enter_async_context(telling(quick, 3))
        for _ in range(12):
            await quick.study(2)
            await asyncio.sleep(0.05)
        for receiver in receivers:
            expected = await stored(quick, receiver, 24)
            assert in_order(receiver.events) == expected
            assert receiver.most_at_once == 1
            assert len({message.id for message in receiver.taken}) == len(receiver.taken), "a message was taken twice"


async def test_a_dead_process_is_followed_by_another(quick: Source) -> None:
    """One that was killed in the middle leaves its lease; when that ends, the same message is sent again."""
    receiver = Receiver()
    async with receiver.listening():
        await put(quick, receiver.url)
        await quick.study(1)
        async with working(quick, 0):
            await happened(quick, 1)
        catalog = quick.context.catalog
        lost = await rows.claim(catalog, "lost", 1.0)
        assert lost is not None
        assert await rows.claim(catalog, "other", 1.0) is None
        end = (await feed(quick))[0]["id"]
        assert await rows.begin(catalog, "lost", "msg_begun", end)
        async with telling(quick):
            await stored(quick, receiver, 1)
        assert receiver.got[0].id == "msg_begun"
        await rows.delivered(catalog, "lost", 1 << 40, 200)
        assert (await told(quick))["position"] < 1 << 40, "a lease that ended moved the cursor"


# ---------------------------------------------------------------- ping


async def test_a_ping_is_a_signed_message_about_nothing(quick: Source) -> None:
    async with Receiver().listening() as receiver:
        await put(quick, receiver.url, enabled=False)
        answer = await quick.client.post("/webhooks/ris/ping")
        assert (answer.status_code, answer.json()["taken"], answer.json()["status"]) == (200, True, 204)
        (message,) = receiver.got
        assert (message.value["type"], message.value["data"]) == ("ping", {})
        receiver.reply = lambda message: Reply(401)
        answer = await quick.client.post("/webhooks/ris/ping")
        assert (answer.json()["taken"], answer.json()["reason"]) == (False, "it answered 401")
    for url in (receiver.url, "http://nobody.invalid/", "http://a..b/", "http://" + "x" * 64 + "/"):
        await put(quick, url)
        answer = await quick.client.post("/webhooks/ris/ping")
        assert (answer.status_code, answer.json()["taken"], answer.json()["status"]) == (200, False, 0), url
    assert (await told(quick))["last"] is None


# ---------------------------------------------------------------- HTTPS


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate of 127.0.0.1 that signed itself, and a server's context with it."""
    paper, key = folder / "paper.pem", folder / "key.pem"
    name = ("-subj", "/CN=receiver", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")
    made = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(key), "-out", str(paper))
    subprocess.run(["openssl", "req", "-x509", *made, *name], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(paper, key)
    return paper, context


async def test_certificates_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paper, tls = certificate(tmp_path)
    async with Receiver().listening(tls=tls) as receiver:
        stranger = Sender(5)
        refused = await stranger.post(receiver.url, SECRET, "msg_1", b"{}")
        assert refused == Answer(0, "its certificate is not accepted: self-signed certificate")
        await stranger.close()
        assert not receiver.got
        monkeypatch.setenv("SSL_CERT_FILE", str(paper))
        known = Sender(5)
        assert await known.post(receiver.url, SECRET, "msg_1", b"{}") == Answer(204)
        wrong_name = receiver.url.replace("127.0.0.1", "localhost")
        assert "certificate is not accepted" in (await known.post(wrong_name, SECRET, "msg_1", b"{}")).reason
        await known.close()


async def test_no_cookie_is_kept() -> None:
    async with Receiver().listening() as receiver:
        receiver.reply = lambda message: Reply(200, "Set-Cookie: a=b\r\n")
        sender = Sender(5)
        for _ in range(2):
            assert (await sender.post(receiver.url, SECRET, "msg_1", b"{}")).status == 200
        await sender.close()
    assert [message for message in receiver.got if "cookie" in message.headers] == []
