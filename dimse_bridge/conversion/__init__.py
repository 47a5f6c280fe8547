"""Data sets in the transfer syntax that a peer takes, as far as that needs no codec (PS3.5 A.1 to A.5)."""
