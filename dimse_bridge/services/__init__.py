"""One file a DIMSE service."""
