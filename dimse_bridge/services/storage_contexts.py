"""Presentation contexts for sending instances (PS3.4 B.4.1): which to propose, and which one an instance goes by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from app.dicom.peer import Behaviour
from app.dicom.transfer_syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, transfer_syntax
from dimse_bridge.association.abstract_syntaxes import is_non_image
from dimse_bridge.association.context import Context, Proposed
from dimse_bridge.conversion.data_sets import is_convertible
from dimse_bridge.services.selection import Wanted

MOST_CONTEXTS = 128
"""Presentation contexts in one association: the odd numbers of one byte (PS3.8 9.3.2.2)."""
UNCOMPRESSED = (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE)
"""What every instance can be sent as, the best first."""
_J = "1.2.840.10008.1.2.4."
USUAL = (*UNCOMPRESSED, *(_J + end for end in ("70", "57", "50", "51", "80", "81", "90", "91")), "1.2.840.10008.1.2.5")
"""What is proposed for a class when the archive does not tell in what its instances are stored."""


Allowed = Callable[[str, str], bool]
"""Whether a class may be sent to the peer in a transfer syntax."""


def allowed_by(behaviour: Behaviour) -> Allowed | None:
    """What the behaviour towards a peer allows; None when that is everything."""
    syntaxes, plain = behaviour.transfer_syntaxes, behaviour.uncompressed_non_images
    if not syntaxes and not plain and not behaviour.sop_classes:
        return None

    def allowed(sop_class: str, syntax: str) -> bool:
        if not behaviour.knows(sop_class) or (syntaxes and syntax not in (*syntaxes, IMPLICIT_LE)):
            return False
        return not plain or syntax in (IMPLICIT_LE, EXPLICIT_LE) or not is_non_image(sop_class)

    return allowed


class Way(NamedTuple):
    """How an instance goes: by `context`, and in which transfer syntax the archive is asked for it ("": as stored)."""

    context: Context
    ask: str = ""


def propose(wanted: Iterable[Wanted], allowed: Allowed | None = None) -> list[Proposed]:
    """For each class of `wanted`, and only for those: a context for each transfer syntax, and one with all of them, to
    see what the peer prefers; fewer when an association cannot hold so many. `allowed` restricts classes and transfer
    syntaxes."""
    stored = {one: kinds for one, kinds in _stored(wanted).items() if allowed is None or allowed(one, IMPLICIT_LE)}
    for natives in (UNCOMPRESSED, UNCOMPRESSED[:2], ()):
        plans = {one: _restricted(one, [*kinds, *natives], allowed) for one, kinds in stored.items()}
        if sum(len(kinds) + 1 for kinds in plans.values()) <= MOST_CONTEXTS:
            return [context for one, kinds in plans.items() for context in _apart(one, kinds)]
    together = {one: _restricted(one, [*kinds, *UNCOMPRESSED], allowed) for one, kinds in stored.items()}
    return [Proposed(one, kinds) for one, kinds in together.items()][:MOST_CONTEXTS]


def _stored(wanted: Iterable[Wanted]) -> dict[str, list[str]]:
    """Class → transfer syntaxes, those of most instances first."""
    counted: dict[str, Counter[str]] = {}
    for one in wanted:
        if one.sop_class:
            counted.setdefault(one.sop_class, Counter()).update(one.syntaxes[:1] or USUAL)
    return {sop_class: [uid for uid, _ in count.most_common()] for sop_class, count in counted.items()}


def _restricted(sop_class: str, kinds: Sequence[str], allowed: Allowed | None) -> tuple[str, ...]:
    unique = dict.fromkeys(kinds)
    return tuple(uid for uid in unique if allowed is None or allowed(sop_class, uid)) or (IMPLICIT_LE,)


def _apart(sop_class: str, kinds: tuple[str, ...]) -> list[Proposed]:
    each = [Proposed(sop_class, (uid,)) for uid in kinds]
    return [*each, Proposed(sop_class, kinds)] if len(kinds) > 1 else each


class Contexts:
    """The accepted contexts by which we may send, of one association."""

    def __init__(self, accepted: Iterable[Context]) -> None:
        self._by_class: dict[str, dict[str, Context]] = {}
        self._ways: dict[tuple[str, str], Way | None] = {}
        for context in accepted:
            if context.scu:
                self._by_class.setdefault(context.abstract_syntax, {}).setdefault(context.transfer_syntax, context)

    def takes(self, sop_class: str) -> bool:
        """Whether the peer takes this class at all."""
        return sop_class in self._by_class

    def way(self, sop_class: str, stored: str) -> Way | None:
        """How an instance stored in `stored` goes: as it is, else converted here, else transcoded by the archive, but
        never to what loses something; None when the peer takes it in no form. `stored` "" means as it is, whatever
        that will be."""
        key = sop_class, stored
        if key not in self._ways:
            self._ways[key] = self._find(self._by_class.get(sop_class, {}), stored)
        return self._ways[key]

    def _find(self, by_syntax: Mapping[str, Context], stored: str) -> Way | None:
        if not by_syntax:
            return None
        if stored in by_syntax:
            return Way(by_syntax[stored])
        natives = [by_syntax[uid] for uid in UNCOMPRESSED if uid in by_syntax]
        if not stored:
            return Way((natives or list(by_syntax.values()))[0])
        here = next((one for one in natives if is_convertible(stored, one.transfer_syntax)), None)
        if here is not None:
            return Way(here)
        if natives:
            return Way(natives[0], EXPLICIT_LE)
        lossless = (one for uid, one in by_syntax.items() if not transfer_syntax(uid).lossy)
        return next((Way(one, one.transfer_syntax) for one in lossless), None)
