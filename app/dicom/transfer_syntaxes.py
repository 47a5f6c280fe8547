"""Table: the transfer syntaxes of PS3.6 Annex A, and what each means for storing, framing and media types."""

from __future__ import annotations

from dataclasses import dataclass

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
RLE = "1.2.840.10008.1.2.5"


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """One row. `media_type` is that of a single frame (PS3.18 Table 8.7.3-2 to -4)."""

    uid: str
    name: str
    media_type: str = "application/octet-stream"
    encapsulated: bool = False
    lossy: bool = False
    explicit: bool = True
    big_endian: bool = False
    deflated: bool = False
    video: bool = False
    retired: bool = False


def _row(uid: str, name: str, media: str = "application/octet-stream", flags: str = "") -> TransferSyntax:
    return TransferSyntax(
        uid,
        name,
        media,
        encapsulated="e" in flags,
        lossy="l" in flags,
        explicit="i" not in flags,
        big_endian="b" in flags,
        deflated="d" in flags,
        video="v" in flags,
        retired="r" in flags,
    )


_J = "1.2.840.10008.1.2.4."
_ROWS = (
    _row(IMPLICIT_LE, "Implicit VR Little Endian", flags="i"),
    _row(EXPLICIT_LE, "Explicit VR Little Endian"),
    _row(ENCAPSULATED_UNCOMPRESSED, "Encapsulated Uncompressed Explicit VR Little Endian", flags="e"),
    _row(DEFLATED_LE, "Deflated Explicit VR Little Endian", flags="d"),
    _row("1.2.840.10008.1.2.8.1", "Deflated Image Frame Compression", "application/x-deflate", "e"),
    _row(EXPLICIT_BE, "Explicit VR Big Endian", flags="br"),
    _row(_J + "50", "JPEG Baseline (Process 1)", "image/jpeg", "el"),
    _row(_J + "51", "JPEG Extended (Process 2 and 4)", "image/jpeg", "el"),
    _row(_J + "53", "JPEG Spectral Selection, Non-Hierarchical (Process 6 and 8)", "image/jpeg", "elr"),
    _row(_J + "55", "JPEG Full Progression, Non-Hierarchical (Process 10 and 12)", "image/jpeg", "elr"),
    _row(_J + "57", "JPEG Lossless, Non-Hierarchical (Process 14)", "image/jpeg", "e"),
    _row(
        _J + "70",
        "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])",
        "image/jpeg",
        "e",
    ),
    _row(_J + "80", "JPEG-LS Lossless Image Compression", "image/jls", "e"),
    _row(_J + "81", "JPEG-LS Lossy (Near-Lossless) Image Compression", "image/jls", "el"),
    _row(_J + "90", "JPEG 2000 Image Compression (Lossless Only)", "image/jp2", "e"),
    _row(_J + "91", "JPEG 2000 Image Compression", "image/jp2", "el"),
    _row(_J + "92", "JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)", "image/jpx", "e"),
    _row(_J + "93", "JPEG 2000 Part 2 Multi-component Image Compression", "image/jpx", "el"),
    _row(_J + "94", "JPIP Referenced", flags="er"),
    _row(_J + "95", "JPIP Referenced Deflate", flags="er"),
    _row(_J + "100", "MPEG2 Main Profile / Main Level", "video/mpeg", "elv"),
    _row(_J + "100.1", "Fragmentable MPEG2 Main Profile / Main Level", "video/mpeg", "elv"),
    _row(_J + "101", "MPEG2 Main Profile / High Level", "video/mpeg", "elv"),
    _row(_J + "101.1", "Fragmentable MPEG2 Main Profile / High Level", "video/mpeg", "elv"),
    _row(_J + "102", "MPEG-4 AVC/H.264 High Profile / Level 4.1", "video/mp4", "elv"),
    _row(_J + "102.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1", "video/mp4", "elv"),
    _row(_J + "103", "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1", "video/mp4", "elv"),
    _row(_J + "103.1", "Fragmentable MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1", "video/mp4", "elv"),
    _row(_J + "104", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video", "video/mp4", "elv"),
    _row(_J + "104.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video", "video/mp4", "elv"),
    _row(_J + "105", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video", "video/mp4", "elv"),
    _row(_J + "105.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video", "video/mp4", "elv"),
    _row(_J + "106", "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2", "video/mp4", "elv"),
    _row(_J + "106.1", "Fragmentable MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2", "video/mp4", "elv"),
    _row(_J + "107", "HEVC/H.265 Main Profile / Level 5.1", "video/mp4", "elv"),
    _row(_J + "108", "HEVC/H.265 Main 10 Profile / Level 5.1", "video/mp4", "elv"),
    _row(_J + "110", "JPEG XL Lossless", "image/jxl", "e"),
    _row(_J + "111", "JPEG XL JPEG Recompression", "image/jxl", "el"),
    _row(_J + "112", "JPEG XL", "image/jxl", "el"),
    _row(_J + "201", "High-Throughput JPEG 2000 Image Compression (Lossless Only)", "image/jphc", "e"),
    _row(
        _J + "202", "High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)", "image/jphc", "e"
    ),
    _row(_J + "203", "High-Throughput JPEG 2000 Image Compression", "image/jphc", "el"),
    _row(RLE, "RLE Lossless", "image/dicom-rle", "e"),
)
TRANSFER_SYNTAXES = {row.uid: row for row in _ROWS}


def transfer_syntax(uid: str) -> TransferSyntax:
    """The row of `uid`. An unknown or private one is taken as explicit little endian; its pixel data, when of
    undefined length, is framed as encapsulated (PS3.5 A.4) and leaves only as stored."""
    return TRANSFER_SYNTAXES.get(uid) or TransferSyntax(uid, uid, encapsulated=True, lossy=True)


def is_native(uid: str) -> bool:
    """Whether conversions between `uid` and Explicit VR Little Endian need no codec."""
    row = TRANSFER_SYNTAXES.get(uid)
    return row is not None and not row.encapsulated
