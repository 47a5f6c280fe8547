"""The listed keys that are not those of C-FIND as provider: C-GET selects by them, and as user we ask by them and show
what comes, as each product does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from app.dicom.peer import PRESETS, Peer
from app.dicom.transfer_syntaxes import EXPLICIT_LE
from dimse_bridge.association.abstract_syntaxes import STUDY_ROOT_GET
from dimse_bridge.association.acceptor import accept_all, serve_associations
from dimse_bridge.association.association import Association
from dimse_bridge.association.commands import get_rq, response
from dimse_bridge.association.context import Proposed
from dimse_bridge.identifiers.request import Identifier, read_identifier
from dimse_bridge.services.selection import MOST_STUDIES
from dimse_bridge.user import find
from dimse_bridge.user.identifiers import encode_identifier, parse_key
from dimse_bridge.user.remote import Remote, Retrieved
from tests.dimse.retrieve.conftest import Bridge, open_bridge
from tests.dimse.retrieve.test_statuses import ask
from tests.requirements.instances import CT, ROOT, encode, make, rows, store
from tests.requirements.test_query_keys import ABSENT, NOT_OF_THE_STANDARD, VALUES, wildcards
from tests.support.archive import RunningArchive

PROVIDER_OF_FIND = {"Patient Root FIND", "Study Root FIND", "Study Root FIND (SCP)"}
ELSEWHERE = {"MWL"}
"""Tried row by row by `tests/dimse/worklist`."""
UNIQUE = {"Study Root MOVE (SCP)", "Study Root MOVE (SCU)"}
"""Study Instance UID alone: the tests of provider and user move by it."""
STUDY, MANY = "7420", "7421"
UID = f"{ROOT}.{STUDY}"
OWN = {"PatientID": "GET-KEYS-1"}
ABOVE = {
    "STUDY": {},
    "SERIES": {"StudyInstanceUID": UID},
    "IMAGE": {"StudyInstanceUID": UID, "SeriesInstanceUID": UID + ".1"},
}
STORAGE = Proposed(CT, (EXPLICIT_LE,), scu_role=False, scp_role=True)
MISMATCH = 0xA900


@dataclass(frozen=True)
class Row:
    """One key and one kind of matching."""

    level: str
    keyword: str
    matching: str


def listed(model: str) -> list[Row]:
    return [
        Row(row["level"], row["keyword"], matching)
        for row in rows("query_keys.csv")
        if row["model"] == model
        for matching in row["matching"].split("|")
        if "SCU" in model or (row["keyword"], matching) not in NOT_OF_THE_STANDARD
    ]


def name(row: Row) -> str:
    return f"{row.level}-{row.keyword}-{row.matching}"


def test_no_row_is_forgotten() -> None:
    models = {row["model"] for row in rows("query_keys.csv")}
    assert models == PROVIDER_OF_FIND | ELSEWHERE | UNIQUE | {"Study Root GET", "Study Root FIND (SCU)"}
    assert {row.keyword for model in UNIQUE for row in listed(model)} == {"StudyInstanceUID"}
    assert (len(listed("Study Root GET")), len(listed("Study Root FIND (SCU)"))) == (19, 22)


# ---------------------------------------------------------------- C-GET


@pytest.fixture(scope="module")
def stored(client: httpx.Client) -> Dataset:
    ds = make(STUDY, 1, CT, **(VALUES | OWN))
    assert store(client, [encode(ds)]).status_code == 200
    return ds


@pytest.fixture
async def bridge(archive: RunningArchive) -> AsyncIterator[Bridge]:
    async with open_bridge(archive.root) as running:
        running.peers["XPACS"] = Peer("XPACS", behaviour=PRESETS["xpacs"])
        yield running


async def got(bridge: Bridge, level: str, keys: dict[str, str]) -> Retrieved:
    wanted = [parse_key(f"{keyword}={value}") for keyword, value in keys.items()]
    return (await ask(bridge, get_rq(1, STUDY_ROOT_GET), wanted, STORAGE, level=level, calling="XPACS"))[-1]


def examples(row: Row, ds: Dataset) -> tuple[list[str], list[str]]:
    """What selects the instance, and what does not."""
    value = str(ds[{"ModalitiesInStudy": "Modality"}.get(row.keyword, row.keyword)].value)
    if row.matching == "wildcard":
        return wildcards(value), ["NO*"]
    if row.matching == "range":
        return ["20011201-20011231", "20011203-", value], ["-20011202"]
    return [value], [ABSENT.get(row.keyword, "1.1")]


@pytest.mark.parametrize("row", listed("Study Root GET"), ids=name)
async def test_c_get_selects_by_the_key(bridge: Bridge, stored: Dataset, row: Row) -> None:
    own = {"StudyDescription": str(stored.StudyDescription)} if row.keyword == "PatientID" else OWN
    right, wrong = examples(row, stored)
    for value in right:
        last = await got(bridge, row.level, own | ABOVE[row.level] | {row.keyword: value})
        assert (last.status, last.completed) == (0, 1), value
    for value in wrong:
        last = await got(bridge, row.level, own | ABOVE[row.level] | {row.keyword: value})
        assert (last.status, last.completed) == (0, 0), value


async def test_c_get_by_keys_never_empties_the_archive(bridge: Bridge, client: httpx.Client) -> None:
    files = [encode(make(f"{MANY}.{at}", 1, PatientName=f"Many^{at}")) for at in range(MOST_STUDIES + 1)]
    assert store(client, files).status_code == 200
    last = await got(bridge, "STUDY", {"PatientName": "Many^*"})
    assert (last.status, last.completed) == (MISMATCH, 0)
    assert str(MOST_STUDIES) in last.comment
    for keys in ({"PatientName": "*"}, {"PatientName": "", "StudyDate": ""}):
        assert (await got(bridge, "STUDY", keys)).status == MISMATCH


# ---------------------------------------------------------------- as user


@dataclass
class Provider:
    """Answers each C-FIND with the same identifiers; what it was asked."""

    answers: Sequence[bytes]
    asked: list[Identifier] = field(default_factory=list)
    announced: int = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Remote]:
        async def serve(association: Association) -> None:
            self.announced = association.max_send_length
            while True:
                message = await association.receive()
                self.asked.append(read_identifier(await message.data_set(1 << 20), message.context.transfer_syntax))
                for answer in self.answers:
                    await association.send(
                        message.context, response(message.command, 0xFF00, has_data_set=True), answer
                    )
                await association.send(message.context, response(message.command, 0))

        async with await serve_associations("127.0.0.1", 0, accept_all, serve) as listener:
            yield Remote("THERE", "127.0.0.1", listener.port, behaviour=PRESETS["onepacs"])


async def found(there: Provider, *keys: str, character_set: str = "ISO_IR 192") -> list[Identifier]:
    async with there.listening() as remote:
        asked = [parse_key(key) for key in keys]
        return [one async for one in find.find(remote, "STUDY", asked, character_set=character_set)]


ASKED = {
    "single": ["KNEE"],
    "unique": ["1.2.3"],
    "wildcard": ["KN*", "?NEE"],
    "universal": [""],
    "range": ["20011201-20011231", "-20011231"],
}


@pytest.mark.parametrize("row", listed("Study Root FIND (SCU)"), ids=name)
async def test_the_key_is_asked_for(row: Row) -> None:
    """As it was given; Specific Character Set goes with every query."""
    values = ["20011203"] if (row.keyword, row.matching) == ("StudyDate", "single") else ASKED[row.matching]
    tag = int(tag_for_keyword(row.keyword) or 0)
    for value in values:
        there = Provider([])
        own = row.keyword == "SpecificCharacterSet"
        await found(there, *([] if own else [f"{row.keyword}={value}"]), character_set="ISO_IR 100")
        (asked,) = there.asked
        assert asked.level == "STUDY"
        assert asked.character_set == "ISO_IR 100"
        assert tag in {key.tag for key in asked.keys}
        assert own or asked.text(tag) == value


def answer(*keys: str, character_set: str = "ISO_IR 192") -> bytes:
    return encode_identifier([parse_key(key) for key in keys], "STUDY", EXPLICIT_LE, character_set)


async def test_what_comes_is_shown_as_it_is() -> None:
    """In its character set; what nobody asked for, and what does not match, too; of other modalities nothing."""
    answers = [
        answer("PatientName=Люкceмбypг", "StudyID=7", character_set="ISO_IR 144"),
        answer("PatientName=Διονυσιος", "ModalitiesInStudy=MR\\SR", character_set="ISO_IR 126"),
        answer("PatientName=Other^Modality", "ModalitiesInStudy=US"),
    ]
    matches = await found(Provider(answers), "PatientName=A*", "ModalitiesInStudy=MR")
    assert [one.text(0x00100010) for one in matches] == ["Люкceмбypг", "Διονυσιος"]
    assert matches[0].text(0x00200010) == "7"


async def test_as_user_the_longest_pdu_is_the_products() -> None:
    there = Provider([])
    await found(there, "PatientName")
    assert there.announced == 116794
