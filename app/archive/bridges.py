"""The bridges that speak DIMSE for the archive: their resources of remote peers, asked over HTTP. Any of them will do;
another one is asked only as long as a bridge cannot be reached, since a peer must not be asked twice."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from urllib.parse import quote

import httpx

from app.errors import BridgeUnreachable

SHORTEST_SECRET = 16
"""Characters of the secret between the archive and a bridge elsewhere."""
_CONNECT_SECONDS = 5.0


class Bridges:
    """`known` are the addresses of bridges with the token of each; `seconds` is how long one may be silent."""

    def __init__(self, known: Sequence[tuple[str, str]] = (), seconds: float = 180.0) -> None:
        self._known = [(url.rstrip("/"), {"authorization": f"Bearer {token}"}) for url, token in known]
        self._seconds = seconds
        self._turns = itertools.count()
        self._client: httpx.AsyncClient | None = None

    async def ask(
        self, method: str, aet: str, resource: str, *, query: bytes = b"", body: bytes | None = None
    ) -> httpx.Response:
        """The streamed answer of a bridge about the peer `aet`, whose head is there; to be closed by the caller.
        `resource` is what follows the AE title in the path. Raises `BridgeUnreachable`."""
        if not self._known:
            raise BridgeUnreachable("no DIMSE bridge is known: see FILEROOM_DIMSE_PORT and FILEROOM_REMOTE_BRIDGES")
        first = next(self._turns)
        for turn in range(len(self._known)):
            url, headers = self._known[(first + turn) % len(self._known)]
            address = httpx.URL(f"{url}/peers/{quote(aet, safe='')}/{resource}")
            if query:
                address = address.copy_with(query=query)
            request = self._ready().build_request(method, address, content=body, headers=headers)
            try:
                return await self._ready().send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
            except httpx.HTTPError as error:
                raise BridgeUnreachable("the bridge did not answer") from error
        raise BridgeUnreachable("no DIMSE bridge can be reached")

    async def close(self) -> None:
        """Ends what is under way."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _ready(self) -> httpx.AsyncClient:
        if self._client is None:
            times = httpx.Timeout(self._seconds, connect=_CONNECT_SECONDS)
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
            self._client = httpx.AsyncClient(timeout=times, limits=limits, trust_env=False)
        return self._client
