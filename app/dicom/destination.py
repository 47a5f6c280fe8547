"""Other DICOMweb servers to which instances are sent. Pure, as `app.dicom.peer` is for DIMSE."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from app.errors import BadRequest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_PRINTABLE = re.compile(r"[\x21-\x7e]+", re.ASCII)
_LONGEST = 2048
_MEMBERS = frozenset({"url", "token", "keeps_syntaxes"})


@dataclass(frozen=True, slots=True)
class Destination:
    """One server."""

    name: str
    url: str
    """Its DICOMweb root."""
    token: str = field(default="", repr=False)
    """Sent as `Authorization: Bearer`; never told."""
    keeps_syntaxes: bool = False
    """It takes the transfer syntaxes that PS3.18 8.7.3 keeps out of web services, as a Fileroom does; others are sent
    such instances in Explicit VR Little Endian."""

    @classmethod
    def from_json(cls, name: str, value: object) -> Destination:
        """The destination that a JSON object describes; raises `BadRequest` that names the member which is wrong."""
        if not isinstance(value, dict):
            raise BadRequest("a destination is a JSON object")
        for member in value:
            if member not in _MEMBERS:
                raise BadRequest("a destination has the members `url`, `token` and `keeps_syntaxes`")
        token = value.get("token", "")
        if not isinstance(token, str) or (token and (len(token) > _LONGEST or not _PRINTABLE.fullmatch(token))):
            raise wrong("token", "printable ASCII characters without spaces are needed")
        keeps = value.get("keeps_syntaxes", False)
        if not isinstance(keeps, bool):
            raise wrong("keeps_syntaxes", "true or false is needed")
        return cls(plain_name(name), http_address("url", value.get("url")).rstrip("/"), token, keeps)

    def to_json(self, *, secret: bool = False) -> dict[str, object]:
        """The object that `from_json` reads; without `secret` it only says whether there is a token."""
        token: object = self.token if secret else bool(self.token)
        return {"url": self.url, "token": token, "keeps_syntaxes": self.keeps_syntaxes}


def plain_name(text: str) -> str:
    """`text` when it can name a resource of ours; raises `BadRequest`."""
    if _NAME.fullmatch(text) is None:
        raise BadRequest("a name has 1 to 64 ASCII letters, digits and the characters . _ -")
    return text


def http_address(member: str, value: object) -> str:
    """An absolute address of HTTP without credentials, query and fragment: what is sent there is in nobody's log by
    accident. Raises `BadRequest`."""
    text = value if isinstance(value, str) else ""
    try:
        parts = urlsplit(text)
        is_fit = parts.port is None or parts.port > 0
    except ValueError:
        raise wrong(member, "this is no address") from None
    if parts.username is not None or parts.password is not None:
        raise wrong(member, "an address with credentials is not accepted; give them in `token`")
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_fit or len(text) > _LONGEST:
        raise wrong(member, "an http:// or https:// address is needed")
    if parts.query or parts.fragment or not _PRINTABLE.fullmatch(text):
        raise wrong(member, "an address without query, fragment and spaces is needed")
    return text


def wrong(member: str, why: str) -> BadRequest:
    """The error that names a member."""
    return BadRequest(f"`{member}`: {why}", extra={"member": member})
