"""Identifiers of C-FIND, C-GET and C-MOVE (PS3.4 C.4) as searches of PS3.18, and their answers as data sets."""
