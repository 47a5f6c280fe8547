"""Every limit on a data set or request, as one value with the defaults of the threat table."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits that are enforced before anything is allocated. Lengths are in bytes."""

    sequence_depth: int = 32
    """Nested sequences, the outermost being 1."""
    elements: int = 50_000
    """Data elements in one data set, nested ones included."""
    inline_value: int = 1024
    """Binary values up to this length are InlineBinary in metadata; longer ones get a BulkDataURI."""
    text_value: int = 256 * 1024
    """Longest value kept in metadata as text or numbers; a longer one gets a BulkDataURI."""
    header: int = 64 * MIB
    """All kept values of one data set together."""
    inflated: int = 512 * MIB
    """A deflated data set after inflation."""
    inflate_ratio: int = 100
    """Inflated bytes for each deflated byte, once 1 MiB has come out."""
    frames: int = 2_000_000
    """Frames in one instance."""
    frame_pixels: int = 64 * MIB
    """Rows times columns of a frame that is decoded."""
    part: int = 4096 * MIB
    """One part of a multipart request."""
    request: int = 16 * 1024 * MIB
    """One request to Store."""
    parts: int = 10_000
    """Parts in one multipart request."""
    part_header: int = 8 * 1024
    """The header block of one part."""
    multipart_preamble: int = 64 * 1024
    """Bytes before the first boundary."""
    boundary: int = 70
    """Characters in a multipart boundary (RFC 2046 5.1.1)."""
    json_metadata: int = 16 * MIB
    """The JSON or XML metadata part of a Store request."""
    query_criteria: int = 32
    """Matching keys in one search."""
    query_value: int = 1024
    """One value of a matching key."""
    query_limit: int = 1000
    """Most results of one search answer."""
    query_offset: int = 100_000
    """Largest offset."""
    uid_list: int = 1000
    """UIDs in one list."""
    ranges: int = 8
    """Ranges in one Range header."""
    accept: int = 4096
    """Characters of an Accept header."""
    frame_list: int = 10_000
    """Frame numbers in one request."""


DEFAULT = Limits()
