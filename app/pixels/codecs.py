"""Decoding and transcoding of frames in caged children: what the rest of the archive asks of this room."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.pixels.cage import Cage, CageLimits, Payload
from app.pixels.picture import Picture


class Codecs:
    """The codecs of one archive worker. Nothing is started before the first job."""

    def __init__(self, limits: CageLimits | None = None) -> None:
        self._limits = limits
        self._cage: Cage | None = None

    async def run(
        self,
        task: str,
        arguments: Mapping[str, Any],
        payload: Payload = b"",
        tail: bytes = b"",
        *,
        seconds: float | None = None,
    ) -> bytes:
        """What a task of `app.pixels.tasks` makes of the payload and the `tail` behind it; raises as `Cage.run`."""
        if self._cage is None:
            self._cage = Cage(self._limits)
        return await self._cage.run(task, arguments, payload, tail, seconds=seconds)

    async def decode(self, picture: Picture, encoded: Payload) -> bytes:
        """One frame as native little endian octets: `picture.decoded` says what they are. Raises `Undecodable`,
        `DecoderFailed` or `LimitExceeded`."""
        return await self.run("decode", {"picture": picture.to_arguments()}, encoded)

    async def transcode(self, picture: Picture, encoded: Payload, to_syntax: str, *, quality: int = 0) -> bytes:
        """One frame in another transfer syntax; `quality` (1 to 100) counts where that one loses something. Raises
        as `decode`, and `NotAcceptable` for pixels that the syntax cannot hold."""
        arguments = {"picture": picture.to_arguments(), "to": to_syntax, "quality": quality}
        return await self.run("transcode", arguments, encoded)

    def close(self) -> None:
        """Ends the children."""
        if self._cage is not None:
            self._cage.close()
            self._cage = None
