"""The benchmark's loader: what another archive did not store is sent again, twice, and that is said."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import pytest

from tests.support.scripted_web import scripted

bench: Any = importlib.import_module("tests.bench.bench")


def receipt(stored: int, failed: int) -> dict[str, object]:
    counts = {"00081199": stored, "00081198": failed}
    return {tag: {"vr": "SQ", "Value": [{}] * count} for tag, count in counts.items() if count}


@pytest.mark.parametrize(("bad", "sent"), [(0, 1), (1, 2), (2, 3), (3, 3)])
async def test_a_request_is_tried_again_twice_and_no_more(
    bad: int, sent: int, capsys: pytest.CaptureFixture[str]
) -> None:
    got: list[bytes] = []

    def answer(method: str, path: str, body: bytes) -> tuple[int, object]:
        got.append(body)
        return (202, receipt(4, 46)) if len(got) <= bad else (200, receipt(50, 0))

    def load(url: str) -> int:
        http = bench.Http(url)
        post = bench.RawPost(http)
        request = post.prepare(*bench.stow_body([b"x"] * 50))
        try:
            again: int = bench.check_all(http, [(request, 50)], [post.post(request)], 2)
        finally:
            post.close()
        return again

    async with scripted(answer) as url:
        loading = asyncio.to_thread(load, url)
        if bad > 2:
            with pytest.raises(bench.Invalid, match="4 stored, 46 failed of 50"):
                await loading
        else:
            assert await loading == bad
    assert len(got) == sent
    assert len(set(got)) == 1
    said = capsys.readouterr().err
    assert said.count("sent again") == min(bad, 2)
    assert "4 stored, 46 failed of 50" in said or not bad
