"""From one native transfer syntax to another while the data set passes; memory does not depend on its size.

Private attributes that came without a VR leave as UN (PS3.5 6.2.2): what nobody declared is not guessed. Compressed
pixel data is not touched; whoever needs it in another form asks the archive."""

from __future__ import annotations

from app.dicom.convert_elements import Reencoder
from app.dicom.inflate import Inflater
from app.dicom.levels import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, Encoding
from app.dicom.limits import DEFAULT, Limits
from app.dicom.octets import Piece
from app.dicom.transfer_syntaxes import DEFLATED_LE, is_native, transfer_syntax
from app.errors import TransferSyntaxRefused


def encoding_of(syntax: str) -> Encoding:
    """VR and byte order of a data set in transfer syntax `syntax`; an unknown one is explicit little endian."""
    row = transfer_syntax(syntax)
    if row.big_endian:
        return EXPLICIT_BE
    return EXPLICIT_LE if row.explicit else IMPLICIT_LE


def is_convertible(stored: str, wanted: str) -> bool:
    """Whether a data set in `stored` can become one in `wanted` here: both native, and nothing is to be deflated."""
    return stored == wanted or (is_native(stored) and is_native(wanted) and wanted != DEFLATED_LE)


class DataSetConversion:
    """One data set, from `stored` to `wanted`. Feed it the bytes in order, then call `finish`. Raises
    `TransferSyntaxRefused` when that needs a codec, `Refused` for bytes that are no data set."""

    def __init__(self, stored: str, wanted: str, limits: Limits = DEFAULT) -> None:
        if not is_convertible(stored, wanted):
            raise TransferSyntaxRefused(f"{stored} does not become {wanted} without a codec")
        source, target = encoding_of(stored), encoding_of(wanted)
        deflated = stored != wanted and transfer_syntax(stored).deflated
        self._inflater = Inflater(limits) if deflated else None
        self._reencoder = None
        if source != target:
            self._reencoder = Reencoder(source, limits, target=target, published_vrs=False)

    def feed(self, piece: Piece) -> list[Piece]:
        """What `piece` becomes."""
        pieces: list[Piece] = [piece] if self._inflater is None else list(self._inflater.feed(bytes(piece)))
        if self._reencoder is None:
            return pieces
        return [out for one in pieces for out in self._reencoder.feed(one)]

    def finish(self) -> list[Piece]:
        """What is left when the data set has ended; raises `Unreadable` when it is not complete."""
        if self._inflater is not None:
            self._inflater.finish()
        return self._reencoder.finish() if self._reencoder is not None else []
