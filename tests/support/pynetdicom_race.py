"""pynetdicom as user: its own thread, which serves requests, may take the response that a request of ours waits for. It
is told to pause before each request, but counts as paused for an instant longer than it is; one response in some
thousands is then lost, and a query seems to have no match. Here that thread leaves responses alone."""

from __future__ import annotations

from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider

_get = DIMSEServiceProvider.get_msg


def _get_message(self: DIMSEServiceProvider, block: bool = False) -> Any:
    """As the original; without waiting, only requests."""
    if not block:
        with self.msg_queue.mutex:
            first = self.msg_queue.queue[0] if self.msg_queue.queue else None
        if first is None or getattr(first[1], "MessageIDBeingRespondedTo", None) is not None:
            return None, None
    return _get(self, block)


def leave_responses_alone() -> None:
    """For the whole process."""
    DIMSEServiceProvider.get_msg = _get_message  # type: ignore[method-assign]
