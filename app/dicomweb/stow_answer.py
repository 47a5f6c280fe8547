"""The answer to Store (PS3.18 10.5.3, Table 10.5.3-1): receipts as a DICOM JSON or XML data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import Request, Response

from app.archive.receipts import Receipt, http_status
from app.dicom.status import STATUSES, Outcome
from app.dicom.xml_model import to_xml
from app.dicomweb import addresses
from app.dicomweb.faults import RETRY_AFTER_SECONDS

JSON = "application/dicom+json"
XML = "application/dicom+xml"


def answer(request: Request, receipts: Sequence[Receipt], study: str | None) -> Response:
    """The response; JSON unless the Accept header prefers XML."""
    body = data_set(receipts, addresses.root(request), study)
    code = http_status(receipts)
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if code in (503, 507) else None
    if _wants_xml(request.headers.get("accept", "")):
        return Response(to_xml(body), code, headers, XML)
    return Response(orjson.dumps(body), code, headers, JSON)


def _wants_xml(accept: str) -> bool:
    xml, json = accept.find("+xml"), accept.find("json")
    return xml >= 0 and (json < 0 or xml < json)


def data_set(receipts: Sequence[Receipt], root: str, study: str | None) -> dict[str, Any]:
    """The Store Instances Response as a DICOM JSON object."""
    stored = [_stored_item(receipt, root) for receipt in receipts if receipt.stored]
    failed = [_failed_item(receipt) for receipt in receipts if not receipt.stored and receipt.sop_instance]
    others = [_failure(receipt) for receipt in receipts if not receipt.stored and not receipt.sop_instance]
    body: dict[str, Any] = {}
    studies = {receipt.study for receipt in receipts if receipt.stored} | ({study} if study else set())
    if len(studies) == 1:
        body["00081190"] = {"vr": "UR", "Value": [f"{root}/studies/{studies.pop()}"]}
    for tag, items in (("00081198", failed), ("00081199", stored), ("0008119A", others)):
        if items:
            body[tag] = {"vr": "SQ", "Value": items}
    return body


def _identity(receipt: Receipt) -> dict[str, Any]:
    item: dict[str, Any] = {"00081150": {"vr": "UI"}}
    if receipt.sop_class:
        item["00081150"]["Value"] = [receipt.sop_class]
    item["00081155"] = {"vr": "UI", "Value": [receipt.sop_instance]}
    return item


def _stored_item(receipt: Receipt, root: str) -> dict[str, Any]:
    item = _identity(receipt)
    address = f"{root}/studies/{receipt.study}/series/{receipt.series}/instances/{receipt.sop_instance}"
    item["00081190"] = {"vr": "UR", "Value": [address]}
    reason = STATUSES[receipt.outcome].reason
    if reason is not None:
        item["00081196"] = {"vr": "US", "Value": [reason]}
        comments = [{"00000902": _comment(f"{w.path}: {w.message}")} for w in receipt.warnings]
        if comments:
            item["00741048"] = {"vr": "SQ", "Value": comments}
    return item


def _failed_item(receipt: Receipt) -> dict[str, Any]:
    return _identity(receipt) | _failure(receipt)


def _failure(receipt: Receipt) -> dict[str, Any]:
    reason = STATUSES[receipt.outcome].reason or STATUSES[Outcome.BUG].reason
    item: dict[str, Any] = {"00081197": {"vr": "US", "Value": [reason]}}
    if receipt.comment:
        item["00000902"] = _comment(receipt.comment)
    return item


def _comment(text: str) -> dict[str, Any]:
    return {"vr": "LO", "Value": [text[:64]]}
