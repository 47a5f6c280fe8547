"""Table: who wrote a file, for the File Meta Information and association negotiation (PS3.7 D.3.3.2)."""

IMPLEMENTATION_CLASS_UID = "2.25.83797954359614116109797042268406112730"
"""Made once from a UUID (PS3.5 B.2)."""
IMPLEMENTATION_VERSION_NAME = "FILEROOM_0_1"
