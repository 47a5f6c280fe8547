"""Rules by which priors are prefetched, and the choice that they make: which studies of a patient at another archive
are priors of a worklist item."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from app.archive.transfers import Target
from app.dicom.destination import plain_name
from app.dicom.query import read_query
from app.dicom.uid import is_uid
from app.dicom.values import date_key
from app.dicom.worklist import MODALITY, text_of
from app.errors import BadRequest

DataSet = Mapping[str, Any]

SAME = "same"
"""Stands for the modality, or the body part, of the item."""
OVER = timedelta(days=1)
"""So long after its scheduled start priors of an item are still wanted."""
MOST = 100
_MEMBERS = frozenset({"hours", "where", "modalities", "body_parts", "most", "days", "echo", "tries", "enabled"})
_USUAL = 5
_LONGEST_CODE = 16
PATIENT_ID, ISSUER, STUDY, SERIES = "00100020", "00100021", "0020000D", "0020000E"
DATE, TIME, MODALITIES, BODY_PART = "00080020", "00080030", "00080061", "00180015"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted for one item: the priors of which patient, and which of them. Empty sets mean any; `oldest` is the
    first Study Date that is not too old, as YYYYMMDD."""

    patient_id: str
    issuer: str
    study: str
    modalities: frozenset[str] = frozenset()
    body_parts: frozenset[str] = frozenset()
    most: int = _USUAL
    oldest: str = ""

    @property
    def about(self) -> str:
        """A hash of all that decides which priors are wanted, but not of the day."""
        sets = (",".join(sorted(one)) for one in (self.modalities, self.body_parts))
        return _hash(self.patient_id, self.issuer, self.study, *sets)


@dataclass(frozen=True, slots=True)
class PrefetchRule:
    """One rule. `hours`: so long before the scheduled start, None: as soon as the item comes; `where` are parameters of
    a search that the item must match; `modalities` and `body_parts` of priors, empty: any; at most `most` of them, none
    older than `days` before the scheduled day, 0: of any age; `echo`: nothing is asked before an echo is answered."""

    name: str
    source: Target
    hours: float | None = None
    where: tuple[tuple[str, str], ...] = ()
    modalities: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    most: int = _USUAL
    days: int = 0
    echo: bool = True
    tries: int = 0
    enabled: bool = True

    @classmethod
    def from_json(cls, name: str, value: object) -> PrefetchRule:
        """The rule that a JSON object describes; raises `BadRequest`."""
        if not isinstance(value, dict) or not (_MEMBERS | {"peer", "server"}).issuperset(value):
            raise BadRequest(f"a rule is a JSON object with `peer` or `server`, and of {', '.join(sorted(_MEMBERS))}")
        where, hours = value.get("where", {}), value.get("hours")
        if not isinstance(where, dict) or not all(isinstance(one, str) for one in where.values()):
            raise BadRequest("`where` is an object of attributes and the text that each must match")
        if isinstance(hours, bool) or not isinstance(hours, int | float | None) or not 0 <= (hours or 0) <= 8760:
            raise BadRequest("`hours` is a number from 0 to 8760, or null: at once")
        echo, enabled = value.get("echo", True), value.get("enabled", True)
        if not isinstance(echo, bool) or not isinstance(enabled, bool):
            raise BadRequest("`echo` and `enabled` are true or false")
        rule = cls(
            plain_name(name),
            Target.from_json(value),
            hours,
            tuple(where.items()),
            _codes(value, "modalities"),
            _codes(value, "body_parts"),
            _whole(value, "most", _USUAL, 1, MOST),
            _whole(value, "days", 0, 0, 36_500),
            echo,
            _whole(value, "tries", 0, 0, 1000),
            enabled,
        )
        read_query("STUDY", rule.where)
        return rule

    def to_json(self) -> dict[str, Any]:
        """The object that `from_json` reads."""
        told: dict[str, Any] = {**self.source.to_json(), "hours": self.hours, "where": dict(self.where)}
        told |= {"modalities": list(self.modalities), "body_parts": list(self.body_parts)}
        told |= {"most": self.most, "days": self.days, "echo": self.echo, "tries": self.tries}
        return told | {"enabled": self.enabled}

    def due_at(self, start: datetime, now: datetime) -> datetime | None:
        """When an item that starts at `start` has its priors fetched; None when it is over by now."""
        if start + OVER < now:
            return None
        return now if self.hours is None else start - timedelta(hours=self.hours)

    def wish(self, item: DataSet, step: DataSet, day: date) -> Wish:
        """What the rule wants for an item whose step is scheduled for `day`. A body part that the item does not tell
        is any."""
        body_part = text_of(step, BODY_PART) or text_of(item, BODY_PART)
        return Wish(
            text_of(item, PATIENT_ID).strip(),
            text_of(item, ISSUER).strip(),
            text_of(item, STUDY),
            _set(self.modalities, text_of(step, MODALITY)),
            _set(self.body_parts, body_part),
            self.most,
            f"{day - timedelta(days=self.days):%Y%m%d}" if self.days else "",
        )

    def order_of(self, wish: Wish) -> str:
        """Jobs of one patient and source are done one after the other, so that none fetches what another one does."""
        return _hash("prefetch", self.source.queue, self.source.name, wish.patient_id)


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32]


def _set(named: Sequence[str], same: str) -> frozenset[str]:
    """The codes that a rule names for an item; none, which means any, when only the item could tell and does not."""
    codes = {same.strip().upper() if one == SAME else one for one in named}
    return frozenset(codes - {""})


def _codes(value: dict[str, Any], name: str) -> tuple[str, ...]:
    codes = value.get(name, [])
    if not isinstance(codes, list) or not all(isinstance(one, str) and 0 < len(one) <= _LONGEST_CODE for one in codes):
        raise BadRequest(f"`{name}` is a list of codes, or of `{SAME}`: as the item")
    return tuple(one if one == SAME else one.strip().upper() for one in codes)


def _whole(value: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    number = value.get(name, default)
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        raise BadRequest(f"`{name}` is a whole number from {least} to {most}")
    return number


# ---------------------------------------------------------------- the choice


def candidates(found: Sequence[DataSet], wish: Wish) -> list[str]:
    """Study Instance UIDs of what may be priors, the newest first, of all studies that another archive found for the
    Patient ID. Archives that match otherwise than they should are not trusted. Raises `BadRequest` when it cannot be
    said of which patient they are."""
    mine = [one for one in found if text_of(one, PATIENT_ID).strip() == wish.patient_id and is_uid(text_of(one, STUDY))]
    issuers = {text_of(one, ISSUER).strip() for one in mine} - {""}
    if wish.issuer:
        mine = [one for one in mine if text_of(one, ISSUER).strip() in ("", wish.issuer)]
    elif len(issuers) > 1:
        raise BadRequest("the Patient ID is of several issuers there, and the worklist item names none")
    dated = [(date_key(text_of(one, DATE)), text_of(one, TIME), one) for one in mine]
    wanted = [row for row in dated if row[0] >= wish.oldest and _has(_values(row[2], MODALITIES), wish.modalities)]
    wanted.sort(key=lambda row: row[:2], reverse=True)
    uids = dict.fromkeys(text_of(one, STUDY) for _, _, one in wanted)
    return [uid for uid in uids if uid != wish.study]


def is_prior(series: Sequence[DataSet], wish: Wish) -> bool:
    """Whether a study with these series is of a modality and a body part that are wanted. What its series do not tell
    speaks for it: a prior too many does less harm than one that is missing."""
    modalities = {value for one in series for value in _values(one, MODALITY)}
    body_parts = {value for one in series for value in _values(one, BODY_PART)}
    return bool(series) and _has(modalities, wish.modalities) and _has(body_parts, wish.body_parts)


def _has(told: set[str], wanted: frozenset[str]) -> bool:
    return not told or not wanted or not wanted.isdisjoint(told)


def _values(item: DataSet, tag: str) -> set[str]:
    return {str(value).strip().upper() for value in item.get(tag, {}).get("Value") or () if value} - {""}
