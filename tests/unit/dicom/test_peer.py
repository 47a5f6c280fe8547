"""Descriptions of peers: any JSON is a peer or refused, and what was read is written the same."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.peer import PRESETS, SERVICES, Behaviour, Peer, ae_title, unregistered
from app.errors import BadRequest, Refused
from tests.style.measure import ROOT

NAMES = ["host", "port", "tls", "certificate", "character_set", "called", "may", "addresses", "behaviour", "aet"]
NAMES += ["preset", *(field.name for field in fields(Behaviour))]
WORDS = ["CT1", "127.0.0.1", "::1", "10.0.0.0/8", "ISO_IR 100", "STUDY", "store", "onepacs", "replace", "1.2.840", "\\"]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(WORDS)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=9), inner),
    max_leaves=12,
)


@given(st.text(max_size=20) | st.sampled_from(WORDS), JSON)
def test_any_json_is_a_peer_or_refused(aet: str, value: object) -> None:
    refusal = None
    try:
        peer = Peer.from_json(aet, value)
    except Refused as error:
        refusal = error
    if refusal is None:
        assert Peer.from_json(peer.ae_title, peer.to_json()) == peer
    else:
        assert refusal.detail
        assert "member" in refusal.extra


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_peers_too(preset: str) -> None:
    peer = unregistered("ANY", preset)
    assert Peer.from_json("ANY", peer.to_json()) == peer
    assert peer.to_json()["behaviour"] == {"preset": preset}


def test_a_preset_is_where_the_others_begin() -> None:
    peer = Peer.from_json("A", {"behaviour": {"preset": "dxserver", "attempts": 9}})
    assert peer.behaviour.store_out_of_resources == 0xA765
    assert peer.behaviour.attempts == 9
    assert peer.to_json()["behaviour"] == {"preset": "dxserver", "attempts": 9}


def test_padding_of_titles_means_nothing() -> None:
    assert ae_title("  CT 1 ") == "CT 1"
    for wrong in ("", " ", "a" * 17, "a\\b", "a\n", "ä", None, 5):
        with pytest.raises(BadRequest):
            ae_title(wrong)


@pytest.mark.parametrize(
    ("networks", "address", "may"),
    [
        ([], "192.0.2.1", True),
        (["192.0.2.0/24"], "192.0.2.77", True),
        (["192.0.2.0/24"], "192.0.3.1", False),
        (["192.0.2.1"], "::ffff:192.0.2.1", True),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["2001:db8::/32"], "192.0.2.1", False),
    ],
)
def test_addresses_are_compared_as_networks(networks: list[str], address: str, may: bool) -> None:
    assert Peer.from_json("A", {"addresses": networks}).may_call_from(address) is may


def test_every_behaviour_is_one() -> None:
    """What can be set is looked at by the bridge or the archive."""
    code = "\n".join(
        path.read_text()
        for room in ("app", "dimse_bridge")
        for path in (ROOT / room).rglob("*.py")
        if path.stem != "peer"
    )
    dead = [field.name for field in fields(Behaviour) if field.name != "preset" and f".{field.name}" not in code]
    assert dead == ["check_address"], "which the peer looks at itself"


def test_who_is_not_registered_may_all_but_is_no_destination() -> None:
    assert (unregistered("X").may, unregistered("X").host) == (SERVICES, "")
