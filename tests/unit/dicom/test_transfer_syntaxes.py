"""The table of transfer syntaxes against the registry of UIDs (PS3.6 Annex A), in pydicom's copy."""

from __future__ import annotations

import pytest
from pydicom.uid import UID, AllTransferSyntaxes

from app.dicom.transfer_syntaxes import TRANSFER_SYNTAXES


@pytest.mark.parametrize("uid", [uid for uid in TRANSFER_SYNTAXES if UID(uid).name != uid])
def test_names_are_those_of_the_registry(uid: str) -> None:
    assert TRANSFER_SYNTAXES[uid].name == UID(uid).name


@pytest.mark.parametrize("uid", [uid for uid in AllTransferSyntaxes if uid in TRANSFER_SYNTAXES])
def test_encodings_are_those_of_the_registry(uid: UID) -> None:
    row = TRANSFER_SYNTAXES[uid]
    if not row.encapsulated:
        assert (row.explicit, row.big_endian) == (not uid.is_implicit_VR, not uid.is_little_endian)
    assert row.deflated == uid.is_deflated
    assert row.encapsulated == uid.is_encapsulated
