"""HL7 v2 messages as tests send them."""

from __future__ import annotations

PID = "PID|1||P1^^^HOSP^MR||Doe^Jane^Q^Jr^Dr||19700102|F"
PV1 = "PV1|1|I|WARD^101^2|||||77^Ordner^Otto^^^Dr"
ORC = "ORC|{control}|PL-1^RIS|FL-1^RIS||{status}||^^^202402290930||202402281200|||12^Asker^Anna"
OBR = (
    "OBR|1|PL-1^RIS|FL-1^RIS|RPC^Knee MRI^99R^PC^Knee left^99P||||||||||||12^Asker^Anna||"
    "ACC-1|RP-1|SPS-1|MR1|||MR|||^^^202402290930^^S|||||||9&Doer&Dora"
)
ZDS = "ZDS|1.2.826.0.1.3680043.8.498.7332.99^RIS^Application^DICOM"


def segment(name: str, fields: dict[int, str]) -> str:
    """A segment by the numbers of its fields."""
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(fields) + 1))])


def message(kind: str, *segments: str, version: str = "2.3.1", character_set: str = "UNICODE UTF-8") -> bytes:
    """A message of these segments; the control ID is CTL-1."""
    head = f"MSH|^~\\&|RIS|HOSP|FILEROOM|HOSP|202402281200||{kind}|CTL-1|P|{version}||||||{character_set}"
    codec = {"8859/1": "latin-1", "ISO IR87": "iso2022_jp", "": "utf-8"}.get(character_set, "utf-8")
    return "\r".join([head, *segments, ""]).encode(codec)


def order(control: str = "NW", *, status: str = "", patient: str = PID, request: str = OBR) -> bytes:
    """ORM^O01 for one step."""
    return message("ORM^O01", patient, PV1, ORC.format(control=control, status=status), request, ZDS)


def imaging_order(control: str = "NW", steps: int = 2) -> bytes:
    """OMI^O23: one requested procedure of several steps."""
    segments = [PID, PV1, f"ORC|{control}|PL-2^RIS|FL-2^RIS", "TQ1|1||||||202402291000||S^Stat"]
    segments.append("OBR|1|PL-2^RIS|FL-2^RIS|RPC^Knee PET^99R")
    segments += [
        f"IPC|ACC-2|RP-2|1.2.826.0.1.3680043.8.498.7332.98|SPS-2{number}|{modality}|PC^Protocol^99P|STN|ROOM|{modality}1"
        for number, modality in list(enumerate(("CT", "PT")))[:steps]
    ]
    return message("OMI^O23^OMI_O23", *segments, version="2.5.1")
