"""A DICOMweb client for tests that break things: one connection, no retries, every answer as it came."""

from __future__ import annotations

import email.parser
import email.policy
import http.client
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Item = dict[str, Any]
AS_STORED = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
ONE_AS_STORED = {"Accept": "application/dicom; transfer-syntax=*"}


class Broken(Exception):
    """The connection ended before the answer did."""


@dataclass
class Stored:
    """The answer to a Store: UIDs of the Referenced SOP Sequence, and Failure Reasons of the failed ones."""

    status: int
    headers: dict[str, str]
    acknowledged: set[str] = field(default_factory=set)
    failed: dict[str, int] = field(default_factory=dict)


class Client:
    """One kept-alive connection, made anew after it broke. Not for several threads."""

    def __init__(self, port: int, timeout: float = 30.0) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in lower case, and the whole body; raises `Broken`."""
        try:
            self._connection.request(method, path, body, headers or {})
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Broken(repr(error)) from error
        return response.status, {name.lower(): value for name, value in response.getheaders()}, content

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def store(self, *files: bytes) -> Stored:
        """Store (PS3.18 10.5)."""
        if len(files) == 1:
            body, content_type = files[0], "application/dicom"
        else:
            boundary = uuid.uuid4().hex
            body = b"".join(
                b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s\r\n" % (boundary.encode(), file) for file in files
            )
            body += b"--%s--\r\n" % boundary.encode()
            content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
        status, headers, content = self.request("POST", "/dicom-web/studies", body, {"Content-Type": content_type})
        answer = Stored(status, headers)
        if "dicom+json" in headers.get("content-type", ""):
            data = json.loads(content)
            answer.acknowledged = {_uid(item) for item in data.get("00081199", {}).get("Value", [])}
            failed = [*data.get("00081198", {}).get("Value", []), *data.get("0008119A", {}).get("Value", [])]
            answer.failed = {_uid(item): item["00081197"]["Value"][0] for item in failed}
        return answer

    def delete(self, path: str) -> int:
        """Our delete of a resource; the status."""
        return self.request("DELETE", f"/dicom-web{path}")[0]

    def retrieve(self, path: str) -> tuple[int, bytes]:
        """One instance as it is stored."""
        status, _, content = self.request("GET", f"/dicom-web{path}", headers=ONE_AS_STORED)
        return status, content

    def retrieve_study(self, study: str) -> list[bytes]:
        """Every instance of a study as it is stored; none when the study is not there."""
        status, headers, content = self.request("GET", f"/dicom-web/studies/{study}", headers=AS_STORED)
        if status == 404:
            return []
        assert status == 200, (status, content[:500])
        return list(parts(headers["content-type"], content))

    def search(self, path: str) -> list[Item]:
        """All results of a search (PS3.18 10.6), page by page."""
        found: list[Item] = []
        while True:
            joint = "&" if "?" in path else "?"
            status, _, content = self.request("GET", f"/dicom-web{path}{joint}limit=1000&offset={len(found)}")
            assert status in (200, 204), (path, status, content[:500])
            page: list[Item] = json.loads(content) if content else []
            found += page
            if len(page) < 1000:
                return found

    def metadata(self, study: str) -> list[Item]:
        """The metadata of a study; none when it is not there."""
        status, _, content = self.request("GET", f"/dicom-web/studies/{study}/metadata")
        if status == 404:
            return []
        assert status == 200, (status, content[:500])
        items: list[Item] = json.loads(content)
        return items


def parts(content_type: str, body: bytes) -> Iterator[bytes]:
    """The bodies of a multipart answer."""
    message = email.parser.HeaderParser(policy=email.policy.HTTP).parsestr(f"Content-Type: {content_type}\r\n\r\n")
    boundary = b"--" + message.get_boundary("").encode()
    assert body.rstrip(b"\r\n").endswith(boundary + b"--"), "the multipart answer has no end"
    for piece in body.split(boundary)[1:-1]:
        yield piece.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")


def first(item: Item, tag: str) -> Any:
    """The first value of an attribute, None when it has none."""
    values = item.get(tag, {}).get("Value", [])
    return values[0] if values else None


def _uid(item: Item) -> str:
    return str(first(item, "00081155") or "")
