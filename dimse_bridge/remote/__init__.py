"""The bridge's other direction: resources shaped as those of PS3.18 over DIMSE peers, for the archive's HTTP door."""
