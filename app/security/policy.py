"""THE table of who may do what: (methods, path) → scope that a principal needs. What no row names is denied, and a
route that no row names keeps the archive from starting."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from app.errors import CannotStart

BRIDGE = "bridge"
"""Scope of a DIMSE bridge: it may read the peers, and ask for a peer what the peer may (`PEER_RULES`)."""
SCOPES = ("read", "write", "delete", "admin", BRIDGE)
PUBLIC = ""
_STUDY_LEVELS = r"(?:/series/[^/]+(?:/instances/[^/]+)?)?"


@dataclass(frozen=True, slots=True)
class Rule:
    """`scope` is PUBLIC for what needs no credentials. `stores`: a body may be as long as Store allows. `bridge`: a
    bridge may too, in its own name."""

    methods: frozenset[str]
    path: re.Pattern[str]
    scope: str
    stores: bool = False
    bridge: bool = False

    def opens_for(self, scopes: frozenset[str]) -> bool:
        """Whether a principal with these scopes may."""
        return self.scope in scopes or (self.bridge and BRIDGE in scopes)


def _rule(methods: str, path: str, scope: str, *, stores: bool = False, bridge: bool = False) -> Rule:
    return Rule(frozenset(methods.split()), re.compile(path), scope, stores, bridge)


RULES = (
    # PS3.18: capabilities (8.9), search (10.6), retrieve (10.4)
    _rule("GET HEAD OPTIONS", r"/dicom-web(?:/.*)?", "read"),
    # PS3.18 9
    _rule("GET HEAD", r"/wado", "read"),
    # PS3.18 10.5
    _rule("POST", r"/dicom-web/studies(?:/[^/]+)?", "write", stores=True),
    # PS3.18 13.4
    _rule("POST", r"/dicom-web/commitment-requests/[^/]+", "write", stores=True),
    # PS3.18 15.4, 15.5
    _rule("POST", r"/dicom-web/modality-performed-procedure-steps/[^/]+", "write", stores=True),
    # ours
    _rule("DELETE", rf"/dicom-web/studies/[^/]+{_STUDY_LEVELS}", "delete"),
    _rule("POST", r"/dicom-web/deletions/[^/]+/undo", "delete"),
    _rule("POST", r"/dicom-web/modality-scheduled-procedure-steps", "write"),
    _rule("PUT DELETE", r"/dicom-web/modality-scheduled-procedure-steps/[^/]+", "write"),
    _rule("POST", r"/peers/.+/echo", "read"),
    _rule("GET", r"/peers/.+/studies(?:/[^/]+/series(?:/[^/]+/instances)?)?", "read"),
    _rule("POST", r"/peers/.+/retrieve", "write"),
    _rule("GET HEAD", r"/peers(?:/.+)?", "admin", bridge=True),
    _rule("PUT DELETE", r"/peers/.+", "admin"),
    _rule("GET PUT DELETE", r"/(?:destinations|routes|prefetch-rules|webhooks)(?:/[^/]+)?", "admin"),
    _rule("POST", r"/webhooks/[^/]+/(?:ping|resume)", "admin"),
    _rule("GET", r"/changes", "read"),
    _rule("POST", r"/commitment-reports", "admin", stores=True, bridge=True),
    _rule("POST", r"/commitment-reports/leases(?:/[^/]+)?", "admin", bridge=True),
    _rule("POST", r"/transfers/leases(?:/[^/]+)?", "admin", bridge=True),
    _rule("GET", r"/transfers/leases/.+", "admin", bridge=True),
    _rule("GET", r"/transfers(?:/[^/]+(?:/instances)?)?", "read"),
    _rule("POST", r"/transfers(?:/[^/]+/(?:cancel|retry))?", "write"),
    # about the archive, never about its content
    _rule("GET HEAD", r"/metrics", "read"),
    _rule("GET HEAD", r"/healthz|/readyz", PUBLIC),
    _rule("GET HEAD", r"/docs|/openapi\.json|/viewer(?:/.*)?", PUBLIC),
)

_LEVELS = r"(?:studies|series|instances|patients)"
_BELOW = r"studies/[^/]+/(?:series/[^/]+/instances|series|instances)"
_PERFORMED = "modality-performed-procedure-steps"
PEER_RULES = (
    # methods, path, services of `app.dicom.peer` of which the peer must have one
    (frozenset({"POST"}), re.compile(r"/dicom-web/studies(?:/[^/]+)?"), frozenset({"store"})),
    # C-GET and C-MOVE expand their identifiers by searches
    (frozenset({"GET"}), re.compile(rf"/dicom-web/(?:{_LEVELS}|{_BELOW})"), frozenset({"find", "get", "move"})),
    (frozenset({"GET"}), re.compile(r"/dicom-web/studies/.+"), frozenset({"get", "move"})),
    (frozenset({"GET"}), re.compile(r"/dicom-web/modality-scheduled-procedure-steps"), frozenset({"worklist"})),
    (frozenset({"GET", "POST"}), re.compile(rf"/dicom-web/{_PERFORMED}/[^/]+"), frozenset({"mpps"})),
    (frozenset({"GET", "POST"}), re.compile(r"/dicom-web/commitment-requests/[^/]+"), frozenset({"commitment"})),
)
"""What a bridge may ask for on behalf of a peer; what no row names is denied."""


def peer_may(services: Collection[str], method: str, path: str) -> bool:
    """Whether a peer that may use these services may be given this."""
    for methods, pattern, needed in PEER_RULES:
        if method in methods and pattern.fullmatch(path):
            return not needed.isdisjoint(services)
    return False


def rule_for(method: str, path: str) -> Rule | None:
    """The first row that names this; None means denied."""
    for rule in RULES:
        if method in rule.methods and rule.path.fullmatch(path):
            return rule
    return None


def check_routes(routes: Iterable[Any]) -> None:
    """Raises `CannotStart` when a route has a method that no row names."""
    for route in routes:
        path = getattr(route, "path", None) or repr(route)
        methods = getattr(route, "methods", None)
        if not methods:
            raise CannotStart(f"app.security.policy cannot judge {path}: it is a mount or a web socket, not a route.")
        for method in sorted(methods):
            if rule_for(method, path) is None:
                raise CannotStart(f"app.security.policy has no rule for {method} {path}.")
