"""TLS by the BCP 195 Secure Transport Connection Profile (PS3.15 B.9): 1.2 and later, forward secrecy, AEAD."""

from __future__ import annotations

import ssl

from app.dicom.peer import Peer
from app.errors import CannotStart
from dimse_bridge.settings import Settings

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"
_CLIENTS = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}


def server_context(settings: Settings) -> ssl.SSLContext:
    """For those who call us; raises `CannotStart` when a file cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    _load(context, settings)
    context.verify_mode = _CLIENTS[settings.dimse_tls_clients]
    return context


class ClientContexts:
    """For the peers that we call by TLS."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[bool, ssl.SSLContext] = {}

    def of(self, peer: Peer) -> ssl.SSLContext:
        """The context for `peer`. Its certificate comes from our authorities, or from those of the system, and names
        its host; or it is the registered one, which the caller compares: that says more than a name and an issuer."""
        pinned = bool(peer.certificate)
        if pinned not in self._made:
            self._made[pinned] = self._make(pinned=pinned)
        return self._made[pinned]

    def _make(self, *, pinned: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _harden(context)
        _load(context, self._settings)
        if pinned:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif not self._settings.dimse_tls_authorities:
            context.load_default_certs()
        return context


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION


def _load(context: ssl.SSLContext, settings: Settings) -> None:
    try:
        if settings.dimse_tls_certificate:
            context.load_cert_chain(settings.dimse_tls_certificate, settings.dimse_tls_key or None)
        if settings.dimse_tls_authorities:
            context.load_verify_locations(settings.dimse_tls_authorities)
    except OSError as error:  # ssl.SSLError is one
        names = f"{settings.dimse_tls_certificate} {settings.dimse_tls_key} {settings.dimse_tls_authorities}".split()
        raise CannotStart(f"TLS for DIMSE: {', '.join(names)}: {error.strerror or 'no PEM file as needed'}.") from error
