"""Changes to the bytes of a value that need no codec: byte order, bits that begin inside a byte, item headers.
Each takes pieces as they come and holds no more than a few bytes back."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator

from app.errors import Corrupt

Piece = bytes | memoryview

_ARRAY_TYPES = {array(code).itemsize: code for code in "HIQ"}
_ITEM = struct.Struct("<2HL")


def swap_words(value: Piece, word: int) -> bytes:
    """`value` with the bytes of each word of 2, 4 or 8 in the other order; a rest shorter than a word stays."""
    whole = len(value) // word * word
    words = array(_ARRAY_TYPES[word])
    words.frombytes(value[:whole])
    words.byteswap()
    return words.tobytes() + bytes(value[whole:])


class Swapper:
    """Swaps the words of a value that comes in pieces cut anywhere."""

    def __init__(self, word: int) -> None:
        self._word = word
        self._rest = b""

    def feed(self, piece: Piece) -> bytes:
        """The whole words that are complete now."""
        if self._word == 1:
            return bytes(piece)
        if self._rest:
            piece = self._rest + bytes(piece)
        whole = len(piece) // self._word * self._word
        self._rest = bytes(piece[whole:])
        return swap_words(piece[:whole], self._word)

    def finish(self) -> bytes:
        """What is left when the value does not end with a word."""
        return self._rest


def shift_bits(value: Piece | bytearray, skip: int, bits: int) -> bytes:
    """`bits` bits of `value` after the first `skip`, the lowest bit of a byte being its first (PS3.5 8.1.1); the last
    byte is filled up with zeros."""
    number = int.from_bytes(value, "little") >> skip & (1 << bits) - 1
    return number.to_bytes((bits + 7) // 8, "little")


class ItemStripper:
    """The values of the items (fragments) of encapsulated pixel data, without their headers (PS3.5 A.4)."""

    def __init__(self) -> None:
        self._left = 0
        self._head = b""
        self._ended = False

    def feed(self, piece: Piece) -> Iterator[Piece]:
        """The pieces of values in `piece`."""
        view = memoryview(piece)
        while view and not self._ended:
            if self._left:
                part, view = view[: self._left], view[self._left :]
                self._left -= len(part)
                yield part
                continue
            missing = _ITEM.size - len(self._head)
            self._head += bytes(view[:missing])
            view = view[missing:]
            if len(self._head) == _ITEM.size:
                self._begin_item()

    def _begin_item(self) -> None:
        group, element, length = _ITEM.unpack(self._head)
        self._head = b""
        if (group, element) == (0xFFFE, 0xE0DD):
            self._ended = True
        elif (group, element) != (0xFFFE, 0xE000):
            raise Corrupt("no item where a fragment of pixel data was recorded")
        self._left = length
