"""The whole corpus goes in by C-STORE, each data set in its own transfer syntax, and the archive then has the data sets
that were sent, byte for byte. What cannot be addressed is refused with the reason that STOW gives."""

from __future__ import annotations

from dataclasses import replace

from app.dicom.filestart import MetaReader, meta_at
from app.dicom.transfer_syntaxes import EXPLICIT_LE, TRANSFER_SYNTAXES
from app.errors import Unreadable
from tests.corpus.test_roundtrip import BROKEN_OFF, refusals
from tests.dimse.store.conftest import Bridge, Sent, open_bridge, send, sent_of
from tests.support.archive import RunningArchive
from tests.support.dicomweb import Client
from tests.support.samples import SECONDARY_CAPTURE, new_uid
from tests.testdata.fixtures import CorpusFile

SUCCESS, WITH_WARNING = 0x0000, 0xB007
MOST_CONTEXTS = 128


def as_sent(file: CorpusFile) -> Sent:
    """What a modality that has this file would send; UIDs and syntax of our own choice where it has none."""
    raw = file.path.read_bytes()
    try:
        one = sent_of(raw)
    except Unreadable:
        one = _unreadable(raw)
    syntax = one.syntax if one.syntax in TRANSFER_SYNTAXES else EXPLICIT_LE
    return replace(one, syntax=syntax, sop_class=one.sop_class or SECONDARY_CAPTURE.decode())


def _unreadable(raw: bytes) -> Sent:
    begin = meta_at(raw)
    syntax, pos = EXPLICIT_LE, 0
    if begin is not None:
        meta = MetaReader(begin)
        meta.read(raw)
        syntax, pos = meta.start.transfer_syntax or EXPLICIT_LE, meta.pos
    return Sent(SECONDARY_CAPTURE.decode(), new_uid(), syntax, raw[pos:])


async def test_the_corpus_goes_in_as_it_is(corpus: list[CorpusFile], empty: RunningArchive) -> None:
    table = refusals()
    instances = [(file, as_sent(file)) for file in corpus]
    contexts = list(dict.fromkeys(one.context for _, one in instances))
    wrong = {}
    async with open_bridge(empty.root) as bridge:
        for first in range(0, len(contexts), MOST_CONTEXTS):
            group = contexts[first : first + MOST_CONTEXTS]
            async with bridge.associate(group) as association:
                assert len(association.contexts) == len(group)
                for file, one in instances:
                    if one.context in group:
                        if file.facts["shares_sop_uid"] and one.path:  # a twin may be there
                            Client(empty.port).delete(one.path)
                        status = (await send(association, one)).status or 0
                        fault = await _fault(bridge, one, status, file.name in table)
                        if file.name in BROKEN_OFF and status != WITH_WARNING:
                            fault = f"{status:04X}"
                        if fault:
                            wrong[file.name] = fault
    assert wrong == {}


async def _fault(bridge: Bridge, one: Sent, status: int, refused: bool) -> str:
    """What is wrong with this answer, or with what was stored."""
    if refused:
        return "" if status >> 12 in (0xA, 0xC) and status >> 8 != 0xA7 else f"{status:04X}"
    if status not in (SUCCESS, WITH_WARNING):
        return f"{status:04X}"
    return "" if await bridge.stored(one.path, one.syntax) == one.data_set else "the data set is another one"


def test_what_is_refused_is_a_small_part(corpus: list[CorpusFile]) -> None:
    assert len(refusals()) < len(corpus) / 5
    assert not refusals().keys() & BROKEN_OFF.keys()
