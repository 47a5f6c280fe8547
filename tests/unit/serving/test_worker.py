"""The Date header is of the second in which it is asked for, without a clock that ticks."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from app.serving.worker import DatedState


def test_the_date_is_of_the_second_of_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    state = DatedState()
    for moment in (1_800_000_000.0, 1_800_000_000.9, 1_800_000_001.0, 1_799_999_999.5):  # a clock may be set back
        monkeypatch.setattr("time.time", lambda moment=moment: moment)
        ((name, value),) = state.default_headers
        assert (name, parsedate_to_datetime(value.decode()).timestamp()) == (b"date", int(moment))
