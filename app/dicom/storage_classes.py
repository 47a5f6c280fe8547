"""Table: which SOP classes are storage classes (PS3.4 B.5 and GG.3)."""

from __future__ import annotations

from typing import Final

STANDARD_ROOT: Final = "1.2.840.10008."
STORAGE_ROOT: Final = "1.2.840.10008.5.1.4.1.1."
_OTHERS = frozenset(
    {
        "1.2.840.10008.5.1.4.34.1",  # RT Beams Delivery Instruction, trial
        "1.2.840.10008.5.1.4.34.7",  # RT Beams Delivery Instruction
        "1.2.840.10008.5.1.4.34.10",  # RT Brachy Application Setup Delivery Instruction
        "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol
        "1.2.840.10008.5.1.4.39.1",  # Color Palette
        "1.2.840.10008.5.1.4.43.1",  # Generic Implant Template
        "1.2.840.10008.5.1.4.44.1",  # Implant Assembly Template
        "1.2.840.10008.5.1.4.45.1",  # Implant Template Group
    }
)


def is_storage(uid: str) -> bool:
    """Whether `uid` is taken for a storage class: those of the standard, unknown ones under the root, private ones."""
    return uid.startswith(STORAGE_ROOT) or uid in _OTHERS or not uid.startswith(STANDARD_ROOT)
