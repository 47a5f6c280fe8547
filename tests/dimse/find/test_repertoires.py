"""Text in every character set: our decoder and pydicom's read what was meant; what cannot be carried is refused."""

from __future__ import annotations

import pytest
from pydicom.charset import convert_encodings
from pydicom.valuerep import PersonName

from app.dicom.charsets import charset_of
from dimse_bridge.identifiers.repertoires import repertoire_of

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
    "58": "Zhang^XiaoDong=张^小东",
}
MULTI_BYTE = ("87", "159", "149", "58")
TERMS = [
    (term, name)
    for number, name in NAMES.items()
    for term in (
        f"ISO_IR {number}",
        f"ISO 2022 IR {number}",
        f"\\ISO 2022 IR {number}",
        f"ISO 2022 IR 13\\ISO 2022 IR {number}",
        f"ISO 2022 IR 100\\ISO 2022 IR {number}",
        f"ISO 2022 IR 6\\ISO 2022 IR 58\\ISO 2022 IR {number}",
    )
    if not (number in MULTI_BYTE and term.startswith("ISO_IR"))
] + [("ISO_IR 192", "山田^ü"), ("GB18030", "王^小东"), ("GBK", "王^小东")]


@pytest.mark.parametrize(("terms", "name"), TERMS)
def test_what_is_written_is_read_as_it_was_meant(terms: str, name: str) -> None:
    repertoire = repertoire_of(terms)
    assert repertoire is not None
    encoded = repertoire.name(name)
    assert charset_of(terms)[0].decode(encoded, person_name=True) == (name, True)
    if "58" not in terms:  # pydicom keeps the escape sequences of this one
        assert str(PersonName(encoded, convert_encodings(terms.split("\\")))) == name
    text = f"{name}\\two\r\n{name}"
    assert charset_of(terms)[0].decode(repertoire.text(text)) == (text, True)


def test_the_examples_of_the_standard() -> None:
    """PS3.5 H.3.1, H.3.2 and I.2."""
    japanese = repertoire_of("\\ISO 2022 IR 87")
    half_width = repertoire_of("ISO 2022 IR 13\\ISO 2022 IR 87")
    korean = repertoire_of("\\ISO 2022 IR 149")
    assert japanese is not None
    assert half_width is not None
    assert korean is not None
    kanji, kana = "=\x1b$B;3ED\x1b(%s^\x1b$BB@O:\x1b(%s", "=\x1b$B$d$^$@\x1b(%s^\x1b$B$?$m$&\x1b(%s"
    h31 = "Yamada^Tarou" + kanji.replace("%s", "B") + kana.replace("%s", "B")
    assert japanese.name("Yamada^Tarou=山田^太郎=やまだ^たろう") == h31.encode()
    h32 = b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3" + (kanji + kana).replace("%s", "J").encode()
    assert half_width.name("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう") == h32
    i2 = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
    assert korean.name("Hong^Gildong=洪^吉洞=홍^길동") == i2


@pytest.mark.parametrize(
    ("terms", "name"),
    [("", "Ä"), ("ISO_IR 6", "Ä"), ("ISO_IR 100", "Ł"), ("ISO_IR 13", "¥"), ("\\ISO 2022 IR 87", "홍"), ("GBK", "😀")],
)
def test_what_it_cannot_carry_is_refused(terms: str, name: str) -> None:
    repertoire = repertoire_of(terms)
    assert repertoire is not None
    with pytest.raises(UnicodeEncodeError):
        repertoire.name(name)


@pytest.mark.parametrize(
    "terms", ["LATIN", "ISO_IR 999", "ISO_IR 100\\ISO_IR 192", "ISO_IR 149", "GB18030\\ISO_IR 100"]
)
def test_unknown_terms_are_no_repertoire(terms: str) -> None:
    assert repertoire_of(terms) is None
