"""Every Storage SOP class and every transfer syntax of the lists is stored, and comes back byte for byte."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import httpx
from pydicom.dataset import Dataset

from app.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from tests.requirements.instances import CT, encode, make, read_back, rows, store

STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
UNKNOWN_CLASS = STORAGE_ROOT + "999.1"
PRIVATE_CLASS, PRIVATE_SYNTAX = "1.3.6.1.4.1.99999.1.1", "1.3.6.1.4.1.99999.2.1"
STORED = 200


def listed_classes() -> list[str]:
    uids = {row["uid"].replace("*", "999.1") for row in rows("sop_classes.csv")}
    return sorted(uid for uid in uids if uid.startswith(STORAGE_ROOT))


def listed_syntaxes() -> list[str]:
    return sorted({row["uid"] for row in rows("transfer_syntaxes.csv")})


def keep(client: httpx.Client, instances: Sequence[Dataset]) -> Iterator[str]:
    """Stores them, fifty a request, and reads each back; what went wrong."""
    for first in range(0, len(instances), 50):
        group = instances[first : first + 50]
        answer = store(client, [encode(ds) for ds in group])
        if answer.status_code != STORED or len(answer.json()["00081199"]["Value"]) != len(group):
            yield f"{answer.status_code}: {answer.text[:300]}"
            continue
        for ds in group:
            if read_back(client, ds) != encode(ds):
                yield f"{ds.SOPClassUID} in {ds.file_meta.TransferSyntaxUID} came back otherwise"


def test_the_lists_are_whole() -> None:
    assert len(listed_classes()) == 79, "78 classes and the wildcard"
    assert len(listed_syntaxes()) == 12


def test_every_listed_class_is_stored_in_every_listed_syntax(client: httpx.Client) -> None:
    pairs = product([*listed_classes(), PRIVATE_CLASS], listed_syntaxes())
    instances = [make("1", number, *pair) for number, pair in enumerate(pairs)]
    assert len(instances) == 80 * 12
    assert list(keep(client, instances)) == []


def test_every_transfer_syntax_of_the_standard_is_stored(client: httpx.Client) -> None:
    syntaxes = [*TRANSFER_SYNTAXES, PRIVATE_SYNTAX]
    instances = [make("2", number, CT, syntax) for number, syntax in enumerate(syntaxes)]
    assert list(keep(client, instances)) == []
