"""Door: DIMSE peers, spoken to the archive over HTTP only."""
