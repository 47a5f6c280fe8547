"""Presentation context and role selection items of association PDUs (PS3.8 9.3.2.2, 9.3.3.2, PS3.7 D.3.3.4) in their
plain form, without pynetdicom: of 120 contexts and as many roles it makes 50 ms, most of it for looking at UIDs again.

Law: an item is read here only when it has exactly the parts that the standard gives it and its UIDs are 1 to 64 digits
and dots; the library then finds the same values. Whatever else comes is left to the library, and to its refusals."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence

_UID = rb"([0-9.]{1,64})"
_PLAIN = re.compile(_UID)
_ABSTRACT, _TRANSFER = 0x30, 0x40
_ROLE = 0x54
_CONTEXT_RQ, _CONTEXT_AC = 0x20, 0x21
_RESULTS = range(5)
_VALUE = 8
"""Where the sub-items of a context begin."""


def read_proposed(item: bytes) -> tuple[int, str, tuple[str, ...]] | None:
    """ID, abstract syntax and transfer syntaxes of a whole item of type 20H; None when it is not plain."""
    values = _sub_items(item)
    if len(values) < 2 or values[0][0] != _ABSTRACT or any(kind != _TRANSFER for kind, _ in values[1:]):
        return None
    return item[4], values[0][1], tuple([uid for _, uid in values[1:]])


def read_result(item: bytes) -> tuple[int, int, str] | None:
    """ID, result and transfer syntax of a whole item of type 21H; None when it is not plain."""
    values = _sub_items(item)
    if len(values) != 1 or values[0][0] != _TRANSFER or item[6] not in _RESULTS:
        return None
    return item[4], item[6], values[0][1]


def read_role(item: bytes) -> tuple[str, bool, bool] | None:
    """SOP class and the requestor's roles as SCU and SCP, of a whole item of type 54H; None when it is not plain."""
    uid = item[6:-2]
    if len(item) < 9 or int.from_bytes(item[4:6], "big") != len(uid) or _PLAIN.fullmatch(uid) is None:
        return None
    scu, scp = item[-2], item[-1]
    return None if scu > 1 or scp > 1 else (uid.decode("ascii"), bool(scu), bool(scp))


def _sub_items(item: bytes) -> Sequence[tuple[int, str]]:
    """Types and UIDs of all sub-items; none when one of them is not plain."""
    found: list[tuple[int, str]] = []
    position = _VALUE
    while position < len(item):
        if position + 4 > len(item):
            return ()
        stop = position + 4 + int.from_bytes(item[position + 2 : position + 4], "big")
        uid = item[position + 4 : stop]
        if stop > len(item) or _PLAIN.fullmatch(uid) is None:
            return ()
        found.append((item[position], uid.decode("ascii")))
        position = stop
    return found


def proposed_item(number: int, abstract_syntax: str, transfer_syntaxes: Iterable[str]) -> bytes:
    """An item of type 20H."""
    return _item(
        _CONTEXT_RQ, bytes((number, 0, 0, 0)) + _uid_item(_ABSTRACT, abstract_syntax) + _all(transfer_syntaxes)
    )


def result_item(number: int, result: int, transfer_syntax: str) -> bytes:
    """An item of type 21H."""
    return _item(_CONTEXT_AC, bytes((number, 0, result, 0)) + _uid_item(_TRANSFER, transfer_syntax))


def role_item(sop_class: str, scu: bool, scp: bool) -> bytes:
    """An item of type 54H."""
    return _item(_ROLE, struct.pack(">H", len(sop_class)) + sop_class.encode("ascii") + bytes((scu, scp)))


def _all(transfer_syntaxes: Iterable[str]) -> bytes:
    return b"".join([_uid_item(_TRANSFER, uid) for uid in transfer_syntaxes])


def _uid_item(kind: int, uid: str) -> bytes:
    return _item(kind, uid.encode("ascii"))


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value
