"""Character sets of PS3.3 C.12.1.1.2, with the examples of PS3.5 Annexes H, I, J and K and PS3.17."""

from __future__ import annotations

import pytest

from app.dicom.charsets import DEFAULT, charset_of

SINGLE_BYTE = [
    ("ISO_IR 100", "latin_1", "Äneas^Rüdiger"),
    ("ISO_IR 101", "iso8859_2", "Wałęsa^Łucja"),
    ("ISO_IR 109", "iso8859_3", "Ħaġar^Ċensu"),
    ("ISO_IR 110", "iso8859_4", "Ķēniņš"),
    ("ISO_IR 126", "iso8859_7", "Διονυσιος"),
    ("ISO_IR 127", "iso8859_6", "قباني^لنزار"),
    ("ISO_IR 138", "iso8859_8", "שרון^דבורה"),
    ("ISO_IR 144", "iso8859_5", "Люкceмбypг"),
    ("ISO_IR 148", "iso8859_9", "Şahin^Çağlar"),
    ("ISO_IR 166", "tis_620", "นามสกุล"),
    ("ISO_IR 203", "iso8859_15", "Œuvre^Žofie€"),
    ("ISO_IR 13", "shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    ("ISO_IR 192", "utf_8", "Wang^XiaoDong=王^小東"),
    ("GB18030", "gb18030", "Wang^XiaoDong=王^小东=㐀"),
    ("GBK", "gbk", "Wang^XiaoDong=王^小东"),
]


@pytest.mark.parametrize(("term", "codec", "text"), SINGLE_BYTE)
def test_one_character_set(term: str, codec: str, text: str) -> None:
    charset, fault = charset_of(term)
    assert (charset.decode(text.encode(codec), person_name=True), fault) == ((text, True), "")


EXTENDED = [
    ("\\ISO 2022 IR 87", rb"Yamada^Tarou=\033$B;3ED\033(B^\033$BB@O:\033(B=\033$B$d$^$@\033(B^\033$B$?$m$&\033(B",
     "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("ISO 2022 IR 13\\ISO 2022 IR 87",
     rb"\324\317\300\336^\300\333\263=\033$B;3ED\033(J^\033$BB@O:\033(J=\033$B$d$^$@\033(J^\033$B$?$m$&\033(J",
     "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    ("\\ISO 2022 IR 149",
     rb"Hong^Gildong=\033$)C\373\363^\033$)C\321\316\324\327=\033$)C\310\253^\033$)C\261\346\265\277",
     "Hong^Gildong=洪^吉洞=홍^길동"),
    ("\\ISO 2022 IR 58", rb"Zhang^XiaoDong=\033$)A\325\305^\033$)A\320\241\266\253=", "Zhang^XiaoDong=张^小东="),
    ("\\ISO 2022 IR 159", rb"\033$(D\060\041\033(B^x", "丂^x"),
    ("ISO 2022 IR 100\\ISO 2022 IR 144", rb"Buc^J\351r\364me=\033-L\273\356\332", "Buc^Jérôme=Люк"),
    ("\\ISO 2022 IR 100\\ISO 2022 IR 126", rb"\033-AJ\351r\364me^\033-F\304\351\357\355", "Jérôme^Διον"),
    ("\\ISO 2022 IR 166", rb"\033-T\271\322\301", "นาม"),
]  # fmt: skip


@pytest.mark.parametrize(("terms", "raw", "text"), EXTENDED)
def test_code_extensions(terms: str, raw: bytes, text: str) -> None:
    value = raw.decode("unicode_escape").encode("latin_1")
    charset, fault = charset_of(terms)
    assert (charset.decode(value, person_name=True), fault) == ((text, True), "")


def test_a_delimiter_brings_back_the_initial_set() -> None:
    """PS3.5 6.1.2.5.3: after a backslash, a line end or, in PN, `^` and `=`."""
    charset, _ = charset_of("ISO 2022 IR 100\\ISO 2022 IR 144")
    cyrillic, latin = b"\x1b-L\xbb", b"\xe9"
    for delimiter in (b"\\", b"\r\n", b"\t", b"\x0c"):
        assert charset.decode(cyrillic + delimiter + latin)[0] == "Л" + delimiter.decode() + "é"
    assert charset.decode(cyrillic + b"^" + latin, person_name=True)[0] == "Л^é"
    assert charset.decode(cyrillic + b"^" + latin)[0] == "Л^щ"


def test_a_line_end_brings_back_ascii_from_two_byte_characters() -> None:
    charset, _ = charset_of("\\ISO 2022 IR 87")
    assert charset.decode(b"\x1b$B;3ED\r\nplain")[0] == "山田\r\nplain"


def test_backslash_as_second_byte_is_no_delimiter() -> None:
    """Shift JIS 0x835C, GBK 0x815C and JIS X 0208 0x255C end in the code of a backslash."""
    assert charset_of("ISO_IR 13")[0].decode(b"\x83\x5c")[0] == "ソ"
    assert charset_of("GBK")[0].decode("乗".encode("gbk"))[0] == "乗"
    assert charset_of("\\ISO 2022 IR 87")[0].decode(b"\x1b$B\x25\x5c\x1b(B")[0] == "ボ"


@pytest.mark.parametrize(
    ("term", "codec"),
    [
        ("ISO-IR 100", "latin_1"),
        ("ISO IR 192", "utf_8"),
        ("ISO_IR_144", "iso8859_5"),
        ("iso_ir 100", "latin_1"),
        ("ISO_2022_IR_149", "euc_kr"),
        ("ISO 2022 IR 192", "utf_8"),
        ("UTF-8", "utf_8"),
        ("ISO 2022 GBK", "gbk"),
    ],
)
def test_misspelt_terms_are_understood_and_reported(term: str, codec: str) -> None:
    charset, fault = charset_of(term)
    assert (charset.codec, fault) == (codec, "misspelt character set")


def test_unknown_terms_are_read_as_the_default_repertoire() -> None:
    charset, fault = charset_of("KOI8-R")
    assert (charset.decode(b"\xe4"), fault) == (("ä", True), "unknown character set, read as ISO_IR 6")


def test_sets_without_code_extensions_stand_alone() -> None:
    charset, fault = charset_of("ISO_IR 192\\ISO 2022 IR 87")
    assert charset.codec == "utf_8"
    assert fault
    assert charset_of("ISO 2022 IR 100\\ISO_IR 192")[1]


def test_bytes_without_meaning_are_replaced_and_reported() -> None:
    assert charset_of("ISO_IR 192")[0].decode(b"a\xff") == ("a\ufffd", False)
    assert charset_of("\\ISO 2022 IR 87")[0].decode(b"\x1b$B;") == ("\ufffd", False)
    assert charset_of("\\ISO 2022 IR 87")[0].decode(b"\x1b%Gx")[0].endswith("x")
    assert DEFAULT.decode("Müller".encode("latin_1")) == ("Müller", False)
    assert DEFAULT.decode(b"Mueller") == ("Mueller", True)
