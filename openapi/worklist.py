"""The worklist's part of the conformance statement, from the tables that it runs on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.archive.worklist_rules import AT_ONCE, RULES
from app.dicom.worklist_keys import KEYS
from app.hl7.mapping import CONTROLS, ORDER
from app.hl7.message import CODECS
from openapi.markdown import table

_TEXT = """\
### 2.6 Worklist

Search (PS3.18 14.4) of `/modality-scheduled-procedure-steps`, and C-FIND of the Modality Worklist by the bridge, which
translates it to that. Keys inside the step are named by path (`ScheduledProcedureStepSequence.Modality`). Every
attribute of an item can be matched, sequences by path, those of the table with *index* by one. Each item is one
Scheduled Procedure Step, in the order of their start. Every return key of type 1 and 2 (PS3.4 Table K.6-1) is in every
answer of the archive, without a value when nothing is known; C-FIND answers have the keys that were asked for, unknown
ones with zero length and FF01. When nobody gave them, Study Instance UID (the same for the same patient, accession
number and requested procedure), Requested Procedure ID, Scheduled Procedure Step ID and a start time of 000000 are
made.

A range of dates with a range of times is one from the first day's time to the last day's (Table K.6-1); an end that is
missing is 000000 or 235959. Settings, and members of a peer's behaviour, have a range of times without a date mean
today, or ignore it when the dates cover more than one day; or show a peer only what is scheduled for its AE title.

Items come by REST (*ours*): `POST` of a DICOM JSON object (PS3.18 Annex F) to the resource, `PUT`, `GET` and `DELETE`
of `/modality-scheduled-procedure-steps/{{item}}`; from the HL7 feed; from `.wl` files (`fileroom worklist import`).

{keys}

What becomes of an item (Scheduled Procedure Step Status tells the state while it is still seen):

{rules}

### 2.7 HL7 feed of the worklist

HL7 v2 messages over MLLP, on the port `FILEROOM_HL7_PORT`. ORM^O01 and OMI^O23 make, change and cancel items: each
OBR, and of OMI each IPC, is a step. What a message does not mention stays; `""` empties it. ADT^A08 changes the
patient's data in items, ADT^A40 hands the items of MRG-1 over to the patient of PID. Each message is kept and
acknowledged: AA when all of it is in the catalog; AE when the sender must mend it, with a code of table 0357 in ERR-3;
AR when it is of another kind (200, 201), or when the catalog is away (207). `fileroom worklist replay` applies kept
messages again.

Character sets of MSH-18: {character_sets}.

| ORC-1 | What is done |
| --- | --- |
{controls}

Of several places the first one that holds something counts:

{fields}

"""


def worklist() -> str:
    """The section."""
    return _TEXT.format(
        keys=table(("Attribute", "Tag", "VR", "Return key", "Matching"), _keys()),
        rules=table(("Event", "State", "Hidden"), _rules()),
        character_sets=", ".join(CODECS),
        controls="\n".join(f"| {control} | {deed} |" for control, deed in CONTROLS.items()),
        fields=table(
            ("Attribute", "Places"), ((f"{'>' * row.in_step}{row.keyword}", ", ".join(row.places)) for row in ORDER)
        ),
    )


def _keys() -> Iterator[Sequence[str]]:
    for key in KEYS:
        row = key.attribute
        name = ">" * key.in_step + row.keyword
        yield name, f"({row.tag >> 16:04X},{row.tag & 0xFFFF:04X})", row.vr, key.return_type, "index" * bool(key.column)


def _rules() -> Iterator[Sequence[str]]:
    for event, rule in RULES.items():
        setting = rule.hidden if rule.hidden == AT_ONCE else f"`FILEROOM_WORKLIST_{rule.hidden.upper()}`"
        yield event.value, rule.state.name.lower().replace("_", " "), setting if rule.hidden else "no"
