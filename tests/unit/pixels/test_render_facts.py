"""What rendering reads of a data set's JSON."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.errors import BadRequest
from app.pixels.render_facts import Facts, bulk_paths, read_facts
from app.pixels.render_text import corners
from app.pixels.render_wish import Region, Wish, order

IMAGE: dict[str, Any] = {
    "00280002": {"vr": "US", "Value": [1]},
    "00280004": {"vr": "CS", "Value": ["MONOCHROME2"]},
    "00280010": {"vr": "US", "Value": [20]},
    "00280011": {"vr": "US", "Value": [40]},
    "00280100": {"vr": "US", "Value": [16]},
    "00280101": {"vr": "US", "Value": [12]},
    "00280102": {"vr": "US", "Value": [11]},
    "00280103": {"vr": "US", "Value": [0]},
}


def value(*values: object) -> dict[str, Any]:
    return {"Value": list(values)}


def facts(frames: int = 1, **members: Any) -> Facts:
    given = {name.removeprefix("t"): member for name, member in members.items()}
    return read_facts(IMAGE | given, "1.2.840.10008.1.2.1", 0x7FE00010, frames, {})


def recipe(**members: Any) -> dict[str, Any]:
    made: dict[str, Any] = orjson.loads(facts(**members).look(1).recipe)
    return made


@pytest.mark.parametrize(
    ("members", "voi"),
    [
        ({"t00281050": value(40), "t00281051": value(400)}, [40.0, 400.0, "LINEAR"]),
        ({"t00281050": value("40", "50"), "t00281051": value(" 400 ", "1")}, [40.0, 400.0, "LINEAR"]),
        ({"t00281050": value(40), "t00281051": value(0.5), "t00281056": value("SIGMOID")}, [40.0, 0.5, "SIGMOID"]),
        (
            {"t00281050": value(40), "t00281051": value(9), "t00281056": value("LINEAR_EXACT")},
            [40.0, 9.0, "LINEAR_EXACT"],
        ),
        ({"t00281050": value(40), "t00281051": value(9), "t00281056": value("ODD")}, [40.0, 9.0, "LINEAR"]),
        ({"t00281050": value(40), "t00281051": value(0)}, None),
        ({"t00281050": value(40), "t00281051": value(0.5)}, None),
        ({"t00281050": value(40)}, None),
        ({"t00281050": value("x"), "t00281051": value(400)}, None),
        ({"t00281050": value(None), "t00281051": value(None)}, None),
        ({"t00281050": value("NaN"), "t00281051": value("1e999")}, None),
        ({"t00281050": {"vr": "DS"}, "t00281051": {"vr": "DS"}}, None),
    ],
)
def test_windows(members: dict[str, Any], voi: list[object] | None) -> None:
    assert recipe(**members).get("voi") == voi


def test_polarity() -> None:
    assert not recipe()["inverse"]
    assert recipe(t00280004=value("MONOCHROME1"))["inverse"]
    assert recipe(t00280004=value("MONOCHROME1"), t20500020=value("INVERSE"))["inverse"]
    assert recipe(t20500020=value("INVERSE"))["inverse"]


def test_angiography_keeps_its_modality_lut_for_measuring() -> None:
    xray = {"t00080016": value("1.2.840.10008.5.1.4.1.1.12.1"), "t00281053": value(2), "t00281052": value(0)}
    assert "slope" not in recipe(**xray, t00281040=value("DISP"))
    assert recipe(**xray, t00281040=value("LIN"))["slope"] == 2


def test_padding() -> None:
    assert "padding" not in recipe()
    assert recipe(t00280120=value(0))["padding"] == [0, 0]
    assert recipe(t00280120=value(10), t00280121=value(5))["padding"] == [5, 10]
    assert recipe(t00280120=value(63536), t00280103=value(1))["padding"] == [-2000, -2000]


@pytest.mark.parametrize(
    ("members", "aspect"),
    [
        ({"t00280030": value(2, 1)}, 2.0),
        ({"t00280030": value(0.4882813, 0.4882812)}, 1.0),
        ({"t00280034": value("1", "2")}, 0.5),
        ({"t00181164": value(1, 2), "t00280034": value(9, 1)}, 0.5),
        ({"t00280030": value(0, 0), "t00280034": value(3, 2)}, 1.5),
        ({"t00280030": value(1e-9, 1e9)}, 1.0),
    ],
)
def test_pixel_aspect(members: dict[str, Any], aspect: float) -> None:
    assert facts(**members).look(1).aspect == aspect


def test_frames_that_look_the_same_share_a_recipe() -> None:
    groups = [{"00289132": value({"00281050": value(center), "00281051": value(9)})} for center in (1, 2, 1)]
    found = facts(3, t52009230=value(*groups), t52009229=value({"00289145": value({"00281053": value(3)})}))
    assert len(found.looks) == 2
    assert found.look(1) == found.look(3) != found.look(2)
    assert orjson.loads(found.look(2).recipe)["voi"] == [2.0, 9.0, "LINEAR"]
    assert orjson.loads(found.look(2).recipe)["slope"] == 3
    assert found.look(99) == found.look(1)


def test_tables_elsewhere_are_named() -> None:
    reference = {"BulkDataURI": "00283010/1/00283006"}
    assert list(bulk_paths({"00283010": value({"00283006": reference})})) == ["00283010/1/00283006"]


@pytest.mark.parametrize("wrong", [[], ["x"], [None], [[1]], [{"Value": 3}]])
def test_values_that_are_no_numbers_count_for_nothing(wrong: Any) -> None:
    for tag in ("00281050", "00281051", "00283010", "00289145", "00280030", "00280120", "20500020", "00286010"):
        for frames in (1, 2):
            assert facts(frames, **{f"t{tag}": {"Value": wrong}}).look(1).recipe


def test_regions() -> None:
    found = facts()
    box = order(found, 1, Wish("image/png", region=Region(0.25, 0.5, 0.5, 0.25, relative=True)))[1]["shape"]["box"]
    assert box == (10, 10, 30, 15)
    whole = order(found, 1, Wish("image/png", region=Region(30, 0, -100, None)))[1]["shape"]
    assert (whole["box"], whole["flips"]) == ((30, 0, 40, 20), (True, False))
    with pytest.raises(BadRequest):
        order(found, 1, Wish("image/png", region=Region(40, 0, 1, 1)))


def test_lines_of_text() -> None:
    members = {
        "00100010": value({"Alphabetic": "Doe^Jane^^Dr"}),
        "00100030": value("19700102"),
        "00080060": value("CT"),
        "00080030": value("101530.123"),
        "00180060": value(120.0),
        "00100020": value("a\nb\x1b[31m" + "x" * 200),
    }
    patient, technique = corners(members, ("patient", "technique"))
    assert patient[0] == "Doe Jane Dr"
    assert "\n" not in patient[1]
    assert len(patient[1]) == 64
    assert patient[2] == "born 1970-01-02"
    assert technique == ("CT  10:15", "120 kVp")
    assert corners(members, ()) == [(), ()]
    assert corners({}, ("patient",)) == [(), ()]
