"""A name in every listed character set is found, and read, as the text that was meant."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.requirements.instances import encode, make, rows, store

NAMES = {
    "6": "Plain^Ascii",
    "100": "Äneas^Rüdiger",
    "101": "Wałęsa^Łukasz",
    "109": "Ĉarlo^Ĵeĥo",
    "110": "Āboliņš^Ģirts",
    "144": "Люкceмбypг",
    "127": "قباني^لنزار",
    "126": "Διονυσιος",
    "138": "שרון^דבורה",
    "148": "Çavuşoğlu^Şükrü",
    "13": "ﾔﾏﾀﾞ^ﾀﾛｳ",
    "166": "นามสกุล^ชื่อ",
    "87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "159": "Test^Sup=丂^丂",
    "149": "Hong^Gildong=洪^吉洞=홍^길동",
}
"""ISO registration number → a name; those of the multi-byte sets use code extensions (PS3.5 6.1.2.5)."""
MULTI_BYTE = ("87", "159", "149")
TERMS = [row["defined_term"] for row in rows("charsets.csv")]


@pytest.mark.parametrize(("number", "term"), list(enumerate(TERMS)), ids=TERMS)
def test_a_name_in_it_is_found_and_read(client: httpx.Client, number: int, term: str) -> None:
    matched = re.search(r"IR (\d+)", term.replace("_", " "))
    assert matched is not None
    name = NAMES[matched[1]]
    ds = make(f"3.{number}", 1, PatientName=name)
    if "default" not in term:
        ds.SpecificCharacterSet = ["", term] if matched[1] in MULTI_BYTE else term
    assert store(client, [encode(ds)]).status_code == 200
    found = client.get("/studies", params={"PatientName": name.split("=")[0], "PatientID": ds.PatientID}).json()
    groups = dict(zip(("Alphabetic", "Ideographic", "Phonetic"), name.split("="), strict=False))
    assert [study["00100010"]["Value"] for study in found] == [[groups]]
