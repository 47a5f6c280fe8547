"""The Native DICOM Model (PS3.19 A.1), application/dicom+xml: DICOM JSON objects to XML and back, a document each.
Private elements carry their creator and leave the block out of the tag, as other implementations do; both spellings are
read. Reading is safe: a document type declaration is refused, so no entity exists that could be expanded or fetched."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from xml.parsers import expat

import orjson
from pydicom.datadict import keyword_for_tag

from app.dicom.limits import DEFAULT, Limits
from app.errors import BadRequest, LimitExceeded

NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
_HEAD = f'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">'
_PN_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_PN_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_SPECIAL = re.compile('[&<>"\r\n\t]|[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]')
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_CHILDREN = {
    "": {"NativeDicomModel"},
    "NativeDicomModel": {"DicomAttribute"},
    "Item": {"DicomAttribute"},
    "DicomAttribute": {"Value", "PersonName", "Item", "InlineBinary", "BulkData"},
    "PersonName": set(_PN_GROUPS),
    **{group: set(_PN_COMPONENTS) for group in _PN_GROUPS},
}
_ELEMENTS = 2_000_000
"""XML elements in one document: what bounds the memory of its parsed form."""
_GAP = 256
"""Most values that may be missing, by their numbers, before one that is there."""
_NUMBER = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_INTEGERS = frozenset("US SS UL SL UV SV".split())
_FLOATS = frozenset("FL FD".split())


def to_xml(data_set: dict[str, Any] | bytes) -> bytes:
    """The document of one DICOM JSON object, given parsed or as text. Characters that XML cannot hold (most control
    characters) become U+FFFD. The depth must have been bounded by whoever made the object."""
    members = orjson.loads(data_set) if isinstance(data_set, bytes) else data_set
    pieces = [_HEAD]
    pieces.extend(_attributes(members))
    pieces.append("</NativeDicomModel>")
    return "".join(pieces).encode("utf-8")


def _attributes(members: dict[str, Any]) -> Iterator[str]:
    creators = _creators(members)
    for tag in sorted(members):
        attribute = members[tag]
        yield f'<DicomAttribute {_identity(tag, creators)} vr="{attribute["vr"]}"'
        content = list(_content(attribute))
        if content:
            yield ">"
            yield from content
            yield "</DicomAttribute>"
        else:
            yield "/>"


def _creators(members: dict[str, Any]) -> dict[str, str]:
    """Private creator of each reserved block (its first six digits). One that reserves a second block in its group is
    left out there, since its elements could not be told apart without the block."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    for tag in sorted(tag for tag in members if tag[4:6] == "00" and tag[6] != "0" and int(tag[3], 16) & 1):
        values = members[tag].get("Value")
        if values and isinstance(values[0], str) and (key := (tag[:4], values[0])) not in seen:
            seen.add(key)
            found[tag[:4] + tag[6:]] = values[0]
    return found


def _identity(tag: str, creators: dict[str, str]) -> str:
    creator = creators.get(tag[:6]) if tag[4:6] != "00" else None
    if creator is not None:
        return f'tag="{tag[:4]}00{tag[6:]}" privateCreator="{_escape(creator)}"'
    keyword = _keyword(tag)
    return f'tag="{tag}" keyword="{keyword}"' if keyword else f'tag="{tag}"'


@lru_cache(maxsize=8192)
def _keyword(tag: str) -> str:
    return keyword_for_tag(int(tag, 16))


def _content(attribute: dict[str, Any]) -> Iterator[str]:
    if "InlineBinary" in attribute:
        yield f"<InlineBinary>{_escape(attribute['InlineBinary'])}</InlineBinary>"
    elif "BulkDataURI" in attribute:
        yield f'<BulkData uri="{_escape(attribute["BulkDataURI"])}"/>'
    else:
        vr = attribute["vr"]
        for number, value in enumerate(attribute.get("Value", ()), 1):
            if vr == "SQ":
                yield f'<Item number="{number}">'
                yield from _attributes(value or {})
                yield "</Item>"
            elif value is None:
                yield f'<Value number="{number}"/>'
            elif vr == "PN":
                yield f'<PersonName number="{number}">{_person_name(value)}</PersonName>'
            else:
                yield f'<Value number="{number}">{_scalar(value)}</Value>'


def _scalar(value: object) -> str:
    return _escape(value) if isinstance(value, str) else repr(value)


def _person_name(name: dict[str, str]) -> str:
    groups = []
    for group in _PN_GROUPS:
        if name.get(group):
            components = name[group].split("^", len(_PN_COMPONENTS) - 1)
            inner = "".join(
                f"<{element}>{_escape(text)}</{element}>"
                for element, text in zip(_PN_COMPONENTS, components, strict=False)
                if text
            )
            groups.append(f"<{group}>{inner}</{group}>")
    return "".join(groups)


def _escape(text: str) -> str:
    return _SPECIAL.sub(lambda match: _ESCAPES.get(match[0], "\ufffd"), text)


def from_xml(document: bytes | bytearray, limits: Limits = DEFAULT) -> dict[str, Any]:
    """The DICOM JSON object of one document. DS and IS stay text as sent; a value that its VR does not allow is given
    as text too, for `json_model` to refuse. Raises `BadRequest` or `LimitExceeded`."""
    if len(document) > limits.json_metadata:
        raise LimitExceeded("json_metadata", f"the metadata has more than {limits.json_metadata} bytes")
    reader = _Reader(limits)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(document, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the latter two: an encoding it does not know
        raise BadRequest("the metadata is not well-formed XML") from error
    return reader.result


@dataclass(slots=True)
class _DataSet:
    """A data set being read: where it goes, and its attributes with the private creators that they name."""

    members: dict[str, Any]
    attributes: list[tuple[int, str | None, dict[str, Any]]] = field(default_factory=list)


class _Reader:
    """The callbacks of one parse."""

    def __init__(self, limits: Limits) -> None:
        self.result: dict[str, Any] = {}
        self._limits = limits
        self._elements = 0
        self._path: list[str] = [""]
        self._data_sets: list[_DataSet] = []
        self._attributes: list[dict[str, Any]] = []
        self._number: str | None = None
        self._person: dict[str, str] = {}
        self._components: dict[str, str] = {}
        self._pieces: list[str] = []
        self._begin: dict[str, Callable[[dict[str, str]], None]] = {
            "NativeDicomModel": self._begin_model,
            "Item": self._begin_item,
            "DicomAttribute": self._begin_attribute,
            "Value": self._begin_value,
            "PersonName": self._begin_person,
            "BulkData": self._begin_bulk,
            **dict.fromkeys(_PN_GROUPS, self._begin_group),
        }
        self._finish: dict[str, Callable[[str, str], None]] = {
            "NativeDicomModel": self._end_data_set,
            "Item": self._end_data_set,
            "DicomAttribute": self._end_attribute,
            "Value": self._end_value,
            "PersonName": self._end_person,
            "InlineBinary": self._end_inline,
            **dict.fromkeys(_PN_GROUPS, self._end_group),
            **dict.fromkeys(_PN_COMPONENTS, self._end_component),
        }

    def doctype(self, *_: object) -> None:
        """Refuses the declaration."""
        raise BadRequest("the metadata has a document type declaration")

    def start(self, name: str, given: dict[str, str]) -> None:
        """An element begins; one that the model does not have there is refused."""
        kind = name.rpartition(" ")[2]
        if kind not in _CHILDREN.get(self._path[-1], ()):
            raise BadRequest("the metadata is not a document of the Native DICOM Model")
        self._elements += 1
        if self._elements > _ELEMENTS:
            raise LimitExceeded("json_metadata", f"the metadata has more than {_ELEMENTS} XML elements")
        self._path.append(kind)
        self._pieces.clear()
        if kind in self._begin:
            self._begin[kind](given)

    def text(self, text: str) -> None:
        """Some of the text of the innermost element."""
        self._pieces.append(text)

    def end(self, _: str) -> None:
        """The innermost element ends."""
        kind = self._path.pop()
        if kind in self._finish:
            self._finish[kind](kind, "".join(self._pieces))
        self._pieces.clear()

    def _begin_model(self, _: dict[str, str]) -> None:
        self._data_sets.append(_DataSet(self.result))

    def _begin_item(self, given: dict[str, str]) -> None:
        if len(self._data_sets) > self._limits.sequence_depth:
            raise LimitExceeded("sequence_depth", f"sequences are nested deeper than {self._limits.sequence_depth}")
        item: dict[str, Any] = {}
        self._number = given.get("number")
        self._add(item)
        self._data_sets.append(_DataSet(item))

    def _begin_attribute(self, given: dict[str, str]) -> None:
        tag, attribute = given.get("tag", ""), dict[str, Any]()
        if _TAG.fullmatch(tag) is None:
            raise BadRequest("a DicomAttribute of the metadata has no tag of eight hexadecimal digits")
        if "vr" in given:
            attribute["vr"] = given["vr"]
        self._attributes.append(attribute)
        self._data_sets[-1].attributes.append((int(tag, 16), given.get("privateCreator"), attribute))

    def _begin_value(self, given: dict[str, str]) -> None:
        self._number = given.get("number")

    def _begin_person(self, given: dict[str, str]) -> None:
        self._number = given.get("number")
        self._person = {}

    def _begin_bulk(self, given: dict[str, str]) -> None:
        self._attributes[-1]["BulkDataURI"] = given.get("uri", "")

    def _begin_group(self, _: dict[str, str]) -> None:
        self._components = {}

    def _end_data_set(self, kind: str, text: str) -> None:
        data_set = self._data_sets.pop()
        _place(data_set.attributes, data_set.members)

    def _end_attribute(self, kind: str, text: str) -> None:
        self._attributes.pop()

    def _end_value(self, kind: str, text: str) -> None:
        self._add(_parse_value(self._attributes[-1].get("vr", ""), text))

    def _end_person(self, kind: str, text: str) -> None:
        self._add(self._person or None)

    def _end_inline(self, kind: str, text: str) -> None:
        self._attributes[-1]["InlineBinary"] = text

    def _end_group(self, kind: str, text: str) -> None:
        name = "^".join(self._components.get(component, "") for component in _PN_COMPONENTS).rstrip("^")
        if name:
            self._person[kind] = name

    def _end_component(self, kind: str, text: str) -> None:
        self._components[kind] = text

    def _add(self, value: object) -> None:
        """Adds a value, item or name to the open attribute, at its number."""
        values = self._attributes[-1].setdefault("Value", [])
        number = int(self._number) if self._number is not None and _NUMBER.fullmatch(self._number) else len(values) + 1
        missing = number - len(values) - 1
        if not 0 <= missing <= _GAP:
            raise BadRequest("the numbers of the values of an attribute are not in order")
        values.extend([None] * missing)
        values.append(value)


def _parse_value(vr: str, text: str) -> object:
    try:
        if vr in _INTEGERS:
            return int(text)
        if vr in _FLOATS:
            return float(text)
    except ValueError:
        return text
    return text or None


def _place(attributes: list[tuple[int, str | None, dict[str, Any]]], members: dict[str, Any]) -> None:
    """Puts the attributes of one data set under their tags, private ones in the block of their creator."""
    blocks: dict[tuple[int, object], int] = {}
    taken: set[tuple[int, int]] = set()
    for tag, creator, attribute in attributes:
        group, element = divmod(tag, 0x10000)
        if creator is None and group & 1 and 0x10 <= element <= 0xFF and attribute.get("Value"):
            blocks.setdefault((group, attribute["Value"][0]), element)
            taken.add((group, element))
    for tag, creator, attribute in attributes:
        group, element = divmod(tag, 0x10000)
        if creator is not None and group & 1 and element <= 0xFF:
            if (group, creator) not in blocks:
                block = next((free for free in range(0x10, 0x100) if (group, free) not in taken), 0)
                if not block:
                    raise BadRequest("a private group of the metadata has more creators than blocks")
                blocks[group, creator] = block
                taken.add((group, block))
                members[f"{group:04X}{block:04X}"] = {"vr": "LO", "Value": [creator]}
            tag |= blocks[group, creator] << 8
        if members.setdefault(f"{tag:08X}", attribute) is not attribute:
            raise BadRequest("the metadata has the same attribute twice")
