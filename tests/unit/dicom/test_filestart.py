"""How a bare data set may begin: with any standard tag that has a VR and length of its own, and with nothing else."""

from __future__ import annotations

import random

import pytest

from app.dicom.filestart import begins_data_set

BEGINNINGS = (
    b"\x08\0\x05\0CS\x0a\0",
    b"\0\0\0\0\4\0\0\0",
    b"\x10\0\x10\0PN\x08\0",
    b"\x10\0\x10\0\x08\0\0\0",
    b"\0\x10\0\x10PN\0\x08",
    b"\x10\0\0\0UL\4\0",
    b"\x10\0\0\0\4\0\0\0",
    b"\x20\0\x0d\0UI\x12\0",
    b"\x32\0\x60\x10\x0c\0\0\0",
    b"\x40\0\0\1SQ\0\0",
    b"\x10\0\x10\0UN\0\0",
)
WRONG = (
    b"\x10\0\x10\0CS\x08\0",  # another VR
    b"\x10\0\x10\0\x07\0\0\0",  # an odd length
    b"\x10\0\x10\0\xff\xff\xff\xff",
    b"\x10\0\0\0\x08\0\0\0",  # a group length of 8 bytes
    b"\x11\0\x10\0LO\4\0",  # private
    b"\x10\0\xfe\xff\4\0\0\0",
    b"\x02\0\x10\0\x14\0\0\0",  # file meta without VRs
    b"\xfe\xff\x00\xe0\4\0\0\0",
    b"%PDF-1.7",
    b"<html><b",
    b"PK\3\4\x14\0\0\0",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0\0\x10JF",
    b'{"001000',
    b"\x10\0",
    b"",
)


@pytest.mark.parametrize("head", BEGINNINGS)
def test_a_data_set_may_begin_so(head: bytes) -> None:
    assert begins_data_set(head)


@pytest.mark.parametrize("head", WRONG)
def test_nothing_else_is_taken_for_one(head: bytes) -> None:
    assert not begins_data_set(head)


def test_noise_is_hardly_ever_taken_for_one() -> None:
    chance = random.Random(4)
    taken = sum(begins_data_set(chance.randbytes(8)) for _ in range(200_000))
    assert taken < 20, "as often as by the two groups alone"
