"""Property: where the short way of Store finds the one part of a body, the reader that knows every form finds the same
part and nothing else; what the reader refuses, the short way never takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.dicomweb.multipart import MultipartReader
from app.dicomweb.stow_body import Start
from app.errors import Refused

BOUNDARY = b"b1"
PIECES = st.sampled_from(
    b"--b1|\r\n--b1|--b1--|\r\n--b1--|\r\n|\n|\r\n\r\n|--|-|b1|\r|x|\0|: |A: b|Content-Type: |"
    b"Content-Type: application/dicom|content-type:application/dicom; a=b".split(b"|")
)
BODIES = st.one_of(
    st.lists(PIECES, max_size=12).map(b"".join),
    st.lists(PIECES, max_size=6).map(
        lambda content: b"--b1\r\nContent-Type: application/dicom\r\n\r\n" + b"".join(content) + b"\r\n--b1--"
    ),
)


def read(body: bytes) -> list[tuple[dict[bytes, bytes], bytes]] | None:
    """Every part as the general reader finds it; None when it refuses the body."""
    reader = MultipartReader(BOUNDARY)
    parts: list[tuple[dict[bytes, bytes], bytes]] = []
    try:
        for event in reader.feed(body):
            if event[0] == "part":
                parts.append((event[1], b""))
            elif event[0] == "data":
                parts[-1] = (parts[-1][0], parts[-1][1] + event[1])
        reader.finish()
    except Refused:
        return None
    return parts


@given(BODIES)
def test_the_short_way_agrees_with_the_reader(body: bytes) -> None:
    only = Start(body, False).only_part(BOUNDARY)
    if only is not None:
        assert read(body) == [({b"content-type": only[0].encode()}, only[1])]


def test_the_plainest_body_goes_the_short_way() -> None:
    body = b"--b1\r\nContent-Type: application/dicom\r\n\r\nfile\r\n--b1--\r\n"
    assert Start(body, False).only_part(BOUNDARY) == ("application/dicom", b"file")
    assert Start(body, True).only_part(BOUNDARY) is None
